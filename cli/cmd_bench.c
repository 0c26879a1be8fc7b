/* cmd_bench.c - kerf bench: tokens a second of prompt and answer, beside what the memory gives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench_run.h"
#include "report_json.h"

#include <stdlib.h>
#include <string.h>

#include "kerf/machine.h"

#define DEFAULT_PROMPT 512
#define TESTS_MOST     ((COUNT_LIST_MAX + 1) * (COUNT_LIST_MAX + 1))

typedef struct bench_options {
    common_options common;
    const char *shape, *head;
    const char *weights; /* a word of --weights for a checkpoint, a format for a shape */
    const char *activations;
    kf_kv kv;
    count_list prompts, depths;
    uint64_t tokens, repeats, rank, outliers;
} bench_options;

/* ---- what is measured ---- */

typedef struct bench_plan {
    bench_test tests[TESTS_MOST];
    size_t n;
    size_t n_ids; /* tokens that the longest test needs */
} bench_plan;

static void add_test(bench_plan *plan, size_t depth, uint64_t tokens, bool one_by_one)
{
    if (tokens == 0) {
        return;
    }
    bench_test *test = &plan->tests[plan->n++];
    *test = (bench_test){.depth = depth, .tokens = (size_t)tokens, .one_by_one = one_by_one};
    const int n =
        snprintf(test->name, sizeof test->name, "%s%zu", one_by_one ? "tg" : "pp", test->tokens);
    if (depth > 0) {
        (void)snprintf(test->name + n, sizeof test->name - (size_t)n, "@%zu", depth);
    }
    plan->n_ids = plan->n_ids > depth + test->tokens ? plan->n_ids : depth + test->tokens;
}

static int compare_counts(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* 0 and the depths that were asked for, ascending, each once; "full" leaves room for the longest
 * test. Returns their number. */
static size_t list_depths(uint64_t depths[COUNT_LIST_MAX + 1], const bench_options *options,
                          size_t room, size_t longest)
{
    const uint64_t full = room > longest ? room - longest : 0;
    size_t n = 0;
    depths[n++] = 0;
    for (size_t i = 0; i < options->depths.n; i++) {
        depths[n++] = options->depths.items[i] == COUNT_FULL ? full : options->depths.items[i];
    }
    qsort(depths, n, sizeof *depths, compare_counts);
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (n_kept == 0 || depths[i] != depths[n_kept - 1]) {
            depths[n_kept++] = depths[i];
        }
    }
    return n_kept;
}

/* 512 tokens, or what the context has room for behind the depths in numbers. */
static uint64_t default_prompt(const bench_options *options, size_t room)
{
    uint64_t deepest = 0;
    for (size_t i = 0; i < options->depths.n; i++) {
        const uint64_t depth = options->depths.items[i];
        deepest = depth != COUNT_FULL && depth > deepest ? depth : deepest;
    }
    const uint64_t left = room > deepest ? room - deepest : room; /* else refused later */
    return left < DEFAULT_PROMPT ? left : DEFAULT_PROMPT;
}

static void make_plan(bench_plan *plan, const bench_options *options, const kf_model_info *info)
{
    const size_t room = info->context - info->n_prefix;
    uint64_t depths[COUNT_LIST_MAX + 1];
    count_list prompts = options->prompts;
    uint64_t longest = options->tokens;
    if (prompts.n == 0) {
        prompts.items[prompts.n++] = default_prompt(options, room);
    }
    for (size_t i = 0; i < prompts.n; i++) {
        longest = prompts.items[i] > longest ? prompts.items[i] : longest;
    }
    const size_t n_depths = list_depths(depths, options, room, (size_t)longest);
    plan->n = plan->n_ids = 0;
    for (size_t d = 0; d < n_depths; d++) {
        for (size_t i = 0; i < prompts.n; i++) {
            add_test(plan, (size_t)depths[d], prompts.items[i], false);
        }
        add_test(plan, (size_t)depths[d], options->tokens, true);
    }
}

/* ---- output ---- */

/* The instruction sets of all kernels in use: "avx512vnni", or "amx+avx512vnni". */
static void name_kernels(char *dst, size_t n)
{
    const char *family = NULL;
    const char *variant = NULL;
    dst[0] = '\0';
    for (size_t i = 0; kf_kernel_in_use(i, &family, &variant); i++) {
        const size_t length = strlen(dst);
        if (strstr(dst, variant) == NULL) {
            (void)snprintf(dst + length, n - length, "%s%s", length > 0 ? "+" : "", variant);
        }
    }
}

static const char *subject_name(const bench_options *options)
{
    return options->shape != NULL ? options->shape : options->common.positional[0];
}

