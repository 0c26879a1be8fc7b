/* replay.c - runs a fuzz target without a fuzzer: its corpus, then mutations of it by a fixed seed.
 *
 *     replay_TARGET CORPUS_DIRECTORY N_MUTATIONS [ONLY]
 *
 * Linked with each tests/fuzz/fuzz_TARGET.c in ordinary builds, so that every suite, and the one
 * under sanitizers above all, feeds each parser with what once broke it and with thousands of
 * broken neighbours of good files. An input may be rejected, but it must not crash and must not
 * take a second. Mutation i is the same on every machine; when one crashes its number is printed,
 * and ONLY runs that one alone, under a debugger for example.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/rng.h"

#define MAX_INPUT    ((size_t)4 << 20)
#define MAX_SEEDS    512
#define MAX_SECONDS  1.0
#define MAX_MUTATION 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A finding of a sanitizer ends in abort(), so that report_crash() sees it. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "abort_on_error=1";
}

const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:halt_on_error=1:print_stacktrace=1";
}

typedef struct corpus {
    const char *directory;
    char *names[MAX_SEEDS];
    kfi_buf seeds[MAX_SEEDS];
    size_t n;
} corpus;

/* What runs now, for the signal handler: a file of the corpus, or the number of a mutation. */
static const char *current_name;
static volatile size_t current_mutation;

static void print_text(const char *text)
{
    const ssize_t ignored = write(STDOUT_FILENO, text, strlen(text));
    (void)ignored;
}

/* Only async-signal-safe calls. */
static void report_crash(int signal_number)
{
    if (current_name != NULL) {
        print_text("# crashed on ");
        print_text(current_name);
    } else {
        char digits[24];
        size_t i = sizeof digits - 1;
        size_t number = current_mutation;
        digits[i] = '\0';
        do {
            digits[--i] = (char)('0' + number % 10);
            number /= 10;
        } while (number > 0);
        print_text("# crashed on mutation ");
        print_text(digits + i);
    }
    print_text("\n");
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static void catch_crashes(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        (void)signal(signals[i], report_crash);
    }
}

static kf_status add_seed(void *ctx, const char *name, kf_error *err)
{
    corpus *c = ctx;
    if (c->n == MAX_SEEDS) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "more than %d files in '%s'", MAX_SEEDS,
                        c->directory);
    }
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", c->directory, name);
    kfi_buf_init(&c->seeds[c->n], NULL, MAX_INPUT);
    const kf_status st = kfi_file_read(&c->seeds[c->n], path, err);
    c->names[c->n] = kfi_strndup(NULL, name, strlen(name));
    c->n++;
    return st;
}

static void corpus_deinit(corpus *c)
{
    for (size_t i = 0; i < c->n; i++) {
        kfi_buf_deinit(&c->seeds[i]);
        kfi_free_text(NULL, c->names[i]);
    }
}

/* The sanitizers know the true size only of a block of its own. */
static double run(const uint8_t *data, size_t n)
{
    uint8_t *copy = kfi_alloc(NULL, n);
    if (copy == NULL) {
        abort();
    }
    if (n > 0) {
        memcpy(copy, data, n);
    }
    const double start = kfi_clock_seconds();
    (void)LLVMFuzzerTestOneInput(copy, n);
    const double seconds = kfi_clock_seconds() - start;
    kfi_free(NULL, copy, n);
    return seconds;
}

