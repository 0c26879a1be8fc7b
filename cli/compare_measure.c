/* compare_measure.c - measuring the rows of kerf compare.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare.h"
#include "generate.h"
#include "layers.h"
#include "quantize_job.h"
#include "report_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kerf/machine.h"
#include "kerf/version.h"

static void put(json_t *row, const char *name, json_t *value)
{
    (void)json_object_set_new(row, name, value);
}

static void put_number(json_t *row, const char *name, double value)
{
    put(row, name, json_number(value));
}

/* ---- keys ---- */

/* Whether what it does depends on the calibration text. */
static bool calibrates(const kf_recipe *recipe)
{
    return kf_recipe_calibrates(recipe) != NULL || strcmp(kf_recipe_prefix(recipe), "auto") == 0;
}

/* Everything that a row's figures depend on; recipe NULL: the source's. A seed that changes nothing
 * is 0. */
static json_t *make_key(const cli_comparison *c, size_t i_text, const kf_recipe *recipe,
                        uint64_t seed, kf_error *err)
{
    const compare_options *o = c->options;
    char hash[KF_HASH_BYTES] = "float";
    if (recipe != NULL) {
        const char *resolved = kf_recipe_json(recipe);
        if (kf_hash_bytes(hash, resolved, strlen(resolved), err) != KF_OK) {
            return NULL;
        }
    }
    json_t *key =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:s, s:s, s:I}", "kerf",
                  kf_version(), "sources", kf_source_hash(), "model", c->source_hash, "recipe",
                  hash, "seed", (json_int_t)(recipe != NULL ? seed : 0), "calibration",
                  recipe != NULL && calibrates(recipe) ? c->calibration_hash : "none", "text",
                  c->texts[i_text].hash, "window", (json_int_t)o->window, "windows",
                  (json_int_t)o->windows, "activations", recipe != NULL ? o->activations : "float",
                  "kv", recipe != NULL ? kf_kv_name(o->kv) : "f32", "kv_exact",
                  (json_int_t)(recipe != NULL ? o->kv_exact : 0));
    if (key == NULL) {
        (void)set_error(err, KF_NOMEM, "a row's key");
    }
    return key;
}

/* ---- what a row tells ---- */

static json_t *new_row(const char *recipe, const char *text)
{
    json_t *row = json_object();
    const char *name = strrchr(text, '/');
    put(row, "recipe", json_text(recipe));
    put(row, "text", json_text(name != NULL ? name + 1 : text));
    return row;
}

static void describe(json_t *row, const cli_subject *subject)
{
    kf_model_info info;
    kf_model_get_info(subject->model, &info);
    put(row, "source", json_text(info.source));
    put(row, "activations", json_text(info.activations));
    put(row, "bytes", json_integer((json_int_t)info.bytes));
    put_number(row, "bits_per_weight", info.bits_per_weight);
    put_number(row, "bits_per_weight_linear", info.bits_per_weight_linear);
    put(row, "start",
        json_string(info.n_prefix == 0   ? "none"
                    : info.n_prefix == 1 ? "start token"
                                         : "text"));
}

static void put_result(json_t *row, const kf_eval_result *r)
{
    put(row, "tokens", json_integer((json_int_t)r->tokens));
    put(row, "windows", json_integer((json_int_t)r->windows));
    put_number(row, "perplexity", r->perplexity);
    put_number(row, "perplexity_se", r->perplexity_se);
    put_number(row, "reference_perplexity", r->reference_perplexity);
    put_number(row, "loss_difference", r->loss_difference);
    put_number(row, "loss_difference_se", r->loss_difference_se);
    put_number(row, "kl_mean", r->kl_mean);
    put_number(row, "kl_99", r->kl_99);
    put_number(row, "top1", r->top1);
    put(row, "kv", json_string(kf_kv_name(r->kv)));
    put_number(row, "eval_seconds", r->seconds);
    put(row, "peak_rss_bytes", json_integer((json_int_t)kf_memory_peak()));
}

