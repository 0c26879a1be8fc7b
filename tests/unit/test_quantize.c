/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "fixtures.h"
#include "quantize_fixture.h"

/* Layers as they are reported. */
typedef struct reports {
    size_t n, n_better, n_measured, n_exact, n_kept;
} reports;

static void count_report(void *ctx, const kf_layer_report *report)
{
    reports *r = ctx;
    r->n++;
    r->n_exact += report->exact;
    r->n_kept += strcmp(report->method, "keep") == 0;
    if (!isnan(report->nearest_error)) {
        r->n_measured++;
        r->n_better += report->output_error < report->nearest_error;
    }
}

static void gptq_beats_rounding_to_the_nearest_in_almost_every_layer(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w3", 2);
    reports r = {0};
    f->options.layer = count_report;
    f->options.ctx = &r;
    quantize_fixture_set(f, "prefix=none");
    quantize_fixture_run(f, "out", NULL);
    assert_true(r.n_measured == 14 && r.n_better == 14);
    quantize_fixture_free(f);
}

static void quantizing_twice_gives_the_same_bytes(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("qwen2", "gptq-w4", 1);
    quantize_fixture_run(f, "first", NULL);
    quantize_fixture_run(f, "second", NULL);
    assert_same_directories(quantize_fixture_path(f, "first"), quantize_fixture_path(f, "second"));
    quantize_fixture_free(f);
}

static void threads_change_no_byte(void **state)
{
    (void)state;
    static const char *const recipes[] = {"gptq-w4", "rtn-w2", "qera-gptq-w3-r32", "loftq-nf4-r32"};
    for (size_t i = 0; i < 4; i++) {
        quantize_fixture *one = quantize_fixture_new("llama", recipes[i], 1);
        quantize_fixture *two = quantize_fixture_new("llama", recipes[i], 2);
        quantize_fixture_run(one, "out", NULL);
        quantize_fixture_run(two, "out", NULL);
        assert_same_directories(quantize_fixture_path(one, "out"),
                                quantize_fixture_path(two, "out"));
        quantize_fixture_free(one);
        quantize_fixture_free(two);
    }
}

/* Repaired layers as they are reported. */
typedef struct repairs {
    size_t n, n_better;
    double bits; /* of all of them, times weights */
    double weights;
} repairs;

static void count_repair(void *ctx, const kf_layer_report *report)
{
    repairs *r = ctx;
    const double weights = (double)report->rows * (double)report->cols;
    if (strstr(report->tensor, "_proj") == NULL) {
        assert_null(report->repair);
        return;
    }
    assert_string_equal(report->repair, "qera-exact");
    assert_int_equal(report->rank, 8);
    r->n++;
    r->n_better += report->output_error < report->unrepaired_error;
    r->bits += report->bits_per_weight * weights;
    r->weights += weights;
}

static void a_repair_lowers_every_layers_error_and_counts_in_its_bits(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "qera-mxint3-r32", 2);
    repairs r = {0};
    kf_quantize_result result;
    f->options.layer = count_repair;
    f->options.ctx = &r;
    quantize_fixture_set(f, "qera-exact.rank=8");
    quantize_fixture_run(f, "out", &result);
    assert_true(r.n == 14 && r.n_better == 14);
    assert_true(fabs(r.bits / r.weights - result.bits_per_weight_linear) < 1e-9);

    kf_error err = {0};
    kfi_buf config;
    kfi_buf_init(&config, NULL, 1u << 20);
    CHECK_OK(kfi_file_read(&config, quantize_fixture_path(f, "out/config.json"), &err), &err);
    assert_non_null(strstr(config.data, "\"format_version\": 2"));
    kfi_buf_deinit(&config);
    quantize_fixture_free(f);
}

static void a_repair_of_embedding_or_head_is_refused(void **state)
{
    (void)state;
    static const char recipe[] =
        "{\"tensors\": {\"*\": {\"methods\": [\"rtn\", \"lorc\"]}}, \"prefix\": \"none\"}";
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    const char *path = quantize_fixture_path(f, "own.json");
    CHECK_OK(kfi_file_write(path, recipe, sizeof recipe - 1, &err), &err);
    kf_recipe_free(f->recipe);
    CHECK_OK(kf_recipe_open(&f->recipe, path, NULL, &err), &err);
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "lorc"));
    quantize_fixture_free(f);
}