static void print_head(const bench_options *options, const bench_bed *bed)
{
    char name[256];
    if (!options->common.json) {
        (void)printf("%s: %s; activations %s; kv %s; %zu threads\n",
                     show_text(name, sizeof name, subject_name(options)), bed->info.source,
                     bed->info.activations, kf_kv_name(kf_session_kv(bed->session)),
                     kf_pool_threads(bed->subject->pool));
        (void)printf("%-14s %10s %10s %8s %10s %7s %7s  %s\n", "test", "tokens/s", "MB/token",
                     "GB/s", "read GB/s", "share", "TOPS", "kernels");
    }
}

static void print_json(const bench_options *options, const bench_bed *bed, const bench_test *test,
                       const bench_result *r)
{
    json_print(json_pack("{s:s, s:o, s:o, s:s, s:s, s:I, s:f, s:I, s:f, s:f, s:f, s:f, s:o}",
                         "test", test->name, "model", json_text(subject_name(options)), "source",
                         json_text(bed->info.source), "activations", bed->info.activations, "kv",
                         kf_kv_name(kf_session_kv(bed->session)), "threads",
                         (json_int_t)kf_pool_threads(bed->subject->pool), "tokens_per_second",
                         r->tokens_per_second, "bytes_per_token",
                         (json_int_t)(r->bytes_per_token + 0.5), "gb_per_second",
                         1e-9 * r->bytes_per_second, "read_gb_per_second",
                         1e-9 * r->read_bytes_per_second, "share",
                         r->bytes_per_second / r->read_bytes_per_second, "tops",
                         1e-12 * r->operations_per_second, "kernels", json_kernels()),
               9);
}

static void print_result(const bench_options *options, const bench_bed *bed, const bench_test *test,
                         const bench_result *r)
{
    terminal_clear();
    if (options->common.json) {
        print_json(options, bed, test, r);
    } else {
        char kernels[128];
        name_kernels(kernels, sizeof kernels);
        (void)printf("%-14s %10.1f %10.2f %8.1f %10.1f %6.1f%% %7.3f  %s\n", test->name,
                     r->tokens_per_second, 1e-6 * r->bytes_per_token, 1e-9 * r->bytes_per_second,
                     1e-9 * r->read_bytes_per_second,
                     100.0 * r->bytes_per_second / r->read_bytes_per_second,
                     1e-12 * r->operations_per_second, kernels);
    }
    (void)output_flush();
}

/* ---- running ---- */

static kf_status bench(const bench_options *options, const cli_subject *subject, kf_error *err)
{
    bench_plan plan;
    bench_bed bed = {0};
    kf_model_info info;
    kf_model_get_info(subject->model, &info);
    make_plan(&plan, options, &info);
    kf_status st = bench_open(&bed, subject, plan.n_ids, options->kv, err);
    if (st == KF_OK) {
        print_head(options, &bed);
    }
    for (size_t i = 0; st == KF_OK && i < plan.n; i++) {
        bench_result result;
        st = bench_measure(&result, &bed, &plan.tests[i], (size_t)options->repeats, err);
        if (st == KF_OK) {
            print_result(options, &bed, &plan.tests[i], &result);
        }
    }
    bench_close(&bed);
    return st;
}

/* Random weights of a shape instead of a checkpoint. */
static kf_status open_shape(cli_subject *subject, const bench_options *options, kf_error *err)
{
    kf_random_options random = KF_RANDOM_OPTIONS_INIT;
    kf_model_options model = KF_MODEL_OPTIONS_INIT;
    random.shape = options->shape;
    random.seed = options->common.seed;
    random.rank = (size_t)options->rank;
    random.outliers = (size_t)options->outliers;
    kf_status st = KF_OK;
    if (options->weights != NULL) {
        st = kf_format_parse(&random.weights, options->weights, err);
    }
    if (st == KF_OK && options->head != NULL) {
        st = kf_format_parse(&random.head, options->head, err);
    }
    if (st == KF_OK && options->activations != NULL) {
        st = kf_activation_parse(&random.activation, options->activations, err);
    }
    if (st == KF_OK) {
        st = subject_start(subject, &options->common, err);
    }
    if (st == KF_OK) {
        model.callbacks = subject->callbacks;
        model.pool = subject->pool;
        st = kf_model_open_random(&subject->model, &random, &model, err);
    }
    terminal_clear();
    return st;
}

static kf_status open_subject(cli_subject *subject, const bench_options *options, kf_error *err)
{
    if (options->shape != NULL) {
        return open_shape(subject, options, err);
    }
    subject->weights = options->weights != NULL ? options->weights : "auto";
    subject->activations = options->activations;
    return subject_open(subject, options->common.positional[0], &options->common, SUBJECT_MODEL,
                        err);
}