/* The block that a tensor "model.layers.N.…" belongs to; SIZE_MAX for others. */
static size_t block_of(const char *tensor)
{
    static const char prefix[] = "model.layers.";
    char *end = NULL;
    if (strncmp(tensor, prefix, sizeof prefix - 1) != 0) {
        return SIZE_MAX;
    }
    const unsigned long i = strtoul(tensor + sizeof prefix - 1, &end, 10);
    return *end == '.' ? (size_t)i : SIZE_MAX;
}

/* The mean of a measured loss over the tensors of a block. */
static double block_mean(const json_t *tensors, size_t i_block, const char *figure)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(tensors); i++) {
        const json_t *tensor = json_array_get(tensors, i);
        if (block_of(row_text(tensor, "tensor")) == i_block) {
            sum += row_number(tensor, figure);
            n++;
        }
    }
    return n > 0 ? sum / (double)n : (double)NAN;
}

/* What rounding did to each block, out of the checkpoint's kerf.json. */
static json_t *read_blocks(const char *checkpoint, size_t n_layers)
{
    char path[PATH_BYTES];
    json_t *blocks = json_array();
    const int n = snprintf(path, sizeof path, "%s/kerf.json", checkpoint);
    json_t *report = n > 0 && (size_t)n < sizeof path ? json_load_file(path, 0, NULL) : NULL;
    const json_t *tensors = json_object_get(report, "tensors");
    for (size_t i = 0; report != NULL && i < n_layers; i++) {
        (void)json_array_append_new(
            blocks, json_pack("{s:o, s:o}", "weight_error",
                              json_number(block_mean(tensors, i, "weight_error")), "output_error",
                              json_number(block_mean(tensors, i, "output_error"))));
    }
    json_decref(report);
    return blocks;
}

/* ---- what the model writes ---- */

/* Lets the model write behind the prompt, greedily, and measures how fast. */
static kf_status write_answer(json_t *row, const cli_comparison *c, const cli_subject *subject,
                              kf_kv kv, kf_error *err)
{
    cli_generator g = {0};
    cli_answer a = {0};
    uint32_t *ids = NULL;
    size_t n = 0;
    const text_list no_stops = {.n = 0};
    kf_session_options session = KF_SESSION_OPTIONS_INIT;
    kf_sampler_options sampler = KF_SAMPLER_OPTIONS_INIT;
    kf_model_info info;
    if (c->options->tokens == 0) {
        return KF_OK;
    }
    kf_status st = encode_text(&ids, &n, subject->tokenizer, c->options->prompt,
                               strlen(c->options->prompt), KF_ENCODE_ADD_BOS, err);
    kf_model_get_info(subject->model, &info);
    session.context = n + info.n_prefix + (size_t)c->options->tokens + 1;
    session.kv = kv;
    session.kv_exact = (size_t)c->options->kv_exact;
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
        put_number(row, "tokens_per_second",
                   a.seconds > 0 ? (double)a.n_tokens / a.seconds : (double)NAN);
        put(row, "answer", json_text(g.text));
    }
    generator_close(&g);
    free(ids);
    return st;
}

/* ---- references ---- */

static void set_windows(kf_eval_options *eval, const cli_comparison *c)
{
    eval->callbacks = c->source.callbacks;
    eval->window = (size_t)c->options->window;
    eval->windows = (size_t)c->options->windows;
}

/* Measures the source behind these tokens and keeps its hidden states. */
static kf_status measure_reference(kf_eval_result *result, cli_comparison *c, size_t i_text,
                                   const uint32_t *start, size_t n, kf_error *err)
{
    const cli_document *text = &c->texts[i_text].document;
    kf_eval_options eval = KF_EVAL_OPTIONS_INIT;
    if (c->n_references == REFERENCES_MOST) {
        return set_error(err, KF_RANGE, "more than %d starts of texts", REFERENCES_MOST);
    }
    compare_reference *reference = &c->references[c->n_references];
    reference->i_text = i_text;
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
    return kf_eval(result, c->source.model, text->ids, text->n_ids, &eval, err);
}