static void rank_and_width_of_the_factors_take_bits(void **state)
{
    (void)state;
    static const char *const ranks[] = {"qera-exact.rank=1", "qera-exact.rank=40"};
    static const char *const factors[] = {"qera-exact.factors=int4", "qera-exact.factors=int8"};
    double bits[4];
    for (size_t i = 0; i < 4; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "qera-mxint3-r32", 1);
        kf_quantize_result result;
        quantize_fixture_set(f, ranks[i / 2]);
        quantize_fixture_set(f, factors[i % 2]);
        quantize_fixture_run(f, "out", &result);
        bits[i] = result.bits_per_weight_linear;
        quantize_fixture_free(f);
    }
    assert_true(bits[0] < bits[1] && bits[2] < bits[3]);
    assert_true(bits[0] < bits[2] && bits[1] < bits[3]);
}

static void a_spilled_stream_changes_no_byte(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    quantize_fixture_run(f, "memory", NULL);
    f->options.spill = f->directory;
    quantize_fixture_run(f, "spilled", NULL);
    assert_same_directories(quantize_fixture_path(f, "memory"),
                            quantize_fixture_path(f, "spilled"));
    kf_error err = {0};
    f->options.spill = quantize_fixture_path(f, "no/such/directory");
    assert_int_equal(quantize_fixture_try(f, "third", NULL, &err), KF_IO);
    quantize_fixture_free(f);
}

static void seed_and_recipe_change_the_bytes(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_file_map a;
    kfi_file_map b;
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w2", 1);
    quantize_fixture_set(f, "prefix=none");
    quantize_fixture_run(f, "a", NULL);
    f->options.seed = 8;
    quantize_fixture_run(f, "b", NULL);
    CHECK_OK(
        kfi_file_map_open(&a, quantize_fixture_path(f, "a/model-00001-of-00003.safetensors"), &err),
        &err);
    CHECK_OK(
        kfi_file_map_open(&b, quantize_fixture_path(f, "b/model-00001-of-00003.safetensors"), &err),
        &err);
    assert_true(a.size != b.size || memcmp(a.data, b.data, a.size) != 0);
    kfi_file_map_close(&a);
    kfi_file_map_close(&b);
    quantize_fixture_free(f);
}

static void kept_tensors_stay_as_they_are(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("qwen2", "rtn-w4", 1);
    reports r = {0};
    f->options.layer = count_report;
    f->options.ctx = &r;
    quantize_fixture_set(f, "tensors.blk.1.*=keep");
    quantize_fixture_set(f, "embedding=keep");
    quantize_fixture_run(f, "out", NULL);
    assert_int_equal(r.n_kept, 8);
    assert_int_equal(r.n_exact, 0); /* kept is not: on the grid already */
    kf_model *made = NULL;
    CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "out"), NULL, &err), &err);
    static const char *const names[] = {"model.layers.1.mlp.up_proj.weight",
                                        "model.embed_tokens.weight"};
    for (size_t i = 0; i < 2; i++) {
        const tiny_tensor *tensor = tiny_model_find(f->tiny, names[i]);
        float *rows = calloc(tensor->rows * tensor->cols, sizeof *rows);
        CHECK_OK(kfi_model_read_rows(made, names[i], 0, tensor->rows, rows, &err), &err);
        assert_memory_equal(rows, tensor->data, tensor->rows * tensor->cols * sizeof *rows);
        free(rows);
    }
    kf_model_close(made);
    quantize_fixture_free(f);
}

