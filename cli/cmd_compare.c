/* cmd_compare.c - kerf compare: a table of recipes on one model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare_table.h"
#include "generate.h"
#include "quantize_job.h"

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
    kf_kv kv;
    text_list set;
    bool force;
    uint64_t window, windows, tokens;
} compare_options;

/* Hidden states of the source behind so many tokens, kept for all rows that start with them. */
typedef struct compare_reference {
    uint32_t *start; /* malloc'ed */
    size_t n;
    char path[PATH_BYTES];
} compare_reference;

typedef struct cli_comparison {
    const compare_options *options;
    cli_subject source;
    cli_document text, calibration;
    kf_recipe *recipes[ROWS_MAX];
    size_t n_recipes;
    char dir[PATH_BYTES - 300]; /* where checkpoints and reference states go */
    bool own_dir;               /* made by us: removed at the end */
    compare_reference references[ROWS_MAX];
    size_t n_references;
    compare_row rows[ROWS_MAX];
    size_t n_rows;
} cli_comparison;

/* ---- one row ---- */

/* Lets the model write behind the prompt, greedily, and measures how fast. */
static kf_status write_answer(compare_row *r, const cli_comparison *c, const cli_subject *subject,
                              kf_kv kv, kf_error *err)
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
    session.kv = kv;
    sampler.temperature = 0;
    sampler.repetition_penalty = 1.1f;
    if (st == KF_OK) {
        st = generator_open(&g, subject, &session, &sampler, &no_stops, false, err);
    }
    if (st == KF_OK) {
        g.continues = c->options->prompt[0] != '\0';
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

static void describe(compare_row *r, const cli_subject *subject)
{
    kf_model_info info;
    kf_model_get_info(subject->model, &info);
    (void)snprintf(r->source, sizeof r->source, "%s", info.source);
    (void)snprintf(r->activations, sizeof r->activations, "%s", info.activations);
    r->bytes = info.bytes;
    r->bits_per_weight = info.bits_per_weight;
    r->bits_per_weight_linear = info.bits_per_weight_linear;
    r->start = info.n_prefix == 0 ? "none" : info.n_prefix == 1 ? "start token" : "text";
}

static void set_windows(kf_eval_options *eval, const cli_comparison *c)
{
    eval->callbacks = c->source.callbacks;
    eval->window = (size_t)c->options->window;
    eval->windows = (size_t)c->options->windows;
}

/* Measures the source behind these tokens and keeps its hidden states. */
static kf_status measure_reference(kf_eval_result *result, cli_comparison *c, const uint32_t *start,
                                   size_t n, kf_error *err)
{
    kf_eval_options eval = KF_EVAL_OPTIONS_INIT;
    compare_reference *reference = &c->references[c->n_references];
    reference->start = malloc((n + 1) * sizeof *start);
    if (reference->start == NULL) {
        return set_error(err, KF_NOMEM, "%zu start tokens", n);
    }
    for (size_t i = 0; i < n; i++) {
        reference->start[i] = start[i];
    }
    reference->n = n;
    (void)snprintf(reference->path, sizeof reference->path, "%s/reference-%zu.safetensors", c->dir,
                   c->n_references);
    c->n_references++; /* freed and removed at the end, also when it fails now */
    set_windows(&eval, c);
    eval.start = reference->start;
    eval.n_start = n;
    eval.save_reference = reference->path;
    return kf_eval(result, c->source.model, c->text.ids, c->text.n_ids, &eval, err);
}

/* The reference of a row that starts with these tokens; measured where no row before did. */
static kf_status find_reference(const char **path, cli_comparison *c, const uint32_t *start,
                                size_t n, kf_error *err)
{
    kf_eval_result unused;
    for (size_t i = 0; i < c->n_references; i++) {
        const compare_reference *r = &c->references[i];
        if (r->n == n && (n == 0 || memcmp(r->start, start, n * sizeof *start) == 0)) {
            *path = r->path;
            return KF_OK;
        }
    }
    *path = c->references[c->n_references].path;
    return measure_reference(&unused, c, start, n, err);
}

static kf_status measure_source(cli_comparison *c, kf_error *err)
{
    compare_row *r = &c->rows[c->n_rows];
    (void)snprintf(r->name, sizeof r->name, "float");
    describe(r, &c->source);
    kf_status st = measure_reference(&r->eval, c, NULL, 0, err);
    if (st == KF_OK) {
        st = write_answer(r, c, &c->source, KF_KV_F32, err);
    }
    c->n_rows += st == KF_OK;
    return st;
}

static kf_status measure_checkpoint(compare_row *r, cli_comparison *c, const char *path,
                                    kf_error *err)
{
    cli_subject subject = {.pool = c->source.pool, .activations = c->options->activations};
    kf_eval_options eval = KF_EVAL_OPTIONS_INIT;
    kf_status st =
        subject_open(&subject, path, &c->options->common, SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    if (st == KF_OK) {
        kf_model_info info;
        kf_model_get_info(subject.model, &info);
        describe(r, &subject);
        st = find_reference(&eval.reference_file, c, kf_model_prefix(subject.model), info.n_prefix,
                            err);
    }
    if (st == KF_OK) {
        set_windows(&eval, c);
        eval.reference = c->source.model;
        eval.kv = c->options->kv;
        st = kf_eval(&r->eval, subject.model, c->text.ids, c->text.n_ids, &eval, err);
    }
    if (st == KF_OK) {
        st = write_answer(r, c, &subject, c->options->kv, err);
    }
    subject_close(&subject);
    return st;
}

/* Quantizes by a recipe, or takes what an earlier comparison left in the directory. */
static kf_status measure_recipe(cli_comparison *c, const kf_recipe *recipe, kf_error *err)
{
    compare_row *r = &c->rows[c->n_rows];
    kf_quantize_result result;
    char path[PATH_BYTES];
    const bool calibrates =
        kf_recipe_calibrates(recipe) != NULL || strcmp(kf_recipe_prefix(recipe), "auto") == 0;
    (void)snprintf(r->name, sizeof r->name, "%s", kf_recipe_name(recipe));
    const int n = snprintf(path, sizeof path, "%s/%s", c->dir, kf_recipe_name(recipe));
    if (n < 0 || (size_t)n >= sizeof path) {
        return set_error(err, KF_RANGE, "the name of recipe '%.40s…' is too long", r->name);
    }
    const quantize_job job = {.source = &c->source,
                              .recipe = recipe,
                              .out = path,
                              .calibration = calibrates ? c->calibration.ids : NULL,
                              .n_calibration = calibrates ? c->calibration.n_ids : 0,
                              .seed = c->options->common.seed,
                              .resume = true,
                              .force = c->options->force};
    kf_status st = quantize_job_run(&result, &job, err);
    if (st == KF_OK) {
        r->quantize_seconds = result.seconds;
        st = measure_checkpoint(r, c, path, err);
    }
    c->n_rows += st == KF_OK;
    return st;
}

/* ---- the table ---- */

/* The directory for checkpoints: the user's, or a temporary one. */
static kf_status make_directory(cli_comparison *c, kf_error *err)
{
    if (c->options->dir != NULL) {
        if (strlen(c->options->dir) >= sizeof c->dir) {
            return set_error(err, KF_RANGE, "the name of directory '%.40s…' is too long",
                             c->options->dir);
        }
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
    kf_status st = KF_OK;
    if (c->options->calib != NULL) {
        st = document_tokenize(&c->text, c->options->text, c->source.tokenizer, err);
        return st == KF_OK
                   ? document_tokenize(&c->calibration, c->options->calib, c->source.tokenizer, err)
                   : st;
    }
    st = document_read(&c->text, c->options->text, err);
    if (st != KF_OK) {
        return st;
    }
    size_t half = c->text.n_text / 2;
    while (half < c->text.n_text && c->text.text[half] != '\n') {
        half++;
    }
    st = encode_text(&c->calibration.ids, &c->calibration.n_ids, c->source.tokenizer, c->text.text,
                     half, 0, err);
    return st == KF_OK
               ? document_encode(&c->text, c->source.tokenizer, half, c->text.n_text - half, err)
               : st;
}

static kf_status finish_row(const cli_comparison *c, kf_status st)
{
    if (st == KF_OK) {
        const compare_row *r = &c->rows[c->n_rows - 1];
        if (c->options->common.json) {
            compare_print_row_json(r);
        } else {
            compare_print_row(r);
        }
    }
    return st;
}

/* Opens one recipe with the changes that --set makes. */
static kf_status open_recipe(cli_comparison *c, const char *name, kf_error *err)
{
    if (c->n_recipes + 1 == ROWS_MAX) { /* one row is the source's */
        return set_error(err, KF_RANGE, "more than %d recipes", ROWS_MAX - 1);
    }
    return quantize_job_recipe(&c->recipes[c->n_recipes++], name, &c->options->set, err);
}

static kf_status open_known_recipes(cli_comparison *c, kf_error *err)
{
    const char *name = NULL;
    const char *description = NULL;
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && kf_recipe_at(i, &name, &description); i++) {
        st = open_recipe(c, name, err);
    }
    return st;
}

/* All of them before any work: a misspelled name is told at once. */
static kf_status open_recipes(cli_comparison *c, kf_error *err)
{
    kf_status st = KF_OK;
    char *rest = NULL;
    if (c->options->recipes == NULL) {
        return open_known_recipes(c, err);
    }
    char *list = strdup(c->options->recipes);
    if (list == NULL) {
        return set_error(err, KF_NOMEM, "names of recipes");
    }
    for (char *name = strtok_r(list, ",", &rest); st == KF_OK && name != NULL;
         name = strtok_r(NULL, ",", &rest)) {
        st = open_recipe(c, name, err);
    }
    free(list);
    return st == KF_OK && c->n_recipes == 0
               ? set_error(err, KF_INVALID, "--recipes '%s' names none", c->options->recipes)
               : st;
}

static kf_status compare(cli_comparison *c, kf_error *err)
{
    kf_model_info info;
    kf_status st = open_recipes(c, err);
    if (st == KF_OK) {
        st = subject_open(&c->source, c->options->common.positional[0], &c->options->common,
                          SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    }
    if (st == KF_OK) {
        kf_model_get_info(c->source.model, &info);
        quantize_job_warn(&c->source, &c->options->set);
        st = info.is_kerf ? set_error(err, KF_UNSUPPORTED,
                                      "'%s' is a Kerf checkpoint already; compare the original",
                                      c->options->common.positional[0])
                          : read_texts(c, err);
    }
    if (st == KF_OK) {
        st = make_directory(c, err);
    }
    if (st != KF_OK) {
        return st;
    }
    if (!c->options->common.json) {
        compare_print_heading(c->options->common.positional[0], info.source, c->options->text,
                              c->options->calib);
    }
    st = finish_row(c, measure_source(c, err));
    for (size_t i = 0; st == KF_OK && i < c->n_recipes && output_flush(); i++) {
        st = finish_row(c, measure_recipe(c, c->recipes[i], err));
    }
    if (st == KF_OK && !c->options->common.json) {
        compare_print_answers(c->rows, c->n_rows, c->options->prompt);
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
        kf_recipe_free(c->recipes[i]);
    }
    for (size_t i = 0; i < c->n_references; i++) {
        free(c->references[i].start);
        (void)unlink(c->references[i].path);
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
                               .kv = KF_KV_AUTO,
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
    /* The source, which is the reference, keeps float activations. */
    if (subject_check_activations(options.activations, &err) != KF_OK ||
        compare(c, &err) != KF_OK) {
        exit_code = fail_status(&err);
    }
    comparison_close(c);
    return exit_code;
}

static const cli_option options_table[] = {
    {"recipes", 'r', OPTION_TEXT, "A,B,…", "recipes to compare (default: all that come with Kerf)",
     offsetof(compare_options, recipes), 0, 0},
    {"text", 0, OPTION_TEXT, "FILE", "text to measure on", offsetof(compare_options, text), 0, 0},
    {"calib", 0, OPTION_TEXT, "FILE", "text to calibrate on (default: the first half of --text)",
     offsetof(compare_options, calib), 0, 0},
    OPTION_WINDOW(compare_options),
    OPTION_WINDOWS(compare_options),
    {"set", 's', OPTION_LIST, "KEY=VALUE", "change a knob in every recipe; may be repeated",
     offsetof(compare_options, set), 0, 0},
    OPTION_ACTIVATIONS(compare_options),
    OPTION_KV(compare_options),
    {"force", 0, OPTION_FLAG, NULL, "quantize anew what DIR holds already",
     offsetof(compare_options, force), 0, 0},
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
        "that it wrote. A checkpoint that stores an exact prefix has it in front of every window: perplexities of different starts are not comparable. "
        "How much more it is in percent, KL and top-1 compare with the source started the same way. Without --calib the first half of the text "
        "calibrates and the second is measured. Checkpoints kept with --dir are taken up again by a later comparison "
        "by the same recipe, text and seed.",
    .examples =
        "  kerf compare $(kerf pull) --text manual.txt --windows 4 --set calib.samples=4\n"
        "  kerf compare model.gguf --recipes rtn-w4,gptq-w4 --text test.txt --calib train.txt --json\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
