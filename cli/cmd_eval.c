/* cmd_eval.c - kerf eval.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "eval_tasks.h"
#include "layers.h"
#include "report_json.h"
#include "subject.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "kerf/eval.h"

typedef struct eval_options {
    common_options common;
    const char *text, *against, *reference, *save_reference, *logits, *start, *weights,
        *activations, *tasks, *tasks_dir;
    kf_kv kv;
    uint64_t kv_exact;
    uint64_t window, windows, limit, layers;
    bool no_prefix, positions, answers;
} eval_options;

static json_t *bands_json(const kf_eval_result *r)
{
    json_t *bands = json_array();
    for (size_t i = 0; i < r->n_bands; i++) {
        const kf_eval_band *b = &r->bands[i];
        (void)json_array_append_new(
            bands, json_pack("{s:I, s:I, s:I, s:o, s:o, s:o}", "first", (json_int_t)b->first,
                             "last", (json_int_t)b->last, "tokens", (json_int_t)b->tokens, "loss",
                             json_number(b->loss), "loss_difference",
                             json_number(b->loss_difference), "kl_mean", json_number(b->kl_mean)));
    }
    return bands;
}

/* What stood in front of each window; a stored prefix takes the place of a start token. */
static const char *in_front(const eval_options *options, const kf_eval_result *r)
{
    return r->n_prefix > 0 ? "prefix" : options->start;
}

static void print_json(const eval_options *options, const kf_model_info *info,
                       const kf_eval_result *r, json_t *layers)
{
    json_t *report = json_pack(
        "{s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:s, s:s, s:o, s:o, s:s, s:I, s:I}",
        "model", json_text(options->common.positional[0]), "tokens", (json_int_t)r->tokens,
        "windows", (json_int_t)r->windows, "perplexity", json_number(r->perplexity),
        "perplexity_se", json_number(r->perplexity_se), "kl_mean", json_number(r->kl_mean), "top1",
        json_number(r->top1), "bits_per_weight", json_number(info->bits_per_weight), "bytes",
        (json_int_t)info->bytes, "seconds", json_number(r->seconds), "tokens_per_second",
        json_number(r->tokens_per_second), "activations", info->activations, "kv",
        kf_kv_name(r->kv), "kv_bits", json_number(r->kv_bits), "source", json_text(info->source),
        "start", in_front(options, r), "prefix_tokens", (json_int_t)r->n_prefix, "peak_rss_bytes",
        (json_int_t)kf_memory_peak());
    if (options->against != NULL) {
        (void)json_object_set_new(report, "against", json_text(options->against));
        (void)json_object_set_new(report, "reference_perplexity",
                                  json_number(r->reference_perplexity));
        (void)json_object_set_new(report, "loss_difference", json_number(r->loss_difference));
        (void)json_object_set_new(report, "loss_difference_se", json_number(r->loss_difference_se));
        (void)json_object_set_new(report, "kl_median", json_number(r->kl_median));
        (void)json_object_set_new(report, "kl_99", json_number(r->kl_99));
        (void)json_object_set_new(report, "kl_max", json_number(r->kl_max));
    }
    if (options->positions) {
        (void)json_object_set_new(report, "positions", bands_json(r));
    }
    if (layers != NULL) {
        (void)json_object_set(report, "layers", layers);
    }
    json_print(report, 12);
}

static void print_positions(const kf_eval_result *r, bool compared)
{
    (void)printf("tokens before      scored      loss%s\n", compared ? "  difference      KL" : "");
    for (size_t i = 0; i < r->n_bands; i++) {
        const kf_eval_band *b = &r->bands[i];
        (void)printf("%6zu-%-6zu %11zu  %8.4f", b->first, b->last, b->tokens, b->loss);
        if (compared) {
            (void)printf("    %+8.4f  %.4f", b->loss_difference, b->kl_mean);
        }
        (void)printf("\n");
    }
}