static void a_stored_prefix_is_used(void **state)
{
    (void)state;
    kf_error err = {0};
    static const char *const prefixes[] = {"prefix=start", "prefix=Be kind."};
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
        kf_quantize_result result;
        kf_model *made = NULL;
        quantize_fixture_set(f, prefixes[i]);
        quantize_fixture_set(f, "gptq.prefix_in_gram=true");
        quantize_fixture_run(f, "out", &result);
        assert_string_equal(result.prefix, i == 0 ? "start" : "text");
        CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "out"), NULL, &err), &err);
        kf_model_info info;
        kf_model_get_info(made, &info);
        assert_int_equal(info.n_prefix, i == 0 ? 1 : FIXTURE_PREFIX);
        assert_memory_equal(kf_model_prefix(made), f->prefix, info.n_prefix * sizeof(uint32_t));
        kf_model_close(made);
        quantize_fixture_free(f);
    }
}

/* A recipe without statistics may name windows longer than that. */
static void the_trial_of_the_prefix_stays_within_the_context(void **state)
{
    (void)state;
    static const char *const lengths[] = {"calib.length=255", "calib.length=300"};
    kf_quantize_result results[2];
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
        assert_int_equal(f->tiny->config.context, 256);
        quantize_fixture_set(f, "prefix=auto");
        quantize_fixture_set(f, lengths[i]);
        quantize_fixture_run(f, "out", &results[i]);
        quantize_fixture_free(f);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_true(results[0].prefix_loss[i] > 0.0);
        assert_true(results[0].prefix_loss[i] == results[1].prefix_loss[i]); /* the same windows */
    }
}

static void every_knob_of_gptq_is_heard(void **state)
{
    (void)state;
    static const char *const knobs[] = {
        "gptq.true_sequential=false",
        "gptq.act_order=false",
        "gptq.first_token_weight=16",
        "gptq.damping=0.2",
        "gptq.fit=minmax",
        "gptq.importance=mean_square",
        "gptq.exponent=4",
        "gptq.prefix_in_gram=false",
    };
    kf_error err = {0};
    for (size_t i = 0; i < sizeof knobs / sizeof knobs[0]; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", "gptq-w3", 1);
        quantize_fixture_set(f, i == 7 ? "prefix=start" : "prefix=none");
        quantize_fixture_run(f, "a", NULL);
        quantize_fixture_set(f, knobs[i]);
        quantize_fixture_run(f, "b", NULL);
        kfi_file_map a;
        kfi_file_map b;
        CHECK_OK(kfi_file_map_open(
                     &a, quantize_fixture_path(f, "a/model-00002-of-00003.safetensors"), &err),
                 &err);
        CHECK_OK(kfi_file_map_open(
                     &b, quantize_fixture_path(f, "b/model-00002-of-00003.safetensors"), &err),
                 &err);
        if (a.size == b.size && memcmp(a.data, b.data, a.size) == 0) {
            fail_msg("%s changes nothing", knobs[i]);
        }
        kfi_file_map_close(&a);
        kfi_file_map_close(&b);
        quantize_fixture_free(f);
    }
}

static void a_dry_run_foretells_the_size_and_writes_nothing(void **state)
{
    (void)state;
    static const char *const recipes[] = {"gptq-w3", "gptq-w3", "qera-gptq-w3-r32",
                                          "loftq-nf4-r32"};
    for (size_t a = 0; a < 4; a++) {
        quantize_fixture *f = quantize_fixture_new(a % 2 == 0 ? "llama" : "qwen2", recipes[a], 1);
        kf_quantize_result plan;
        kf_quantize_result result;
        quantize_fixture_set(f, "prefix=start");
        f->options.dry_run = true;
        quantize_fixture_run(f, "out", &plan);
        assert_false(kfi_file_exists(quantize_fixture_path(f, "out")));
        assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
        f->options.dry_run = false;
        quantize_fixture_run(f, "out", &result);
        assert_int_equal(plan.bytes, result.bytes);
        assert_int_equal(plan.parameters, result.parameters);
        assert_true(fabs(plan.bits_per_weight_linear - result.bits_per_weight_linear) < 1e-12);
        assert_true(plan.memory_bytes >= result.memory_bytes);
        assert_true(plan.seconds > 0.0);
        quantize_fixture_free(f);
    }
}

