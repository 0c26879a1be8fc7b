/* cmd_compare.c - kerf compare: a table of recipes on one model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "generate.h"
#include "quantize_job.h"
#include "report_json.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kerf/eval.h"

#define ROWS_MAX 64

typedef struct compare_options {
    common_options common;
    const char *recipes, *text, *calib, *dir, *prompt, *activations;
    text_list set;
    uint64_t window, windows, tokens;
} compare_options;

/* A finished row of the table. */
typedef struct row {
    char name[64];
    char source[96];
    char activations[KF_FORMAT_NAME_BYTES];
    const char *prefix;
    uint64_t bytes;
    double bits_per_weight, bits_per_weight_linear;
    kf_eval_result eval;
    double quantize_seconds;
    double answer_rate; /* tokens a second */
    char *answer;
} row;

typedef struct cli_comparison {
    const compare_options *options;
    cli_subject source;
    cli_document text, calibration;
    bool split;                     /* calibration is the first half of the text */
    char dir[PATH_BYTES - 300];     /* where checkpoints and reference states go */
    bool own_dir;                   /* made by us: removed at the end */
    char references[2][PATH_BYTES]; /* reference states without and with the start token; "" = not
                                       made */
    row rows[ROWS_MAX];
    size_t n_rows;
} cli_comparison;

/* ---- output
 * ---------------------------------------------------------------------------------------------------
 */

static void print_heading(const cli_comparison *c)
{
    const char *name = c->options->text;
    if (c->split) {
        (void)printf("text: %s; calibrated on its first half, measured on its second\n", name);
    } else {
        (void)printf("text: %s; calibrated on %s\n", name,
                     c->options->calib != NULL ? c->options->calib : "nothing");
    }
    (void)printf("\n%-10s %9s %6s %6s %20s %9s %7s %8s %9s  %s\n", "recipe", "size", "bits",
                 "linear", "perplexity", "KL", "top-1", "token/s", "quantize",
                 "activations, prefix");
    (void)fflush(stdout);
}

static void print_row(const row *r)
{
    char size[32];
    char seconds[32];
    terminal_clear();
    (void)printf("%-10s %9s %6.3f %6.3f %10.3f +- %6.3f ", r->name, format_bytes(size, r->bytes),
                 r->bits_per_weight, r->bits_per_weight_linear, r->eval.perplexity,
                 r->eval.perplexity_se);
    if (isfinite(r->eval.kl_mean)) {
        (void)printf("%9.4f %6.2f%% ", r->eval.kl_mean, 100 * r->eval.top1);
    } else {
        (void)printf("%9s %7s ", "-", "-");
    }
    (void)printf("%8.1f %9s  %s, %s\n", r->answer_rate,
                 r->quantize_seconds > 0 ? format_seconds(seconds, r->quantize_seconds) : "-",
                 r->activations, r->prefix);
    (void)fflush(stdout);
}

static void print_row_json(const row *r)
{
    json_t *line = json_pack(
        "{s:o, s:o, s:I, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:I}",
        "recipe", json_text(r->name), "source", json_text(r->source), "bytes", (json_int_t)r->bytes,
        "bits_per_weight", json_number(r->bits_per_weight), "bits_per_weight_linear",
        json_number(r->bits_per_weight_linear), "tokens", (json_int_t)r->eval.tokens, "windows",
        (json_int_t)r->eval.windows, "perplexity", json_number(r->eval.perplexity), "perplexity_se",
        json_number(r->eval.perplexity_se), "loss_difference", json_number(r->eval.loss_difference),
        "loss_difference_se", json_number(r->eval.loss_difference_se), "kl_mean",
        json_number(r->eval.kl_mean), "top1", json_number(r->eval.top1), "activations",
        r->activations, "prefix", r->prefix, "tokens_per_second", json_number(r->answer_rate),
        "quantize_seconds", json_number(r->quantize_seconds), "peak_rss_bytes",
        (json_int_t)kf_memory_peak());
    (void)json_object_set_new(line, "answer", json_text(r->answer != NULL ? r->answer : ""));
    json_print(line, 9);
    (void)fflush(stdout);
}

static void print_answers(const cli_comparison *c)
{
    (void)printf("\nwhat each wrote behind \"%s\":\n", c->options->prompt);
    for (size_t i = 0; i < c->n_rows; i++) {
        (void)printf("\n%s\n%s\n", c->rows[i].name, c->rows[i].answer);
    }
}

/* ---- one row
 * --------------------------------------------------------------------------------------------------
 */