static void print_text(const eval_options *options, const kf_model_info *info,
                       const kf_eval_result *r)
{
    char a[32];
    char source[256];
    (void)printf("model        %s (%s)\n", options->common.positional[0],
                 show_text(source, sizeof source, info->source));
    (void)printf("weights      %.3f bits per weight, %s; activations %s; kv %s of %.3g bits\n",
                 info->bits_per_weight, format_bytes(a, info->bytes), info->activations,
                 kf_kv_name(r->kv), r->kv_bits);
    (void)printf("text         %s, %zu windows of %llu tokens, %zu scored, in front: %s\n",
                 options->text, r->windows, (unsigned long long)options->window, r->tokens,
                 r->n_prefix > 0                      ? "the stored exact prefix"
                 : strcmp(options->start, "bos") == 0 ? "the start token"
                                                      : "nothing");
    if (isfinite(r->perplexity_se)) {
        (void)printf("perplexity   %.4f +- %.4f\n", r->perplexity, r->perplexity_se);
    } else {
        (void)printf("perplexity   %.4f (one window tells no standard error)\n", r->perplexity);
    }
    if (options->against != NULL) {
        (void)printf("reference    %s: perplexity %.4f\n", options->against,
                     r->reference_perplexity);
        (void)printf("difference   %+.5f", r->loss_difference);
        if (isfinite(r->loss_difference_se)) {
            (void)printf(" +- %.5f", r->loss_difference_se);
        }
        (void)printf(" nats a token (%+.2f %% perplexity)\n", 100 * (exp(r->loss_difference) - 1));
        (void)printf("KL           mean %.5f, median %.5f, 99 %% %.4f, maximum %.3f nats\n",
                     r->kl_mean, r->kl_median, r->kl_99, r->kl_max);
        (void)printf("top-1        %.2f %% the same\n", 100 * r->top1);
    }
    (void)printf("speed        %.0f tokens/s, %s\n", r->tokens_per_second,
                 format_seconds(a, r->seconds));
    if (options->positions) {
        print_positions(r, options->against != NULL);
    }
}

/* Opens the reference beside the model, on the same threads. */
static kf_status open_reference(cli_subject *reference, const cli_subject *main,
                                const eval_options *options, kf_error *err)
{
    if (options->against == NULL) {
        return KF_OK;
    }
    reference->pool = main->pool;
    reference->n_beside = 1;
    return subject_open(reference, options->against, &options->common, SUBJECT_MODEL, err);
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat one;
    struct stat other;
    return a != NULL && b != NULL && stat(a, &one) == 0 && stat(b, &other) == 0 &&
           one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* The library knows the models' files, but not the text's. */
static kf_status check_outputs(const eval_options *options, kf_error *err)
{
    const char *const written[] = {options->save_reference, options->logits};
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        if (is_same_file(written[i], options->text)) {
            return set_error(err, KF_RANGE, "'%s' is the text: it is not replaced", written[i]);
        }
    }
    return KF_OK;
}

/* What --start puts in front: NULL is nothing. */
static kf_status find_start(const uint32_t **start, uint32_t *memory, const eval_options *options,
                            const cli_subject *main, kf_error *err)
{
    *start = NULL;
    if (strcmp(options->start, "bos") != 0) {
        return KF_OK;
    }
    *memory = kf_tokenizer_start(main->tokenizer);
    if (*memory == KF_NO_TOKEN) {
        return set_error(err, KF_RANGE, "--start bos: this model's tokenizer names no start token");
    }
    *start = memory;
    return KF_OK;
}

static kf_status evaluate(const eval_options *options, const cli_subject *main,
                          const cli_subject *reference, cli_document *document,
                          kf_eval_result *result, json_t **layers, kf_error *err)
{
    uint32_t start = KF_NO_TOKEN;
    kf_eval_options eval = KF_EVAL_OPTIONS_INIT;
    kf_status st = document_tokenize(document, options->text, main->tokenizer, err);
    if (st == KF_OK) {
        st = find_start(&eval.start, &start, options, main, err);
    }
    if (st != KF_OK) {
        return st;
    }
    eval.callbacks = main->callbacks;
    eval.window = (size_t)options->window;
    eval.windows = (size_t)options->windows;
    eval.n_start = 1;
    eval.no_prefix = options->no_prefix;
    eval.kv = options->kv;
    eval.kv_exact = (size_t)options->kv_exact;
    eval.reference = reference->model;
    eval.reference_file = options->reference;
    eval.save_reference = options->save_reference;
    eval.logits = options->logits;
    st = kf_eval(result, main->model, document->ids, document->n_ids, &eval, err);
    if (st == KF_OK && options->layers > 0) {
        st = layers_measure(layers, main->model, document->ids, document->n_ids, &eval,
                            (size_t)options->layers, err);
    }
    return st;
}