/* The trial of a start token moves more tokens than a recipe of few windows, or of none. */
static void a_dry_run_foretells_the_memory_of_a_trial(void **state)
{
    (void)state;
    static const char *const recipes[] = {"gptq-w3", "rtn-w4"};
    for (size_t i = 0; i < 2; i++) {
        quantize_fixture *f = quantize_fixture_new("llama", recipes[i], 1);
        kf_quantize_result plan;
        kf_quantize_result without;
        kf_quantize_result result;
        quantize_fixture_set(f, "calib.samples=1");
        quantize_fixture_set(f, "calib.length=250");
        quantize_fixture_set(f, "prefix=auto");
        f->options.dry_run = true;
        quantize_fixture_run(f, "out", &plan);
        quantize_fixture_set(f, "prefix=none");
        quantize_fixture_run(f, "out", &without);
        f->options.dry_run = false;
        quantize_fixture_set(f, "prefix=auto");
        quantize_fixture_run(f, "out", &result);
        assert_true(plan.memory_bytes >= result.memory_bytes);
        assert_true(plan.memory_bytes > without.memory_bytes);
        assert_true(plan.seconds > 0.0);
        quantize_fixture_free(f);
    }
}

/* A sweep more is a product with the Gram matrix more. */
static void a_dry_run_foretells_that_sweeps_take_time(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "quantease-w3", 1);
    kf_quantize_result one;
    kf_quantize_result many;
    f->options.dry_run = true;
    quantize_fixture_set(f, "quantease.sweeps=1");
    quantize_fixture_run(f, "out", &one);
    quantize_fixture_set(f, "quantease.sweeps=1000");
    quantize_fixture_run(f, "out", &many);
    assert_true(many.seconds > 3.0 * one.seconds);
    quantize_fixture_free(f);
}

/* What the source has in memory while layers are reported. */
typedef struct watched {
    fixture_allocator allocator;
    size_t most;
} watched;

static void watch(void *ctx, const kf_layer_report *report)
{
    watched *w = ctx;
    (void)report;
    const size_t now = atomic_load(&w->allocator.n_bytes);
    w->most = now > w->most ? now : w->most;
}

static void one_block_of_the_source_is_in_memory_at_a_time(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"prefix=none", "prefix=auto"};
    for (size_t i = 0; i < 2; i++) {
        kf_error err = {0};
        watched w = {.most = 0};
        kf_quantize_result result;
        kf_model_options options = KF_MODEL_OPTIONS_INIT;
        quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
        quantize_fixture_set(f, prefixes[i]);
        kf_model_close(f->model);
        fixture_allocator_init(&w.allocator, 0);
        options.alloc = &w.allocator.allocator;
        options.pool = f->pool;
        CHECK_OK(kf_model_open(&f->model, f->tiny->path, &options, &err), &err);
        const size_t before = atomic_load(&w.allocator.n_bytes);
        f->options.dry_run = true;
        quantize_fixture_run(f, "out", NULL);
        assert_int_equal(atomic_load(&w.allocator.n_bytes), before);
        f->options.dry_run = false;
        f->options.layer = watch;
        f->options.ctx = &w;
        CHECK_OK(kf_quantize(&result, f->model, quantize_fixture_path(f, "out"), f->recipe,
                             &f->options, &err),
                 &err);
        assert_true(w.most > before);
        assert_true(w.most - before <= kfi_model_block_bytes(f->model));
        assert_int_equal(atomic_load(&w.allocator.n_bytes), before);
        assert_true(result.memory_bytes > kfi_model_block_bytes(f->model));
        quantize_fixture_free(f);
        assert_true(fixture_allocator_is_clean(&w.allocator));
    }
}

static void put(const quantize_fixture *f, const char *name, const char *text)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_write(quantize_fixture_path(f, name), text, strlen(text), &err), &err);
}

static void put_in(const quantize_fixture *f, const char *directory, const char *name,
                   const char *text)
{
    kf_error err = {0};
    char path[256];
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, directory), &err), &err);
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    put(f, path, text);
}