/* The reference of a row that starts with these tokens; measured where no row before did. */
static kf_status find_reference(const char **path, cli_comparison *c, size_t i_text,
                                const uint32_t *start, size_t n, kf_error *err)
{
    kf_eval_result unused;
    for (size_t i = 0; i < c->n_references; i++) {
        const compare_reference *r = &c->references[i];
        if (r->i_text == i_text && r->n == n &&
            (n == 0 || memcmp(r->start, start, n * sizeof *start) == 0)) {
            *path = r->path;
            return KF_OK;
        }
    }
    if (c->n_references < REFERENCES_MOST) {
        *path = c->references[c->n_references].path;
    }
    return measure_reference(&unused, c, i_text, start, n, err);
}

void compare_forget_references(cli_comparison *c)
{
    for (size_t i = 0; i < c->n_references; i++) {
        free(c->references[i].start);
        (void)unlink(c->references[i].path);
    }
    c->n_references = 0;
}

/* ---- the source ---- */

static kf_status measure_source(json_t *row, cli_comparison *c, size_t i_text, kf_error *err)
{
    kf_eval_result result;
    describe(row, &c->source);
    kf_status st = measure_reference(&result, c, i_text, NULL, 0, err);
    if (st == KF_OK) {
        put_result(row, &result);
        st = i_text == 0 ? write_answer(row, c, &c->source, KF_KV_F32, err) : KF_OK;
    }
    return st;
}

kf_status compare_source(cli_comparison *c, kf_error *err)
{
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && i < c->n_texts; i++) {
        json_t *key = make_key(c, i, NULL, 0, err);
        if (key == NULL) {
            return err->code;
        }
        if (compare_rows_take(&c->rows, key, "float") != NULL) {
            json_decref(key);
            continue;
        }
        json_t *row = new_row("float", c->texts[i].path);
        put(row, "key", key);
        st = measure_source(row, c, i, err);
        if (st != KF_OK) {
            json_decref(row);
            return st;
        }
        st = compare_rows_add(&c->rows, row, err);
    }
    return st;
}

/* ---- a recipe ---- */

/* One recipe with one seed. */
typedef struct compare_run {
    const kf_recipe *recipe;
    const char *name;
    uint64_t seed;
    char path[PATH_BYTES]; /* of the checkpoint */
    json_t *keys[TEXTS_MOST];
    kf_quantize_result quantized;
    cli_subject subject;
} compare_run;

/* A directory called as the row is. */
static kf_status name_checkpoint(compare_run *run, const cli_comparison *c, kf_error *err)
{
    const char *name = run->name;
    const size_t n_dir = strlen(c->dir) + 1;
    const int n = c->options->seeds > 1 && kf_recipe_draws(run->recipe)
                      ? snprintf(run->path, sizeof run->path, "%s/%s@%llu", c->dir, name,
                                 (unsigned long long)run->seed)
                      : snprintf(run->path, sizeof run->path, "%s/%s", c->dir, name);
    for (size_t i = n_dir; i < sizeof run->path && run->path[i] != '\0'; i++) {
        run->path[i] = run->path[i] == '/' ? '_' : run->path[i]; /* of a setting */
    }
    return n > 0 && (size_t)n < sizeof run->path
               ? KF_OK
               : set_error(err, KF_RANGE, "the name of recipe '%.40s…' is too long", name);
}