static kf_status run_text(const eval_options *options, cli_subject *main, kf_error *err)
{
    cli_subject reference = {0};
    cli_document document = {0};
    kf_eval_result result;
    json_t *layers = NULL;
    kf_status st = open_reference(&reference, main, options, err);
    if (st == KF_OK) {
        st = evaluate(options, main, &reference, &document, &result, &layers, err);
    }
    if (st == KF_OK) {
        kf_model_info info;
        terminal_clear();
        kf_model_get_info(main->model, &info);
        if (options->common.json) {
            print_json(options, &info, &result, layers);
        } else {
            print_text(options, &info, &result);
            if (layers != NULL) {
                layers_print(layers);
            }
        }
    }
    json_decref(layers);
    document_free(&document);
    subject_close(&reference);
    return st;
}

static kf_status run_tasks(const eval_options *options, const task_list *tasks,
                           const cli_subject *main, kf_error *err)
{
    uint32_t start = KF_NO_TOKEN;
    task_asking asking = {.subject = main,
                          .options = KF_TASK_OPTIONS_INIT,
                          .start = options->start,
                          .answers = options->answers,
                          .json = options->common.json};
    asking.options.callbacks = main->callbacks;
    asking.options.limit = (size_t)options->limit;
    asking.options.n_start = 1;
    asking.options.no_prefix = options->no_prefix;
    asking.options.kv = options->kv;
    asking.options.kv_exact = (size_t)options->kv_exact;
    const kf_status st = find_start(&asking.options.start, &start, options, main, err);
    return st == KF_OK ? task_list_run(tasks, &asking, err) : st;
}