/* Lets the model write behind the prompt, greedily, and measures how fast. */
static kf_status write_answer(row *r, const cli_comparison *c, const cli_subject *subject,
                              kf_error *err)
{
    cli_generator g = {0};
    cli_answer a = {0};
    uint32_t *ids = NULL;
    size_t n = 0;
    const text_list no_stops = {.n = 0};
    kf_session_options session = KF_SESSION_OPTIONS_INIT;
    kf_sampler_options sampler = KF_SAMPLER_OPTIONS_INIT;
    kf_status st = encode_text(&ids, &n, subject->tokenizer, c->options->prompt,
                               strlen(c->options->prompt), KF_ENCODE_ADD_BOS, err);
    kf_model_info info;
    kf_model_get_info(subject->model, &info);
    session.context = n + info.n_prefix + (size_t)c->options->tokens + 1;
    sampler.temperature = 0;
    sampler.repetition_penalty = 1.1f;
    if (st == KF_OK) {
        st = generator_open(&g, subject, &session, &sampler, &no_stops, NULL, err);
    }
    if (st == KF_OK) {
        st = generator_answer(&a, &g, ids, n, (size_t)c->options->tokens, err);
    }
    if (st == KF_OK) {
        r->answer_rate = a.seconds > 0 ? (double)a.n_tokens / a.seconds : 0;
        r->answer = strdup(g.text);
        st = r->answer != NULL ? KF_OK : set_error(err, KF_NOMEM, "answer");
    }
    generator_close(&g);
    free(ids);
    return st;
}

static void describe(row *r, const cli_subject *subject)
{
    kf_model_info info;
    kf_model_get_info(subject->model, &info);
    (void)snprintf(r->source, sizeof r->source, "%s", info.source);
    (void)snprintf(r->activations, sizeof r->activations, "%s", info.activations);
    r->bytes = info.bytes;
    r->bits_per_weight = info.bits_per_weight;
    r->bits_per_weight_linear = info.bits_per_weight_linear;
    r->prefix = info.n_prefix > 0 ? "start token" : "none";
}

static void set_windows(kf_eval_options *eval, const cli_comparison *c)
{
    eval->callbacks = c->source.callbacks;
    eval->window = (size_t)c->options->window;
    eval->windows = (size_t)c->options->windows;
}

/* Measures the source itself with or without the start token and keeps its hidden states for all
 * rows. */
static kf_status measure_reference(kf_eval_result *result, cli_comparison *c, bool start,
                                   kf_error *err)
{
    kf_eval_options eval = KF_EVAL_OPTIONS_INIT;
    char path[PATH_BYTES];
    set_windows(&eval, c);
    (void)snprintf(path, sizeof path, "%s/reference-%s.safetensors", c->dir,
                   start ? "start" : "none");
    eval.start = start ? kf_tokenizer_start(c->source.tokenizer) : KF_NO_TOKEN;
    eval.save_reference = path;
    const kf_status st = kf_eval(result, c->source.model, c->text.ids, c->text.n_ids, &eval, err);
    if (st == KF_OK) {
        memcpy(c->references[start], path, sizeof path);
    }
    return st;
}

static kf_status measure_source(cli_comparison *c, kf_error *err)
{
    row *r = &c->rows[c->n_rows];
    (void)snprintf(r->name, sizeof r->name, "float");
    describe(r, &c->source);
    kf_status st = measure_reference(&r->eval, c, false, err);
    if (st == KF_OK) {
        st = write_answer(r, c, &c->source, err);
    }
    c->n_rows += st == KF_OK;
    return st;
}

static kf_status measure_checkpoint(row *r, cli_comparison *c, const char *path, kf_error *err)
{
    cli_subject subject = {.pool = c->source.pool};
    kf_eval_options eval = KF_EVAL_OPTIONS_INIT;
    const int parts =
        SUBJECT_MODEL | SUBJECT_TOKENIZER |
        (strcmp(c->options->activations, "float") == 0 ? SUBJECT_FLOAT_ACTIVATIONS : 0);
    kf_status st = subject_open(&subject, path, &c->options->common, parts, err);
    if (st == KF_OK) {
        describe(r, &subject);
        kf_model_info info;
        kf_model_get_info(subject.model, &info);
        const bool start = info.n_prefix > 0;
        kf_eval_result unused;
        if (c->references[start][0] == '\0') {
            st = measure_reference(&unused, c, start, err);
        }
        set_windows(&eval, c);
        eval.reference = c->source.model;
        eval.reference_start = start ? kf_tokenizer_start(c->source.tokenizer) : KF_NO_TOKEN;
        eval.reference_file = c->references[start];
        if (st == KF_OK) {
            st = kf_eval(&r->eval, subject.model, c->text.ids, c->text.n_ids, &eval, err);
        }
    }
    if (st == KF_OK) {
        st = write_answer(r, c, &subject, err);
    }
    subject.pool = NULL; /* it is the source's */
    subject_close(&subject);
    return st;
}