/* Quantizes, or takes what an earlier comparison left in the directory. */
static kf_status make_checkpoint(compare_run *run, const cli_comparison *c, kf_error *err)
{
    const bool needs_text = calibrates(run->recipe);
    const quantize_job job = {.source = &c->source,
                              .recipe = run->recipe,
                              .out = run->path,
                              .calibration = needs_text ? c->calibration.ids : NULL,
                              .n_calibration = needs_text ? c->calibration.n_ids : 0,
                              .seed = run->seed,
                              .resume = true,
                              .force = c->options->force};
    kf_status st = quantize_job_run(&run->quantized, &job, err);
    run->subject.pool = c->source.pool;
    run->subject.activations = c->options->activations;
    if (st == KF_OK) {
        st = subject_open(&run->subject, run->path, &c->options->common,
                          SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    }
    return st;
}

/* Time and memory of one that was made here, whole. */
static void put_quantized(json_t *row, const compare_run *run)
{
    kf_model_info info;
    kf_model_get_info(run->subject.model, &info);
    const bool whole = run->quantized.n_layers_resumed == 0;
    put_number(row, "quantize_seconds", whole ? run->quantized.seconds : (double)NAN);
    put_number(row, "memory_bytes", whole ? (double)run->quantized.memory_bytes : (double)NAN);
    put(row, "blocks", read_blocks(run->path, info.n_layers));
}

static kf_status measure_text(json_t *row, cli_comparison *c, const compare_run *run, size_t i_text,
                              kf_error *err)
{
    const cli_document *text = &c->texts[i_text].document;
    kf_eval_options eval = KF_EVAL_OPTIONS_INIT;
    kf_eval_result result;
    kf_model_info info;
    json_t *layers = NULL;
    kf_model_get_info(run->subject.model, &info);
    kf_status st = find_reference(&eval.reference_file, c, i_text,
                                  kf_model_prefix(run->subject.model), info.n_prefix, err);
    if (st != KF_OK) {
        return st;
    }
    set_windows(&eval, c);
    eval.reference = c->source.model;
    eval.kv = c->options->kv;
    eval.kv_exact = (size_t)c->options->kv_exact;
    st = kf_eval(&result, run->subject.model, text->ids, text->n_ids, &eval, err);
    if (st == KF_OK) {
        put_result(row, &result);
    }
    if (st == KF_OK && c->options->layers > 0) {
        eval.reference_file = NULL;
        st = layers_measure(&layers, run->subject.model, text->ids, text->n_ids, &eval,
                            (size_t)c->options->layers, err);
        put(row, "layers", layers);
    }
    return st;
}

static kf_status measure_recipe(json_t *row, cli_comparison *c, const compare_run *run,
                                size_t i_text, kf_error *err)
{
    put(row, "seed",
        kf_recipe_draws(run->recipe) ? json_integer((json_int_t)run->seed) : json_null());
    put(row, "key", json_incref(run->keys[i_text]));
    describe(row, &run->subject);
    put_quantized(row, run);
    const kf_status st = measure_text(row, c, run, i_text, err);
    return st == KF_OK && i_text == 0 ? write_answer(row, c, &run->subject, c->options->kv, err)
                                      : st;
}

static kf_status show_text_row(cli_comparison *c, compare_run *run, size_t i_text, kf_error *err)
{
    if (compare_rows_take(&c->rows, run->keys[i_text], run->name) != NULL) {
        return KF_OK;
    }
    if (run->subject.model == NULL) {
        const kf_status st = make_checkpoint(run, c, err);
        if (st != KF_OK) {
            return st;
        }
    }
    json_t *row = new_row(run->name, c->texts[i_text].path);
    const kf_status st = measure_recipe(row, c, run, i_text, err);
    if (st != KF_OK) {
        json_decref(row);
        return st;
    }
    return compare_rows_add(&c->rows, row, err);
}

kf_status compare_recipe(cli_comparison *c, size_t i_variant, uint64_t seed, kf_error *err)
{
    const compare_variant *variant = &c->variants[i_variant];
    compare_run run = {.recipe = variant->recipe, .name = variant->name, .seed = seed};
    kf_status st = name_checkpoint(&run, c, err);
    for (size_t i = 0; st == KF_OK && i < c->n_texts; i++) {
        run.keys[i] = make_key(c, i, run.recipe, seed, err);
        st = run.keys[i] != NULL ? show_text_row(c, &run, i, err) : err->code;
    }
    for (size_t i = 0; i < c->n_texts; i++) {
        json_decref(run.keys[i]);
    }
    subject_close(&run.subject);
    if (c->own_dir) {
        compare_remove_directory(run.path); /* of many recipes, the disk need hold one */
    }
    return st;
}