/* What can be refused is refused before a model is opened. */
static kf_status run_options(const eval_options *options, cli_subject *main, kf_error *err)
{
    task_list tasks = {.n = 0};
    kf_status st = check_outputs(options, err);
    if (st == KF_OK && options->tasks != NULL) {
        st = task_list_parse(&tasks, options->tasks, options->tasks_dir, err);
        st = st == KF_OK ? task_list_check(&tasks, err) : st;
    }
    if (st != KF_OK) {
        return st;
    }
    main->n_beside = options->against != NULL;
    main->weights = options->weights;
    main->activations = options->activations;
    st = subject_open(main, options->common.positional[0], &options->common,
                      SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    if (st != KF_OK) {
        return st;
    }
    return options->tasks != NULL ? run_tasks(options, &tasks, main, err)
                                  : run_text(options, main, err);
}

/* Says what is wrong with the options together; NULL when nothing is. */
static const char *mistake(const eval_options *options)
{
    const bool of_text = options->against != NULL || options->save_reference != NULL ||
                         options->logits != NULL || options->positions;
    if (options->text == NULL && options->tasks == NULL) {
        return "missing --text FILE or --tasks NAMES: what to measure on";
    }
    if (options->text != NULL && options->tasks != NULL) {
        return "--text and --tasks are two measurements: give one of them";
    }
    if (options->reference != NULL && options->against == NULL) {
        return "--reference needs --against: the model that it was saved from";
    }
    if (options->layers > 0 && options->against == NULL) {
        return "--layers needs --against: the model whose residual stream is right";
    }
    if (options->tasks != NULL && of_text) {
        return "--against, --positions, --save-reference and --logits need --text";
    }
    if (options->tasks == NULL && (options->limit > 0 || options->answers)) {
        return "--limit and --answers need --tasks";
    }
    return NULL;
}

static int run(const cli_command *command, int argc, char **argv)
{
    eval_options options = {.window = 2048,
                            .start = "none",
                            .weights = "float",
                            .activations = "recipe",
                            .kv = KF_KV_AUTO};
    int exit_code = EXIT_DONE;
    cli_subject main = {0};
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    if (mistake(&options) != NULL) {
        return fail_usage(command, "%s", mistake(&options));
    }
    if (run_options(&options, &main, &err) != KF_OK) {
        exit_code = fail_status(&err);
    }
    subject_close(&main);
    return exit_code;
}

static const cli_option options_table[] = {
    {"text", 0, OPTION_TEXT, "FILE", "text to measure on", offsetof(eval_options, text), 0, 0},
    {"against", 0, OPTION_TEXT, "MODEL", "also measure the divergence from this model",
     offsetof(eval_options, against), 0, 0},
    OPTION_WINDOW(eval_options),
    OPTION_WINDOWS(eval_options),
    {"tasks", 0, OPTION_TEXT, "A,B,…",
     "ask questions instead: piqa, arc_easy, boolq, hellaswag, winogrande",
     offsetof(eval_options, tasks), 0, 0},
    {"limit", 0, OPTION_COUNT, "N", "only the first N questions of each task (default: all)",
     offsetof(eval_options, limit), 0, 1e9},
    {"tasks-dir", 0, OPTION_TEXT, "DIR",
     "where the files of tasks are (default: tasks/ of $KERF_DATA, or of ../shared/data)",
     offsetof(eval_options, tasks_dir), 0, 0},
    {"answers", 0, OPTION_FLAG, NULL, "print the answer to every question, too",
     offsetof(eval_options, answers), 0, 0},
    {"start", 0, OPTION_WORD, "none|bos",
     "what stands in front of a window or question (default none)", offsetof(eval_options, start),
     0, 0},
    OPTION_NO_PREFIX(eval_options),
    {"weights", 0, OPTION_WORD, "float|packed",
     "of a GGUF: packed is what kerf run executes (default float)", offsetof(eval_options, weights),
     0, 0},
    OPTION_ACTIVATIONS(eval_options),
    OPTION_KV(eval_options),
    OPTION_KV_EXACT(eval_options),
    {"positions", 0, OPTION_FLAG, NULL, "the loss by position in the window, too",
     offsetof(eval_options, positions), 0, 0},
    {"layers", 0, OPTION_COUNT, "N",
     "the error behind each block over the first N windows, too (needs --against)",
     offsetof(eval_options, layers), 0, 1e9},
    {"save-reference", 0, OPTION_TEXT, "FILE", "keep this model's final hidden states",
     offsetof(eval_options, save_reference), 0, 0},
    {"reference", 0, OPTION_TEXT, "FILE", "hidden states kept before, for --against",
     offsetof(eval_options, reference), 0, 0},
    {"logits", 0, OPTION_TEXT, "FILE.npy", "write all logits (large)",
     offsetof(eval_options, logits), 0, 0},
};

const cli_command command_eval = {
    .name = "eval",
    .summary = "measure perplexity, divergence from a reference, or answers to questions",
    .usage = "MODEL --text FILE [--against MODEL] | --tasks NAMES [--limit N] [options]",
    .description =
        "The text is tokenized once and cut into windows that do not overlap; the last partial one is dropped. Every token of a "
        "window but its first is scored. Nothing stands in front of a window for a float model, the stored exact prefix for a "
        "checkpoint that has one; --start bos puts the start token in front. A Kerf checkpoint is measured by the code that kerf run executes, "
        "a GGUF in float unless --weights packed is given.\n"
        "KL is KL(reference || model) in nats a token, top-1 the part of tokens where both think the same token most likely. "
        "The difference has the paired standard error over windows. --positions shows where in a window the loss lies: by the "
        "number of its tokens that stand before the one that is scored. --layers shows where the error is born: ||x - x_ref|| / ||x_ref|| of the residual "
        "stream behind each block, the mean over tokens, with a window's first token apart.\n"
        "--tasks asks questions that have a choice of answers, as lm-evaluation-harness puts them and without examples in front. "
        "acc is the part of them whose right choice is the most likely one, acc_norm the same by log-likelihood a byte of the choice: "
        "else a long one loses for being long. Both have the standard error that the number of questions leaves. Guessing gives what stands under chance.",
    .examples = "  kerf eval smol-w4 --text wiki.test.raw\n"
                "  kerf eval smol-w4 --text wiki.test.raw --against $(kerf pull) --windows 8\n"
                "  kerf eval smol-w4 --text wiki.test.raw --activations float --json\n"
                "  kerf eval smol-w4 --tasks piqa,arc_easy --limit 500\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
