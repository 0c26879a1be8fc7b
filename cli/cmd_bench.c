/* cmd_bench.c - kerf bench: tokens a second of prompt and answer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "report_json.h"
#include "subject.h"

#include <stdlib.h>

#include "kerf/machine.h"

typedef struct bench_options {
    common_options common;
    const char *weights;
    uint64_t prompt, tokens, depth, repeats;
} bench_options;

/* What one line of the table measures. */
typedef struct bench_test {
    char name[32];
    size_t depth;  /* tokens in the cache before */
    size_t tokens; /* computed */
    bool one_by_one;
} bench_test;

/* Ids that differ from each other: which ones does not matter for speed. */
static void fill_ids(uint32_t *ids, size_t n, size_t vocabulary)
{
    for (size_t i = 0; i < n; i++) {
        ids[i] = (uint32_t)((i * 7919 + 13) % vocabulary);
    }
}

/* Computes n tokens, in one piece or one by one with the logits of each; the seconds it took. */
static kf_status time_tokens(double *seconds, kf_session *session, const uint32_t *ids, size_t n,
                             bool one_by_one, float *logits, size_t hidden_size, kf_error *err)
{
    const double started = clock_seconds();
    const size_t step = one_by_one ? 1 : n;
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && i < n; i += step) {
        size_t n_hidden = 0;
        st = kf_session_eval(session, ids + i, step, err);
        if (st == KF_OK) {
            const float *hidden = kf_session_hidden(session, &n_hidden);
            st = kf_session_head(session, logits, hidden + (n_hidden - 1) * hidden_size, 1, err);
        }
    }
    *seconds = clock_seconds() - started;
    return st;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median of `repeats` runs after one that warms up. */
static kf_status run_test(double *tokens_per_second, const bench_test *test, kf_session *session,
                          const uint32_t *ids, float *logits, size_t hidden_size, size_t repeats,
                          kf_error *err)
{
    double seconds[64];
    size_t used = 0;
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && i <= repeats; i++) {
        double warm_up = 0;
        st = kf_session_begin(session, NULL, 0, &used, err);
        if (st == KF_OK && test->depth > 0) {
            st = kf_session_eval(session, ids, test->depth, err);
        }
        if (st == KF_OK) {
            st = time_tokens(i == 0 ? &warm_up : &seconds[i - 1], session, ids, test->tokens,
                             test->one_by_one, logits, hidden_size, err);
        }
    }
    if (st == KF_OK) {
        qsort(seconds, repeats, sizeof *seconds, compare_doubles);
        *tokens_per_second = (double)test->tokens / seconds[repeats / 2];
    }
    return st;
}

static void print_result(const bench_options *options, const bench_test *test, double rate,
                         uint64_t bytes_per_token)
{
    const double gigabytes = test->one_by_one ? 1e-9 * rate * (double)bytes_per_token : 0;
    terminal_clear();
    if (options->common.json) {
        json_t *line =
            json_pack("{s:s, s:f, s:I, s:o}", "test", test->name, "tokens_per_second", rate,
                      "bytes_per_token", (json_int_t)bytes_per_token, "kernels", json_kernels());
        if (test->one_by_one) {
            (void)json_object_set_new(line, "gb_per_second", json_real(gigabytes));
        }
        json_print(line, 6);
    } else if (test->one_by_one) {
        (void)printf("%-12s %10.1f tokens/s   %6.1f MB a token, %.1f GB/s\n", test->name, rate,
                     1e-6 * (double)bytes_per_token, gigabytes);
    } else {
        (void)printf("%-12s %10.1f tokens/s\n", test->name, rate);
    }
    (void)output_flush();
}