/* What the table of options cannot say; EXIT_DONE or the exit code. */
static int check_options(const bench_options *options, const cli_command *command)
{
    const bool has_model = options->common.n_positional > 0;
    uint64_t sum = options->tokens + (options->prompts.n == 0);
    for (size_t i = 0; i < options->prompts.n; i++) {
        sum += options->prompts.items[i];
    }
    if (has_model == (options->shape != NULL)) {
        return fail_usage(command, has_model ? "a MODEL and a --shape: give one of them"
                                             : "missing MODEL or --shape NAME");
    }
    if (sum == 0) {
        return fail_usage(command, "--prompt 0 --tokens 0: nothing is left to measure");
    }
    if (!has_model) {
        return EXIT_DONE;
    }
    if (options->head != NULL || options->rank > 0 || options->outliers > 0) {
        return fail_usage(command, "--%s is of random weights and needs --shape",
                          options->head != NULL ? "head"
                          : options->rank > 0   ? "rank"
                                                : "outliers");
    }
    if (options->weights != NULL && !is_choice("auto|float|packed", options->weights)) {
        return fail_usage(command, "--weights: '%s' is not one of auto|float|packed",
                          options->weights);
    }
    return EXIT_DONE;
}

static int print_shapes(const bench_options *options)
{
    json_t *names = json_array();
    for (size_t i = 0; kf_model_shape(i) != NULL; i++) {
        (void)json_array_append_new(names, json_string(kf_model_shape(i)));
        if (!options->common.json) {
            (void)printf("%s\n", kf_model_shape(i));
        }
    }
    if (options->common.json) {
        json_print(json_pack("{s:O}", "shapes", names), 6);
    }
    json_decref(names);
    return EXIT_DONE;
}

static int run(const cli_command *command, int argc, char **argv)
{
    bench_options options = {.kv = KF_KV_AUTO, .tokens = 128, .repeats = 3};
    int exit_code = EXIT_DONE;
    cli_subject subject = {0};
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    exit_code = check_options(&options, command);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    if (options.shape != NULL && strcmp(options.shape, "list") == 0) {
        return print_shapes(&options);
    }
    if (open_subject(&subject, &options, &err) != KF_OK ||
        bench(&options, &subject, &err) != KF_OK) {
        exit_code = fail_status(&err);
    }
    subject_close(&subject);
    return exit_code;
}

static const cli_option options_table[] = {
    {"prompt", 0, OPTION_COUNTS, "N[,N]", "tokens of prompts, 0 for none (default 512)",
     offsetof(bench_options, prompts), 0, 1e6},
    {"tokens", 'n', OPTION_COUNT, "N", "tokens of the answer, 0 for none (default 128)",
     offsetof(bench_options, tokens), 0, 1e6},
    {"depth", 0, OPTION_COUNTS, "N[,N]|full",
     "also measure behind N tokens; full: as many as the context has room for",
     offsetof(bench_options, depths), 0, 1e7},
    {"repeats", 0, OPTION_COUNT, "N", "runs to take the median of (default 3)",
     offsetof(bench_options, repeats), 1, BENCH_REPEATS_MOST},
    {"shape", 0, OPTION_TEXT, "NAME",
     "random weights of a known shape instead of a MODEL; list prints the names",
     offsetof(bench_options, shape), 0, 0},
    {"weights", 0, OPTION_TEXT, "FORMAT",
     "of a shape's blocks (default int4g64); of a GGUF auto, float or packed, as for kerf run "
     "(default auto)",
     offsetof(bench_options, weights), 0, 0},
    {"head", 0, OPTION_TEXT, "FORMAT", "of a shape's embedding and head (default int8g64)",
     offsetof(bench_options, head), 0, 0},
    {"rank", 0, OPTION_COUNT, "N", "of a low-rank pair beside each of a shape's layers (default 0)",
     offsetof(bench_options, rank), 0, 512},
    {"outliers", 0, OPTION_COUNT, "N",
     "input columns of 8 bits beside each of a shape's layers (default 0)",
     offsetof(bench_options, outliers), 0, 512},
    {"activations", 0, OPTION_TEXT, "FORMAT",
     "of a shape (default int8tg64), or of a model's packed weights (default recipe)",
     offsetof(bench_options, activations), 0, 0},
    OPTION_KV(bench_options),
};

const cli_command command_bench = {
    .name = "bench",
    .summary = "measure tokens a second",
    .usage = "MODEL | --shape NAME [options]",
    .description =
        "ppN is a prompt of N tokens computed together, tgN are N tokens computed one by one with "
        "their logits; @D behind D tokens. Each figure is the median of several runs after one to "
        "warm up. Other work on the machine spoils them.\n\n"
        "Beside tokens a second stand the bytes read for a token (weights, and for tgN keys and "
        "values; a prompt shares the weights among up to 512 tokens), the rate at which they are "
        "read, the rate at which the same threads read a plain buffer of the size that a pass over "
        "the model reads, before and after, and the share of it that was reached; tera-operations "
        "a second in products with weights; and the instruction sets of the kernels in use.",
    .examples =
        "  kerf bench smol-w4\n"
        "  kerf bench smol-w4 --prompt 16,512 --depth 1536,full --json\n"
        "  kerf bench --shape tinyllama-1.1b --weights int4g64r --head int4g64r\n"
        "  kerf bench --shape smollm2-135m --activations int4tg64 --rank 32 --outliers 32\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run,
};