static void refuses_what_cannot_be_done(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    f->options.calibration = NULL;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INVALID);
    assert_non_null(strstr(err.msg, "--calib"));
    f->options.calibration = f->calibration;
    f->options.n_calibration = 1;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_null(strstr(err.msg, "--set")); /* no window is that short */
    f->options.n_calibration = 39;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    f->options.n_calibration = FIXTURE_CALIBRATION;
    f->calibration[17] = TINY_VOCABULARY;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_int_equal(err.offset, 17);
    f->calibration[17] = 0;
    quantize_fixture_set(f, "calib.length=300");
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    quantize_fixture_set(f, "calib.length=40");
    f->options.prefix = NULL;
    quantize_fixture_set(f, "prefix=start");
    for (size_t dry = 0; dry < 2; dry++) {
        f->options.dry_run = dry == 1;
        assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INVALID);
        assert_non_null(strstr(err.msg, "names no start token"));
    }
    f->options.dry_run = false;
    f->options.prefix = f->prefix;
    quantize_fixture_set(f, "tensors.blk.7.*=keep");
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "blk.7.*"));
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
    f->options.size = 3;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INVALID);
    quantize_fixture_free(f);
}

static void refuses_a_kerf_checkpoint_as_its_source(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    quantize_fixture_run(f, "first", NULL);
    kf_model *made = NULL;
    CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "first"), NULL, &err), &err);
    assert_int_equal(
        kf_quantize(NULL, made, quantize_fixture_path(f, "second"), f->recipe, &f->options, &err),
        KF_UNSUPPORTED);
    kf_model_close(made);
    quantize_fixture_free(f);
}

static void refuses_a_source_whose_weights_are_packed(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    tiny_options tiny = tiny_options_of("llama");
    tiny.dtype = KFI_DTYPE_Q4_0;
    tiny_model *source = tiny_model_new(f->directory, &tiny);
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.weights = KF_WEIGHTS_PACKED;
    kf_model *packed = NULL;
    CHECK_OK(kf_model_open(&packed, source->path, &options, &err), &err);
    for (int dry_run = 0; dry_run < 2; dry_run++) {
        f->options.dry_run = dry_run == 1;
        assert_int_equal(kf_quantize(NULL, packed, quantize_fixture_path(f, "out"), f->recipe,
                                     &f->options, &err),
                         KF_INVALID);
        assert_non_null(strstr(err.msg, "packed"));
    }
    kf_model_close(packed);
    tiny_model_free(source);
    quantize_fixture_free(f);
}

static void an_existing_output_is_replaced_only_by_force(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    put(f, "out/mine", "x"); /* beside the files of a checkpoint */
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "--force"));
    assert_true(kfi_file_exists(quantize_fixture_path(f, "out/mine")));
    f->options.force = true;
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out/mine")));
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.replaced")));
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    quantize_fixture_free(f);
}

/* Also a dry run says so, and nothing is touched. */
static void assert_refused(quantize_fixture *f, const char *out, const char *why)
{
    for (size_t dry = 0; dry < 2; dry++) {
        kf_error err = {0};
        f->options.dry_run = dry == 1;
        assert_int_equal(kf_quantize(NULL, f->model, out, f->recipe, &f->options, &err), KF_RANGE);
        if (strstr(err.msg, why) == NULL) {
            fail_msg("'%s': found \"%s\", expected \"%s\"", out, err.msg, why);
        }
    }
    f->options.dry_run = false;
}

static void force_replaces_nothing_that_kerf_did_not_make(void **state)
{
    (void)state;
    static const char *const names[] = {"mine", "other", "third"};
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    f->options.force = true;
    put(f, "mine", "a file");
    put_in(f, "other", "notes", "of mine");
    assert_int_equal(symlink("other", quantize_fixture_path(f, "third")), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_refused(f, quantize_fixture_path(f, names[i]), "not replaced");
    }
    assert_refused(f, f->tiny->path, "not replaced");
    assert_true(kfi_file_exists(f->tiny->path));
    assert_true(kfi_file_exists(quantize_fixture_path(f, "other/notes")));

    put_in(f, "out.partial", "notes", "of mine");
    assert_refused(f, quantize_fixture_path(f, "out"), "not an interrupted run");
    CHECK_OK(kfi_file_remove_tree(quantize_fixture_path(f, "out.partial"), &err), &err);

    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    put_in(f, "out.replaced", "notes", "of mine");
    assert_refused(f, quantize_fixture_path(f, "out"), "out.replaced");
    assert_true(kfi_file_exists(quantize_fixture_path(f, "out.replaced/notes")));
    quantize_fixture_free(f);
}