static kf_status measure_recipe(cli_comparison *c, const char *name, kf_error *err)
{
    row *r = &c->rows[c->n_rows];
    kf_recipe *recipe = NULL;
    kf_quantize_result result;
    char path[PATH_BYTES];
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    (void)snprintf(path, sizeof path, "%s/%s", c->dir, name);
    kf_status st = kf_recipe_open(&recipe, name, NULL, err);
    for (size_t i = 0; st == KF_OK && i < c->options->set.n; i++) {
        st = kf_recipe_set(recipe, c->options->set.items[i], err);
    }
    if (st == KF_OK && kf_recipe_calibrates(recipe) != NULL && c->calibration.n_ids == 0) {
        st = set_error(err, KF_INVALID, "recipe %s needs --calib FILE", name);
    }
    if (st == KF_OK) {
        const bool calibrates =
            kf_recipe_calibrates(recipe) != NULL || strcmp(kf_recipe_prefix(recipe), "auto") == 0;
        const quantize_job job = {.source = &c->source,
                                  .recipe = recipe,
                                  .out = path,
                                  .calibration = calibrates ? c->calibration.ids : NULL,
                                  .n_calibration = calibrates ? c->calibration.n_ids : 0,
                                  .seed = c->options->common.seed,
                                  .force = true};
        st = quantize_job_run(&result, &job, err);
    }
    if (st == KF_OK) {
        r->quantize_seconds = result.seconds;
        st = measure_checkpoint(r, c, path, err);
    }
    kf_recipe_free(recipe);
    c->n_rows += st == KF_OK;
    return st;
}

/* ---- the table
 * ------------------------------------------------------------------------------------------------
 */

/* The directory for checkpoints: the user's, or a temporary one. */
static kf_status make_directory(cli_comparison *c, kf_error *err)
{
    if (c->options->dir != NULL) {
        (void)snprintf(c->dir, sizeof c->dir, "%s", c->options->dir);
        return mkdir(c->dir, 0777) == 0 || errno == EEXIST
                   ? KF_OK
                   : set_error(err, KF_IO, "cannot make directory '%s': %s", c->dir,
                               strerror(errno));
    }
    const char *base = getenv("TMPDIR");
    (void)snprintf(c->dir, sizeof c->dir, "%s/kerf-compare-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(c->dir) == NULL) {
        return set_error(err, KF_IO, "cannot make a directory like '%s': %s", c->dir,
                         strerror(errno));
    }
    c->own_dir = true;
    return KF_OK;
}

/* Tokenizes what is measured and what is calibrated on: two files, or the halves of one, cut at a
 * line. */
static kf_status read_texts(cli_comparison *c, kf_error *err)
{
    kf_status st = document_read(&c->text, c->options->text, err);
    if (st != KF_OK) {
        return st;
    }
    if (c->options->calib != NULL) {
        st = document_read(&c->calibration, c->options->calib, err);
        if (st == KF_OK) {
            st = document_encode(&c->calibration, c->source.tokenizer, 0, c->calibration.n_text,
                                 err);
        }
        return st == KF_OK ? document_encode(&c->text, c->source.tokenizer, 0, c->text.n_text, err)
                           : st;
    }
    size_t half = c->text.n_text / 2;
    while (half < c->text.n_text && c->text.text[half] != '\n') {
        half++;
    }
    c->split = true;
    st = encode_text(&c->calibration.ids, &c->calibration.n_ids, c->source.tokenizer, c->text.text,
                     half, 0, err);
    return st == KF_OK
               ? document_encode(&c->text, c->source.tokenizer, half, c->text.n_text - half, err)
               : st;
}

static kf_status finish_row(const cli_comparison *c, kf_status st)
{
    if (st == KF_OK) {
        const row *r = &c->rows[c->n_rows - 1];
        if (c->options->common.json) {
            print_row_json(r);
        } else {
            print_row(r);
        }
    }
    return st;
}