static void plan_tests(bench_test tests[4], const bench_options *options)
{
    const unsigned long long prompt = options->prompt;
    const unsigned long long tokens = options->tokens;
    const unsigned long long depth = options->depth;
    tests[0] = (bench_test){.tokens = prompt};
    tests[1] = (bench_test){.tokens = tokens, .one_by_one = true};
    tests[2] = (bench_test){.tokens = prompt, .depth = depth};
    tests[3] = (bench_test){.tokens = tokens, .depth = depth, .one_by_one = true};
    (void)snprintf(tests[0].name, sizeof tests[0].name, "pp%llu", prompt);
    (void)snprintf(tests[1].name, sizeof tests[1].name, "tg%llu", tokens);
    (void)snprintf(tests[2].name, sizeof tests[2].name, "pp%llu@%llu", prompt, depth);
    (void)snprintf(tests[3].name, sizeof tests[3].name, "tg%llu@%llu", tokens, depth);
}

static kf_status bench(const bench_options *options, const cli_subject *subject, kf_error *err)
{
    kf_model_info info;
    kf_session_options session_options = KF_SESSION_OPTIONS_INIT;
    kf_session *session = NULL;
    bench_test tests[4];
    const size_t n_ids =
        (size_t)(options->prompt > options->tokens ? options->prompt : options->tokens) +
        (size_t)options->depth;
    kf_model_get_info(subject->model, &info);
    uint32_t *ids = malloc((n_ids + 1) * sizeof *ids);
    float *logits = malloc(info.vocabulary * sizeof *logits);
    session_options.context = n_ids + info.n_prefix;
    kf_status st = ids == NULL || logits == NULL
                       ? set_error(err, KF_NOMEM, "%zu ids", n_ids)
                       : kf_session_new(&session, subject->model, &session_options, err);
    if (st == KF_OK) {
        fill_ids(ids, n_ids, info.vocabulary);
        plan_tests(tests, options);
    }
    for (size_t i = 0; st == KF_OK && i < (options->depth > 0 ? 4u : 2u); i++) {
        double rate = 0;
        st = run_test(&rate, &tests[i], session, ids, logits, info.hidden, (size_t)options->repeats,
                      err);
        if (st == KF_OK) {
            print_result(options, &tests[i], rate, kf_model_bytes_per_token(subject->model));
        }
    }
    kf_session_free(session);
    free(ids);
    free(logits);
    return st;
}

static int run(const cli_command *command, int argc, char **argv)
{
    bench_options options = {.weights = "auto", .prompt = 512, .tokens = 128, .repeats = 3};
    int exit_code = EXIT_DONE;
    cli_subject subject = {0};
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    subject.weights = options.weights;
    if (subject_open(&subject, options.common.positional[0], &options.common, SUBJECT_MODEL,
                     &err) != KF_OK ||
        bench(&options, &subject, &err) != KF_OK) {
        exit_code = fail_status(&err);
    }
    subject_close(&subject);
    return exit_code;
}

static const cli_option options_table[] = {
    {"weights", 0, OPTION_WORD, "auto|float|packed", "of a GGUF, as for kerf run (default auto)",
     offsetof(bench_options, weights), 0, 0},
    {"prompt", 0, OPTION_COUNT, "N", "tokens of the prompt (default 512)",
     offsetof(bench_options, prompt), 1, 1e6},
    {"tokens", 'n', OPTION_COUNT, "N", "tokens of the answer (default 128)",
     offsetof(bench_options, tokens), 1, 1e6},
    {"depth", 0, OPTION_COUNT, "N", "also measure behind N tokens (default 0: do not)",
     offsetof(bench_options, depth), 0, 1e6},
    {"repeats", 0, OPTION_COUNT, "N", "runs to take the median of (default 3)",
     offsetof(bench_options, repeats), 1, 64},
};

const cli_command command_bench = {
    .name = "bench",
    .summary = "measure tokens a second",
    .usage = "MODEL [options]",
    .description =
        "ppN is a prompt of N tokens computed together, tgN are N tokens computed one by one with their logits; @D behind D "
        "tokens. Each figure is the median of several runs after one to warm up. Other work on the machine spoils them.",
    .examples = "  kerf bench smol-w4\n  kerf bench smol-w4 --depth 1536 --json\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