/* Its name cannot be given to a directory, which would be found out after all the work. */
static void a_link_that_leads_nowhere_is_no_output(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    assert_int_equal(symlink("nowhere", quantize_fixture_path(f, "out")), 0);
    for (size_t i = 0; i < 2; i++) {
        f->options.force = i == 1;
        assert_refused(f, quantize_fixture_path(f, "out"), i == 1 ? "a symbolic link" : "exists");
    }
    f->options.force = false;
    f->options.resume = true;
    assert_refused(f, quantize_fixture_path(f, "out"), "exists");
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
    quantize_fixture_free(f);
}

static void force_replaces_an_empty_directory(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    f->options.force = true;
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, "out"), &err), &err);
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    quantize_fixture_free(f);
}

static void the_source_is_not_replaced_by_its_copy(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    kf_model *source = f->model;
    char inside[4096];
    (void)snprintf(inside, sizeof inside, "%s", quantize_fixture_path(f, "out/source"));
    CHECK_OK(kfi_file_rename(f->tiny->path, inside, &err), &err);
    CHECK_OK(kf_model_open(&f->model, inside, NULL, &err), &err);
    f->options.force = true;
    assert_refused(f, quantize_fixture_path(f, "out"), "holds the model that is read");
    assert_true(kfi_file_exists(inside));
    kf_model_close(source);
    quantize_fixture_free(f);
}

static void an_output_needs_a_name(void **state)
{
    (void)state;
    static const char *const names[] = {".", "..", "/", "", "./", "a/.", "a/../..//"};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    f->options.force = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_refused(f, names[i], "expected the name");
    }
    quantize_fixture_free(f);
}

static void an_empty_partial_output_is_taken_over_by_resume(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, "out.partial"), &err), &err);
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "--resume"));
    f->options.resume = true;
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    quantize_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_beats_rounding_to_the_nearest_in_almost_every_layer),
        cmocka_unit_test(quantizing_twice_gives_the_same_bytes),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(a_repair_lowers_every_layers_error_and_counts_in_its_bits),
        cmocka_unit_test(a_repair_of_embedding_or_head_is_refused),
        cmocka_unit_test(rank_and_width_of_the_factors_take_bits),
        cmocka_unit_test(a_spilled_stream_changes_no_byte),
        cmocka_unit_test(seed_and_recipe_change_the_bytes),
        cmocka_unit_test(kept_tensors_stay_as_they_are),
        cmocka_unit_test(a_stored_prefix_is_used),
        cmocka_unit_test(the_trial_of_the_prefix_stays_within_the_context),
        cmocka_unit_test(every_knob_of_gptq_is_heard),
        cmocka_unit_test(a_dry_run_foretells_the_size_and_writes_nothing),
        cmocka_unit_test(a_dry_run_foretells_the_memory_of_a_trial),
        cmocka_unit_test(a_dry_run_foretells_that_sweeps_take_time),
        cmocka_unit_test(one_block_of_the_source_is_in_memory_at_a_time),
        cmocka_unit_test(refuses_what_cannot_be_done),
        cmocka_unit_test(refuses_a_kerf_checkpoint_as_its_source),
        cmocka_unit_test(refuses_a_source_whose_weights_are_packed),
        cmocka_unit_test(an_existing_output_is_replaced_only_by_force),
        cmocka_unit_test(force_replaces_nothing_that_kerf_did_not_make),
        cmocka_unit_test(a_link_that_leads_nowhere_is_no_output),
        cmocka_unit_test(force_replaces_an_empty_directory),
        cmocka_unit_test(the_source_is_not_replaced_by_its_copy),
        cmocka_unit_test(an_output_needs_a_name),
        cmocka_unit_test(an_empty_partial_output_is_taken_over_by_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