/* Numbers at which sizes and offsets go wrong. */
static uint64_t interesting_number(kfi_rng *rng, size_t n)
{
    switch (kfi_rng_below(rng, 8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return (uint64_t)1 << kfi_rng_below(rng, 64);
    case 3:
        return ((uint64_t)1 << kfi_rng_below(rng, 64)) - 1;
    case 4:
        return n;
    case 5:
        return n + 1;
    case 6:
        return INT64_MAX;
    default:
        return kfi_rng_next(rng);
    }
}

/* Changes, cuts or grows an input of n bytes in place; returns its new size. */
static size_t mutate(uint8_t *data, size_t n, size_t capacity, const corpus *c, kfi_rng *rng)
{
    if (n == 0) {
        return 0;
    }
    const size_t at = kfi_rng_below(rng, n);
    switch (kfi_rng_below(rng, 7)) {
    case 0: /* flip a bit */
        data[at] ^= (uint8_t)(1u << kfi_rng_below(rng, 8));
        return n;
    case 1: /* change a byte */
        data[at] = (uint8_t)kfi_rng_next(rng);
        return n;
    case 2: { /* overwrite a little-endian number of 1, 2, 4 or 8 bytes */
        const uint64_t number = interesting_number(rng, n);
        const size_t width = (size_t)1 << kfi_rng_below(rng, 4);
        for (size_t i = 0; i < width && at + i < n; i++) {
            data[at + i] = (uint8_t)(number >> 8 * i);
        }
        return n;
    }
    case 3: /* cut the end off */
        return at;
    case 4: { /* take a piece out */
        const size_t length = 1 + kfi_rng_below(rng, n - at);
        memmove(data + at, data + at + length, n - at - length);
        return n - length;
    }
    case 5: { /* say a piece twice */
        const size_t length = 1 + kfi_rng_below(rng, n - at < 64 ? n - at : 64);
        if (n + length > capacity) {
            return n;
        }
        memmove(data + at + length, data + at, n - at);
        return n + length;
    }
    default: { /* go on like another input */
        const kfi_buf *other = &c->seeds[kfi_rng_below(rng, c->n)];
        if (at < other->n && other->n <= capacity) {
            memcpy(data + at, other->data + at, other->n - at);
            return other->n;
        }
        return n;
    }
    }
}

static double run_mutation(const corpus *c, size_t number, uint8_t *scratch, size_t capacity)
{
    kfi_rng rng;
    kfi_rng_init(&rng, number);
    const kfi_buf *seed = &c->seeds[kfi_rng_below(&rng, c->n)];
    size_t n = seed->n;
    if (n > 0) {
        memcpy(scratch, seed->data, n);
    }
    for (size_t k = 1 + kfi_rng_below(&rng, MAX_MUTATION); k > 0; k--) {
        n = mutate(scratch, n, capacity, c, &rng);
    }
    current_mutation = number;
    return run(scratch, n);
}

static bool replay_corpus(const corpus *c)
{
    double slowest = 0;
    const char *slowest_name = "";
    for (size_t i = 0; i < c->n; i++) {
        current_name = c->names[i];
        const double seconds = run((const uint8_t *)c->seeds[i].data, c->seeds[i].n);
        if (seconds > slowest) {
            slowest = seconds;
            slowest_name = c->names[i];
        }
    }
    current_name = NULL;
    const bool ok = slowest <= MAX_SECONDS && c->n > 0;
    printf("%sok 1 - replays %zu inputs\n", ok ? "" : "not ", c->n);
    printf("# slowest %.3f s: %s\n", slowest, slowest_name);
    return ok;
}

static bool replay_mutations(const corpus *c, size_t n_mutations)
{
    const size_t capacity = MAX_INPUT + 64;
    uint8_t *scratch = kfi_alloc(NULL, capacity);
    double slowest = 0;
    size_t i_slowest = 0;
    for (size_t i = 0; scratch != NULL && c->n > 0 && i < n_mutations; i++) {
        const double seconds = run_mutation(c, i, scratch, capacity);
        if (seconds > slowest) {
            slowest = seconds;
            i_slowest = i;
        }
    }
    const bool ok = scratch != NULL && c->n > 0 && slowest <= MAX_SECONDS;
    kfi_free(NULL, scratch, capacity);
    printf("%sok 2 - survives %zu mutations\n", ok ? "" : "not ", n_mutations);
    printf("# slowest %.3f s: mutation %zu\n", slowest, i_slowest);
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fprintf(stderr, "usage: %s CORPUS_DIRECTORY N_MUTATIONS [ONLY]\n", argv[0]);
        return 2;
    }
    static corpus c;
    kf_error err = {0};
    c.directory = argv[1];
    if (kfi_file_list(c.directory, add_seed, &c, &err) != KF_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 2;
    }
    bool ok = true;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 3) {
        uint8_t *scratch = kfi_alloc(NULL, MAX_INPUT + 64);
        if (scratch != NULL && c.n > 0) {
            printf("%.3f s\n",
                   run_mutation(&c, strtoul(argv[3], NULL, 10), scratch, MAX_INPUT + 64));
        }
        kfi_free(NULL, scratch, MAX_INPUT + 64);
    } else {
        printf("1..2\n");
        catch_crashes();
        ok = replay_corpus(&c);
        ok = replay_mutations(&c, strtoul(argv[2], NULL, 10)) && ok;
    }
    corpus_deinit(&c);
    return ok ? 0 : 1;
}
