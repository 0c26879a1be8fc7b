/* measure.c - options, clock and passes of the programs here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

#define LEAST_TIME 0.04 /* seconds of a round */

options options_read(int argc, char **argv, const char *program)
{
    options o = {.program = program};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            o.json = true;
        } else if (argv[i][0] != '-' && o.word == NULL) {
            o.word = argv[i];
        } else {
            (void)fprintf(stderr, "usage: %s [--json] [WORD]\n", program);
            exit(2);
        }
    }
    return o;
}

bool is_wanted(const options *o, const char *name)
{
    return o->word == NULL || strstr(name, o->word) != NULL;
}

void *must(void *block)
{
    if (block == NULL) {
        (void)fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return block;
}

void must_succeed(kf_status status, const kf_error *err)
{
    if (status != KF_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        exit(1);
    }
}

float *random_floats(size_t n, kfi_rng *rng)
{
    float *x = must(kfi_calloc(NULL, n, sizeof *x));
    for (size_t i = 0; i < n; i++) {
        x[i] = 2.0f * kfi_rng_uniform(rng) - 1.0f;
    }
    return x;
}

double seconds_of(void (*work)(void *ctx), void *ctx, int rounds)
{
    size_t n = 1;
    double best = 1e9;
    work(ctx); /* warms caches and wakes threads */
    for (int round = 0; round < rounds;) {
        const double start = kfi_clock_seconds();
        for (size_t i = 0; i < n; i++) {
            work(ctx);
        }
        const double seconds = kfi_clock_seconds() - start;
        if (seconds < LEAST_TIME) {
            n *= 2;
            continue;
        }
        best = seconds / (double)n < best ? seconds / (double)n : best;
        round++;
    }
    return best;
}

static int run_pass(const options *o, void (*pass)(const options *o, kf_pool *pool),
                    size_t n_threads)
{
    kf_pool *pool = NULL;
    kf_error err = {0};
    if (kf_pool_new(&pool, n_threads, NULL, &err) != KF_OK) {
        (void)fprintf(stderr, "%s: %s\n", o->program, err.msg);
        return 1;
    }
    pass(o, pool);
    kf_pool_free(pool);
    return 0;
}

int measure_passes(const options *o, void (*pass)(const options *o, kf_pool *pool))
{
    const size_t n_threads = kf_cpu_count();
    const int status = run_pass(o, pass, 1);
    return status == 0 && n_threads > 1 ? run_pass(o, pass, n_threads) : status;
}