static kf_status compare(cli_comparison *c, kf_error *err)
{
    kf_status st = subject_open(&c->source, c->options->common.positional[0], &c->options->common,
                                SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    if (st == KF_OK) {
        st = read_texts(c, err);
    }
    if (st == KF_OK) {
        st = make_directory(c, err);
    }
    if (st != KF_OK) {
        return st;
    }
    if (!c->options->common.json) {
        print_heading(c);
    }
    st = finish_row(c, measure_source(c, err));
    char *list = strdup(c->options->recipes);
    char *rest = NULL;
    for (char *name = list != NULL ? strtok_r(list, ",", &rest) : NULL; st == KF_OK && name != NULL;
         name = strtok_r(NULL, ",", &rest)) {
        st = c->n_rows < ROWS_MAX ? finish_row(c, measure_recipe(c, name, err))
                                  : set_error(err, KF_RANGE, "more than %d recipes", ROWS_MAX - 1);
    }
    free(list);
    if (st == KF_OK && !c->options->common.json) {
        print_answers(c);
    }
    return st;
}

/* Removes the temporary directory and the checkpoints in it. */
static void remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    const struct dirent *entry = NULL;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char child[PATH_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (unlink(child) != 0 && strlen(child) + 2 < sizeof child) {
            remove_directory(child);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    (void)rmdir(path);
}

static void comparison_close(cli_comparison *c)
{
    for (size_t i = 0; i < ROWS_MAX; i++) {
        free(c->rows[i].answer);
    }
    document_free(&c->text);
    document_free(&c->calibration);
    subject_close(&c->source);
    if (c->own_dir) {
        remove_directory(c->dir);
    }
    free(c);
}

static int run(const cli_command *command, int argc, char **argv)
{
    compare_options options = {.window = 2048,
                               .windows = 0,
                               .tokens = 96,
                               .activations = "recipe",
                               .recipes =
                                   "rtn-w8,gptq-w8,rtn-w4,gptq-w4,rtn-w3,gptq-w3,rtn-w2,gptq-w2",
                               .prompt = "A saw cuts wood by"};
    int exit_code = EXIT_DONE;
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    if (options.text == NULL) {
        return fail_usage(command, "missing --text FILE: the text to measure on");
    }
    cli_comparison *c = calloc(1, sizeof *c);
    if (c == NULL) {
        err.code = KF_NOMEM;
        return fail_status(&err);
    }
    c->options = &options;
    if (compare(c, &err) != KF_OK) {
        exit_code = fail_status(&err);
    }
    comparison_close(c);
    return exit_code;
}

static const cli_option options_table[] = {
    {"recipes", 'r', OPTION_TEXT, "A,B,…", "recipes to compare (default: all that round)",
     offsetof(compare_options, recipes), 0, 0},
    {"text", 0, OPTION_TEXT, "FILE", "text to measure on", offsetof(compare_options, text), 0, 0},
    {"calib", 0, OPTION_TEXT, "FILE", "text to calibrate on (default: the first half of --text)",
     offsetof(compare_options, calib), 0, 0},
    {"window", 0, OPTION_COUNT, "N", "tokens a window (default 2048)",
     offsetof(compare_options, window), 2, 1e9},
    {"windows", 0, OPTION_COUNT, "N", "only the first N windows (default: all)",
     offsetof(compare_options, windows), 0, 1e9},
    {"set", 's', OPTION_LIST, "KEY=VALUE", "change a knob in every recipe; may be repeated",
     offsetof(compare_options, set), 0, 0},
    {"activations", 0, OPTION_WORD, "recipe|float", "float: run the packed weights on float32",
     offsetof(compare_options, activations), 0, 0},
    {"dir", 0, OPTION_TEXT, "DIR", "keep the checkpoints here (default: a temporary directory)",
     offsetof(compare_options, dir), 0, 0},
    {"prompt", 'p', OPTION_TEXT, "TEXT", "what every model goes on from",
     offsetof(compare_options, prompt), 0, 0},
    {"tokens", 'n', OPTION_COUNT, "N", "tokens that each writes (default 96)",
     offsetof(compare_options, tokens), 1, 4096},
};

const cli_command command_compare = {
    .name = "compare",
    .summary = "quantize a model by several recipes and put them side by side",
    .usage = "MODEL --text FILE [--recipes A,B] [--calib FILE] [options]",
    .description =
        "One row a recipe: size, bits per weight, perplexity, divergence from the source, tokens a second, time to quantize, and a paragraph "
        "that it wrote. KL and top-1 compare with the source started the same way. Without --calib the first half of the text "
        "calibrates and the second is measured.",
    .examples =
        "  kerf compare $(kerf pull) --text manual.txt --windows 4 --set calib.samples=4\n"
        "  kerf compare model.gguf --recipes rtn-w4,gptq-w4 --text test.txt --calib train.txt --json\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
