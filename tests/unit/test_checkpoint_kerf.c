/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "kerf/quantize.h"
#include "model/checkpoint_names.h"
#include "model/forward.h"
#include "oracle_forward.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

#define N_IDS 60u

/* A Kerf checkpoint of a tiny model: the model holds what it stores. */
typedef struct packed_model {
    tiny_model *tiny;
    char path[600];
    uint32_t ids[N_IDS];
} packed_model;

static packed_model write_model(const char *directory, const char *architecture,
                                const tiny_kerf_options *options)
{
    const tiny_options o = tiny_options_of(architecture);
    packed_model p = {.tiny = tiny_model_new(directory, &o)};
    (void)snprintf(p.path, sizeof p.path, "%s/packed", directory);
    tiny_kerf_write(p.path, p.tiny, options);
    tiny_ids(p.ids, N_IDS, 4);
    return p;
}

static kf_session *new_session(kf_model *model, size_t batch)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.batch = batch;
    CHECK_OK(kf_session_new(&session, model, &options, &err), &err);
    return session;
}

static float *new_logits(void)
{
    float *logits = kfi_alloc(NULL, N_IDS * TINY_VOCABULARY * sizeof(float));
    assert_non_null(logits);
    return logits;
}

#define LOGITS_BYTES (N_IDS * TINY_VOCABULARY * sizeof(float))

/* ---- packed weights ---- */

/* Root of the mean square of logits minus the oracle's, over that of the oracle's. */
static double relative_error(const float *logits, const tiny_model *tiny, const uint32_t *ids)
{
    double *expected = kfi_alloc(NULL, N_IDS * TINY_VOCABULARY * sizeof(double));
    assert_non_null(expected);
    oracle_logits(expected, tiny, ids, N_IDS);
    double error = 0;
    double size = 0;
    for (size_t i = 0; i < N_IDS * TINY_VOCABULARY; i++) {
        error += ((double)logits[i] - expected[i]) * ((double)logits[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    kfi_free(NULL, expected, 0);
    return sqrt(error / size);
}

/* Against the oracle, which knows what the packed weights decode to. */
static void check_model(const char *directory, const char *architecture,
                        const tiny_kerf_options *options)
{
    const char *activations = options->activations;
    packed_model p = write_model(directory, architecture, options);
    float *logits = new_logits();
    for (int float_activations = 0; float_activations < 2; float_activations++) {
        kf_model *model = model_open_with(p.path, NULL, float_activations != 0 ? "float" : NULL);
        kf_model_info info;
        kf_model_get_info(model, &info);
        if (options->kept == NULL) {
            assert_string_equal(info.activations, float_activations != 0 ? "float" : activations);
        }
        kf_session *session = new_session(model, 0);
        session_logits(logits, session, p.ids, N_IDS);
        const double error = relative_error(logits, p.tiny, p.ids);
        const bool is_float = float_activations != 0 || strcmp(activations, "float") == 0;
        /* Rounding of x to 1/127, or 1/63 of its largest. */
        const double bound = is_float ? 1e-6 : activations[3] == '7' ? 0.06 : 0.03;
        if (!(error < bound) || (!is_float && error < 1e-5)) {
            fail_msg("%s %s: relative error %g", options->format, info.activations, error);
        }
        kf_session_free(session);
        kf_model_close(model);
    }
    kfi_free(NULL, logits, 0);
    tiny_model_free(p.tiny);
}

static void check_format(const char *directory, const char *architecture, const char *format,
                         const char *activations)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.format = format;
    o.head = format;
    o.activations = activations;
    check_model(directory, architecture, &o);
}

static void packed_weights_compute_what_they_decode_to(void **state)
{
    static const char *const formats[] = {"int8g64",   "int7row",  "int6g32a", "int5g128",
                                          "int4g64",   "int4g32o", "int3g64a", "int2g32a",
                                          "mxint4g32", "int4g32r", "int2g64ar"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        check_format(*state, i % 2 == 0 ? "llama" : "qwen2", formats[i],
                     i % 3 == 0 ? "int8t" : "int8tg64");
    }
    check_format(*state, "llama", "int8g64", "int7tg32");
    check_format(*state, "llama", "int4g64", "float");
    check_format(*state, "llama", "int3g32r", "float");
}

/* Tiny models with a low-rank pair and outliers beside every matrix. */
static tiny_kerf_options with_side_paths(void)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_SIDE;
    o.rank = 8;
    o.n_outliers = 5;
    return o;
}

static void side_paths_compute_what_they_decode_to(void **state)
{
    tiny_kerf_options o = with_side_paths();
    check_model(*state, "llama", &o);
    o.format = "int3g32";
    o.rank = 0;
    check_model(*state, "qwen2", &o);
    o.rank = 33;
    o.n_outliers = 0;
    check_model(*state, "qwen2", &o);
    o.activations = "float";
    o.n_outliers = 5;
    check_model(*state, "llama", &o);
}

/* Tiny models with single weights beside every matrix. */
static tiny_kerf_options with_sparse(void)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_SPARSE;
    o.sparse = true;
    return o;
}

static void single_weights_compute_what_they_decode_to(void **state)
{
    tiny_kerf_options o = with_sparse();
    check_model(*state, "llama", &o);
    o.rank = 8;
    o.n_outliers = 5;
    check_model(*state, "qwen2", &o);
    o.activations = "float";
    check_model(*state, "llama", &o);
    o.maps = true;
    o.activations = "int8tg32";
    check_model(*state, "qwen2", &o);
}

/* Versions before that of single weights have other things by that name. */
static void version_3_ignores_what_has_the_name_of_single_weights(void **state)
{
    tiny_kerf_options o = with_sparse();
    o.version = KFI_CHECKPOINT_VERSION_INPUTS;
    packed_model p = write_model(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    const kfi_block *block = NULL;
    assert_int_equal(kfi_model_block(model, 0, &block, NULL), KF_OK);
    assert_null(block->linears[KFI_LINEAR_Q].side.sparse.starts);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

/* Tiny models whose layers all see their input through a map. */
static tiny_kerf_options with_maps(void)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_INPUTS;
    o.maps = true;
    return o;
}

static void maps_compute_what_they_decode_to(void **state)
{
    tiny_kerf_options o = with_maps();
    check_model(*state, "llama", &o);
    o.rank = 8;
    o.n_outliers = 5;
    check_model(*state, "qwen2", &o);
    o.rank = 0;
    o.rotated = true;
    o.kept = "model.layers.0.mlp.down_proj.weight";
    check_model(*state, "qwen2", &o);
    o.kept = "model.layers.1.self_attn.k_proj.weight"; /* between two packed layers */
    o.activations = "float";
    check_model(*state, "llama", &o);
}

static void a_rotated_stream_computes_what_it_would_unrotated(void **state)
{
    tiny_kerf_options o = with_maps();
    o.maps = false;
    o.rotated = true;
    check_model(*state, "llama", &o);
    o.activations = "float";
    o.head = NULL;
    check_model(*state, "qwen2", &o);
}

/* Whoever does not know them would compute something else; version 1 has none. */
static void version_1_ignores_what_has_the_name_of_a_side_path(void **state)
{
    tiny_kerf_options o = with_side_paths();
    o.version = KFI_CHECKPOINT_VERSION;
    packed_model p = write_model(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    assert_int_equal(kfi_model_side_width(model), 0);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

static void same_bits_for_all_splits(const char *directory, const tiny_kerf_options *options)
{
    kf_error err = {0};
    packed_model p = write_model(directory, "qwen2", options);
    float *expected = new_logits();
    float *found = new_logits();
    for (int float_activations = 0; float_activations < 2; float_activations++) {
        for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
            kf_pool *pool = NULL;
            CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
            kf_model *model =
                model_open_with(p.path, pool, float_activations != 0 ? "float" : NULL);
            kf_session *session = new_session(model, 0);
            if (n_threads == 1) {
                session_logits(expected, session, p.ids, N_IDS);
            }
            static const size_t batches[] = {N_IDS, 1, 7, 16};
            for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
                kf_session_truncate(session, 0);
                for (size_t t = 0; t < N_IDS; t += batches[i]) {
                    const size_t n = N_IDS - t < batches[i] ? N_IDS - t : batches[i];
                    session_logits(found + t * TINY_VOCABULARY, session, p.ids + t, n);
                }
                assert_memory_equal(found, expected, LOGITS_BYTES);
            }
            kf_session_free(session);
            kf_model_close(model);
            kf_pool_free(pool);
        }
    }
    kfi_free(NULL, expected, 0);
    kfi_free(NULL, found, 0);
    tiny_model_free(p.tiny);
}

static void any_batch_and_thread_count_gives_the_same_bits(void **state)
{
    const tiny_kerf_options plain = tiny_kerf_defaults();
    const tiny_kerf_options side = with_side_paths();
    tiny_kerf_options maps = with_maps();
    maps.rotated = true;
    same_bits_for_all_splits(*state, &plain);
    same_bits_for_all_splits(*state, &side);
    same_bits_for_all_splits(*state, &maps);
}

static void kept_tensors_and_overrides_mix(void **state)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.head = NULL;
    o.kept = "model.layers.1.self_attn.k_proj.weight"; /* between two packed layers */
    o.version = KFI_CHECKPOINT_VERSION_INPUTS;
    o.more = ",\"activation_overrides\":{\"model.layers.0.mlp.down_proj.weight\":\"float\","
             "\"model.layers.1.self_attn.k_proj.weight\":\"int7tg32ac99\"}";
    packed_model p = write_model(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    kf_model_info info;
    kf_model_get_info(model, &info);
    assert_string_equal(info.activations, "mixed");
    const kfi_block *block = NULL;
    kf_error err = {0};
    CHECK_OK(kfi_model_block(model, 0, &block, &err), &err);
    assert_int_equal(block->linears[KFI_LINEAR_DOWN].activation.bits, 32);
    assert_int_equal(block->linears[KFI_LINEAR_UP].activation.bits, 8);
    CHECK_OK(kfi_model_block(model, 1, &block, &err), &err);
    assert_non_null(block->linears[KFI_LINEAR_K].weights);
    assert_int_equal(block->linears[KFI_LINEAR_K].activation.bits, 7);
    assert_int_equal(block->linears[KFI_LINEAR_K].activation.clip, 99);
    assert_null(block->linears[KFI_LINEAR_Q].weights);
    kf_session *session = new_session(model, 0);
    float *logits = new_logits();
    session_logits(logits, session, p.ids, N_IDS);
    assert_true(relative_error(logits, p.tiny, p.ids) < 0.03);
    kfi_free(NULL, logits, 0);
    kf_session_free(session);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

/* As the readers of their time did. */
static void older_versions_keep_inputs_of_kept_tensors_float(void **state)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.kept = "model.layers.1.self_attn.k_proj.weight";
    o.more = ",\"activation_overrides\":{\"model.layers.1.self_attn.k_proj.weight\":\"int3t\"}";
    for (o.version = 1; o.version <= KFI_CHECKPOINT_VERSION_MOST; o.version++) {
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = model_open_with(p.path, NULL, NULL);
        const kfi_block *block = NULL;
        kf_error err = {0};
        CHECK_OK(kfi_model_block(model, 1, &block, &err), &err);
        assert_int_equal(block->linears[KFI_LINEAR_K].activation.bits,
                         o.version < KFI_CHECKPOINT_VERSION_INPUTS ? 32 : 3);
        kf_model_close(model);
        tiny_model_free(p.tiny);
    }
}

static void says_what_a_kerf_checkpoint_weighs(void **state)
{
    const tiny_kerf_options o = tiny_kerf_defaults();
    packed_model p = write_model(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    kf_model_info info;
    kf_model_get_info(model, &info);
    assert_true(info.is_kerf);
    assert_string_equal(info.source, "Kerf checkpoint, recipe rtn-tiny");
    const uint64_t parameters = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64);
    uint64_t bytes = 0;
    const char *const names[] = {"self_attn.q_proj", "mlp.down_proj"};
    for (size_t i = 0; i < 2; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "model.layers.0.%s.weight", names[i]);
        assert_string_equal(kfi_model_source_format(model, name), "int4g64");
    }
    for (size_t i = 0; i < kf_model_tensor_count(model); i++) {
        kf_model_tensor t;
        kf_model_get_tensor(model, i, &t);
        assert_null(strstr(t.name, ".packed"));
        bytes += strstr(t.name, "_proj.weight") != NULL ? t.bytes : 0;
    }
    assert_true(info.bits_per_weight_linear == 8.0 * (double)bytes / (double)parameters);
    /* 4 bits, 16 a group of 64 for the scale, 64 bytes a tensor; of down's 96 columns the second
     * group is half empty. */
    assert_true(info.bits_per_weight_linear > 4.25 && info.bits_per_weight_linear < 4.6);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

/* Every tensor of a side path counts as a part of its matrix. */
static void side_paths_count_as_bits_of_their_layer(void **state)
{
    kf_error err = {0};
    const tiny_kerf_options o = with_side_paths();
    packed_model p = write_model(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    kf_model_info info;
    kf_model_get_info(model, &info);
    /* rows, cols, and how many of them there are in the two blocks */
    static const size_t shapes[][3] = {{64, 64, 4}, {32, 64, 4}, {96, 64, 4}, {64, 96, 2}};
    static const char *const names[] = {"int4g64", "int8g32", "int8row", "int8row"};
    uint64_t bytes = 0;
    uint64_t parameters = 0;
    for (size_t i = 0; i < 4; i++) {
        const size_t rows = shapes[i][0];
        const size_t cols = shapes[i][1];
        const size_t parts[][2] = {
            {rows, cols}, {o.rank, cols}, {rows, o.rank}, {rows, o.n_outliers}};
        for (size_t j = 0; j < 4; j++) {
            kf_format format;
            uint64_t part = 0;
            CHECK_OK(kf_format_parse(&format, names[j], &err), &err);
            CHECK_OK(kf_format_bytes(&part, format, parts[j][0], parts[j][1], &err), &err);
            bytes += shapes[i][2] * part;
        }
        bytes += shapes[i][2] * o.n_outliers * sizeof(uint32_t);
        parameters += (uint64_t)shapes[i][2] * rows * cols;
    }
    assert_true(info.bits_per_weight_linear == 8.0 * (double)bytes / (double)parameters);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

static void single_weights_count_as_bits_of_their_layer(void **state)
{
    kf_model_info info[2];
    uint64_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        tiny_kerf_options o = with_sparse();
        o.sparse = i == 1;
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = model_open_with(p.path, NULL, NULL);
        kf_model_get_info(model, &info[i]);
        for (size_t k = 0; i == 1 && k < kf_model_tensor_count(model); k++) {
            kf_model_tensor t;
            kf_model_get_tensor(model, k, &t);
            bytes += strstr(t.name, ".sparse_") != NULL ? t.bytes : 0;
        }
        kf_model_close(model);
        tiny_model_free(p.tiny);
    }
    /* At least the starts of all rows. */
    assert_true(bytes > 2 * (64 * 2 + 32 * 2 + 96 * 2 + 64 + 7) * sizeof(uint32_t));
    assert_int_equal(info[1].bytes - info[0].bytes, bytes);
    const double linear = 8.0 * (double)bytes / (2.0 * (64 * 64 * 2 + 32 * 64 * 2 + 96 * 64 * 3));
    assert_true(fabs(info[1].bits_per_weight_linear - info[0].bits_per_weight_linear - linear) <
                1e-9);
}

static void tells_by_its_name_what_a_tensor_is(void **state)
{
    (void)state;
    assert_true(kfi_name_is_linear(kfi_name_weight(12, KFI_LINEAR_DOWN).text));
    assert_true(kfi_name_is_linear("model.layers.3.self_attn.q_proj.weight.packed"));
    for (size_t i = 0; i < KFI_SIDE_PARTS; i++) {
        const kfi_name name = kfi_name_side("model.layers.0.mlp.up_proj.weight", (kfi_side_part)i);
        assert_int_equal(kfi_name_side_part(name.text), i);
        assert_int_equal(kfi_name_side_part(kfi_name_packed(name.text).text), i);
        assert_true(kfi_name_is_linear(name.text));
    }
    for (size_t i = 0; i < KFI_ONLINE_PARTS; i++) {
        const kfi_name name =
            kfi_name_online("model.layers.0.mlp.up_proj.weight", (kfi_online_part)i);
        assert_int_equal(kfi_name_online_part(name.text), i);
        assert_true(kfi_name_is_linear(name.text));
    }
    assert_int_equal(kfi_name_online_part(KFI_TENSOR_RESIDUAL_SIGNS), KFI_ONLINE_PARTS);
    assert_int_equal(kfi_name_side_part("model.norm.weight"), KFI_SIDE_PARTS);
    assert_int_equal(kfi_name_side_part(".outliers"), KFI_SIDE_PARTS);
    static const char *const others[] = {
        "",
        ".packed",
        "model.layers.",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.input_layernorm.weight",
        "model.embed_tokens.weight.packed",
        "other.layers.0.mlp.up_proj.weight",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(kfi_name_is_linear(others[i]));
    }
    assert_int_equal(kfi_name_unpacked("lm_head.weight.packed"), 14);
    assert_int_equal(kfi_name_unpacked("lm_head.weight"), 0);
    assert_int_equal(kfi_name_unpacked(".packed"), 0);
}

static void decoding_allocates_nothing(void **state)
{
    kf_error err = {0};
    tiny_kerf_options o = with_side_paths();
    o.version = KFI_CHECKPOINT_VERSION_INPUTS;
    o.maps = o.rotated = true;
    packed_model p = write_model(*state, "llama", &o);
    fixture_allocator a;
    fixture_allocator_init(&a, 0);
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.alloc = &a.allocator;
    kf_model *model = NULL;
    kf_session *session = NULL;
    CHECK_OK(kf_model_open(&model, p.path, &options, &err), &err);
    CHECK_OK(kf_session_new(&session, model, NULL, &err), &err);
    const size_t n_calls = a.n_calls;
    float logits[TINY_VOCABULARY];
    for (size_t i = 0; i < N_IDS; i++) {
        session_logits(logits, session, p.ids + i, 1);
    }
    assert_int_equal(a.n_calls, n_calls);
    kf_session_free(session);
    kf_model_close(model);
    assert_true(fixture_allocator_is_clean(&a));
    tiny_model_free(p.tiny);
}

static void rejects_what_is_wrong_with_a_checkpoint(void **state)
{
    static const struct {
        int version;
        bool misaligned;
        const char *activations, *more, *named;
        kf_status expected;
    } cases[] = {
        {0, false, "int8tg64", NULL, "format_version", KF_UNSUPPORTED},
        {5, false, "int8tg64", NULL, "format_version", KF_UNSUPPORTED},
        {1, true, "int8tg64", NULL, "multiple of 64", KF_FORMAT},
        {1, false, "int9", NULL, "activations", KF_FORMAT},
        {1, false, "int4tg64c49", NULL, "activations", KF_FORMAT},
        {1, false, "int8ta", NULL, "activations", KF_FORMAT},
        {1, false, "int8t", ",\"activation_overrides\":7", "activation_overrides", KF_FORMAT},
        {1, false, "int8t", ",\"kv\":\"k8v1\"", "k8v1", KF_FORMAT},
        {1, false, "int8t", ",\"kv\":8", "'kv'", KF_FORMAT},
        {1, false, "int8t", ",\"activation_overrides\":{\"a\":\"int9\"}", "'a'", KF_FORMAT},
        {1, false, "int8t", ",\"activation_overrides\":{\"a\":9}", "'a'", KF_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        tiny_kerf_options o = tiny_kerf_defaults();
        o.version = cases[i].version;
        o.misaligned = cases[i].misaligned;
        o.activations = cases[i].activations;
        o.more = cases[i].more;
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = NULL;
        const kf_status st = kf_model_open(&model, p.path, NULL, &err);
        if (st != cases[i].expected || strstr(err.msg, cases[i].named) == NULL) {
            fail_msg("case %zu: %s: %s", i, kf_status_text(st), err.msg);
        }
        assert_int_equal(err.code, st);
        tiny_model_free(p.tiny);
    }
}

static void rejects_side_paths_that_cannot_be(void **state)
{
    static const struct {
        tiny_side_flaw flaw;
        const char *named;
    } cases[] = {
        {TINY_SIDE_NO_B, "low_rank_b' beside it"},
        {TINY_SIDE_NO_COLUMNS, "outlier_columns' beside it"},
        {TINY_SIDE_A_IN_FLOAT, "low_rank_a' is not packed"},
        {TINY_SIDE_A_COLS, "is 8 x 95, expected 8 x 96"},
        {TINY_SIDE_B_COLS, "is 64 x 9, expected 64 x 8"},
        {TINY_SIDE_B_ROWS, "is 63 x 8, expected 64 x 8"},
        {TINY_SIDE_OUTLIER_ROWS, "is 63 x 5, expected 64 x 5"},
        {TINY_SIDE_NAN_SCALE, "low_rank_a"},
        {TINY_SIDE_COLUMNS_F32, "is not U32 [5]"},
        {TINY_SIDE_TWICE, "element 1 is 1, expected columns below 96 in ascending order"},
        {TINY_SIDE_UNSORTED, "element 1 is 0"},
        {TINY_SIDE_BEYOND, "element 4 is 96"},
        {TINY_SIDE_FEW_COLUMNS, "is not U32 [5]"},
        {TINY_SIDE_KEPT_MATRIX, "a matrix that is not packed"},
        {TINY_SIDE_WIDE, "of 513, at most 512"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        tiny_kerf_options o = with_side_paths();
        o.flaw = cases[i].flaw;
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = NULL;
        const kf_status st = kf_model_open(&model, p.path, NULL, &err);
        const kf_status expected = cases[i].flaw == TINY_SIDE_WIDE ? KF_UNSUPPORTED : KF_FORMAT;
        if (st != expected || strstr(err.msg, cases[i].named) == NULL ||
            strstr(err.msg, "model.layers.0.mlp.down_proj.weight.") == NULL) {
            fail_msg("flaw %d: %s: %s", (int)cases[i].flaw, kf_status_text(st), err.msg);
        }
        assert_null(model);
        tiny_model_free(p.tiny);
    }
}

static void rejects_single_weights_that_cannot_be(void **state)
{
    static const struct {
        tiny_side_flaw flaw;
        const char *named;
    } cases[] = {
        {TINY_SPARSE_NO_VALUES, "sparse_starts' has no 'model.layers.0.mlp.down_proj.weight."
                                "sparse_values' beside it"},
        {TINY_SPARSE_FEW_STARTS, "sparse_starts' is not U32 [65] at a multiple of 4 bytes"},
        {TINY_SPARSE_STARTS_F32, "sparse_starts' is not U32 [65]"},
        {TINY_SPARSE_FIRST_1, "sparse_starts': element 0 is 1, expected an ascending list from 0"},
        {TINY_SPARSE_FALLING, "sparse_starts': element 2 is 10"},
        {TINY_SPARSE_FAR, "sparse_starts': element 3 is "},
        {TINY_SPARSE_LEFT, "sparse_starts': element 64 is "},
        {TINY_SPARSE_COLUMNS_U32, "sparse_columns' is not U16 ["},
        {TINY_SPARSE_BEYOND, "sparse_columns': element 2 is 96, expected columns below 96 in "
                             "ascending order in row 0"},
        {TINY_SPARSE_TWICE, "sparse_columns': element 2 is 9"},
        {TINY_SPARSE_UNSORTED, "sparse_columns': element 2 is 0"},
        {TINY_SPARSE_FEW_VALUES, "sparse_values' is not F16 ["},
        {TINY_SPARSE_NAN, "sparse_values': element 3 is NaN"},
        {TINY_SPARSE_INFINITE, "sparse_values': element 3 is infinite"},
        {TINY_SIDE_KEPT_MATRIX, "a matrix that is not packed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        tiny_kerf_options o = with_sparse();
        o.flaw = cases[i].flaw;
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = NULL;
        const kf_status st = kf_model_open(&model, p.path, NULL, &err);
        if (st != KF_FORMAT || strstr(err.msg, cases[i].named) == NULL ||
            strstr(err.msg, "model.layers.0.mlp.down_proj.weight.") == NULL) {
            fail_msg("flaw %d: %s: %s", (int)cases[i].flaw, kf_status_text(st), err.msg);
        }
        assert_null(model);
        tiny_model_free(p.tiny);
    }
}

/* What no tiny model is wide enough for. */
static void rejects_single_weights_beside_too_many_columns(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_sparse sparse;
    const kfi_tensor tensor = {.name = "w.sparse_starts"};
    const kfi_side_tensors tensors = {.name = "w",
                                      .found = {[KFI_SIDE_SPARSE_STARTS] = &tensor,
                                                [KFI_SIDE_SPARSE_COLUMNS] = &tensor,
                                                [KFI_SIDE_SPARSE_VALUES] = &tensor}};
    assert_int_equal(kfi_sparse_open(&sparse, &tensors, 1, 65537, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "65537 columns, at most 65536"));
    assert_null(sparse.starts);
}

static void rejects_maps_that_cannot_be(void **state)
{
    static const struct {
        tiny_map_flaw flaw;
        kf_status status;
        const char *named;
    } cases[] = {
        {TINY_MAP_SIGNS_U32, KF_FORMAT, "down_proj.weight.input_signs' is not I8 [96]"},
        {TINY_MAP_FEW_SIGNS, KF_FORMAT, "down_proj.weight.input_signs' is not I8 [96]"},
        {TINY_MAP_SIGN_0, KF_FORMAT, "input_signs': element 3 is 0, expected 1 or -1"},
        {TINY_MAP_BOTH, KF_FORMAT, "down_proj.weight.input_signs' stands beside"},
        {TINY_MAP_LONE_SECOND, KF_FORMAT, "down_proj.weight.input_second' has no"},
        {TINY_MAP_COLUMNS_F32, KF_FORMAT, "q_proj.weight.input_columns' is not U32 [96]"},
        {TINY_MAP_BEYOND, KF_FORMAT, "element 2 is 64, expected a column below 64"},
        {TINY_MAP_FEW_COLUMNS, KF_FORMAT, "is 64 x 96 in 1 dimensions, expected 64 x 95"},
        {TINY_MAP_NO_COLUMNS, KF_UNSUPPORTED, "has 0 columns, expected 1 to 256"},
        {TINY_MAP_WIDE, KF_UNSUPPORTED, "has 320 columns, expected 1 to 256"},
        {TINY_MAP_FEW_RESIDUAL_SIGNS, KF_FORMAT, "'kerf.residual_signs' is not I8 [64]"},
        {TINY_MAP_RESIDUAL_SIGN_2, KF_FORMAT, "'kerf.residual_signs': element 3 is 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        tiny_kerf_options o = with_maps();
        o.rotated = true;
        o.map_flaw = cases[i].flaw;
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = NULL;
        const kf_status st = kf_model_open(&model, p.path, NULL, &err);
        if (st != cases[i].status || strstr(err.msg, cases[i].named) == NULL) {
            fail_msg("flaw %d: %s: %s", (int)cases[i].flaw, kf_status_text(st), err.msg);
        }
        assert_null(model);
        tiny_model_free(p.tiny);
    }
}

static void rejects_a_rotation_of_a_width_without_a_hadamard_matrix(void **state)
{
    (void)state;
    int8_t values[92];
    const int8_t *signs = NULL;
    kf_error err = {0};
    memset(values, 1, sizeof values);
    const kfi_tensor tensor = {.name = "x.input_signs",
                               .dtype = KFI_DTYPE_I8,
                               .n_dims = 1,
                               .shape = {92},
                               .n_elements = 92,
                               .data = (const uint8_t *)values,
                               .bytes = 92};
    assert_int_equal(kfi_signs_open(&signs, &tensor, 92, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "tensor 'x.input_signs': no Hadamard matrix"));
    assert_null(signs);
}

static void older_versions_ignore_what_has_the_name_of_a_map(void **state)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_SIDE;
    o.rotated = true;
    o.map_flaw = TINY_MAP_FEW_RESIDUAL_SIGNS;
    packed_model p = write_model(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    assert_null(kfi_model_residual_signs(model));
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

static void maps_count_as_bits_of_their_layer(void **state)
{
    kf_model_info info[2];
    for (int i = 0; i < 2; i++) {
        tiny_kerf_options o = with_maps();
        o.rotated = true;
        o.maps = i == 1;
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = model_open_with(p.path, NULL, NULL);
        kf_model_get_info(model, &info[i]);
        kf_model_close(model);
        tiny_model_free(p.tiny);
    }
    /* A block: signs of o and down; columns of q, k and v, which are 32 more than the input has,
     * with 4 bits and a scale of 16 a group of 64 for 16 rows of them; two lists for gate and up.
     */
    const uint64_t maps = 64 + 96 + 3 * 96 * 4 + 2 * 2 * 64 * 4;
    const uint64_t wider = (64 + 32 + 32) * 32 / 2 + (64 + 32 + 32) * 2;
    assert_int_equal(info[1].bytes - info[0].bytes, 2 * (maps + wider));
    const double linear =
        8.0 * 2.0 * (double)(maps + wider) / (2.0 * (64 * 64 * 2 + 32 * 64 * 2 + 96 * 64 * 3));
    assert_true(fabs(info[1].bits_per_weight_linear - info[0].bits_per_weight_linear - linear) <
                1e-9);
    assert_true(info[0].parameters == info[1].parameters);
}

static void verify_accepts_maps_and_a_rotated_stream(void **state)
{
    kf_error err = {0};
    tiny_kerf_options o = with_maps();
    o.rotated = true;
    o.n_outliers = 5;
    packed_model p = write_model(*state, "llama", &o);
    tiny_kerf_write_sums(p.path);
    CHECK_OK(kf_verify(p.path, NULL, &err), &err);
    tiny_model_free(p.tiny);
}

/* Each decodes to a weight; what the matrix has there would count only where x stays float. */
static void verify_rejects_a_matrix_that_is_not_0_in_the_columns_of_outliers(void **state)
{
    for (int flawed = 0; flawed < 2; flawed++) {
        kf_error err = {0};
        tiny_kerf_options o = with_side_paths();
        o.flaw = flawed != 0 ? TINY_SIDE_NOT_ZERO : TINY_SIDE_RIGHT;
        packed_model p = write_model(*state, "llama", &o);
        tiny_kerf_write_sums(p.path);
        const kf_status st = kf_verify(p.path, NULL, &err);
        if (flawed == 0) {
            CHECK_OK(st, &err);
        } else {
            assert_int_equal(st, KF_FORMAT);
            assert_non_null(strstr(err.msg, "down_proj.weight': row 0 is not 0 in column 1,"));
        }
        tiny_model_free(p.tiny);
    }
}

/* It would not count where x is quantized, since x is 0 there. */
static void verify_rejects_single_weights_in_the_columns_of_outliers(void **state)
{
    for (int flawed = 0; flawed < 2; flawed++) {
        kf_error err = {0};
        tiny_kerf_options o = with_sparse();
        o.n_outliers = 5;
        o.flaw = flawed != 0 ? TINY_SPARSE_IN_OUTLIERS : TINY_SIDE_RIGHT;
        packed_model p = write_model(*state, "llama", &o);
        tiny_kerf_write_sums(p.path);
        const kf_status st = kf_verify(p.path, NULL, &err);
        if (flawed == 0) {
            CHECK_OK(st, &err);
        } else {
            assert_int_equal(st, KF_FORMAT);
            assert_non_null(strstr(err.msg, "down_proj.weight.sparse_columns': row 1 has a weight "
                                            "in column 7, which is one of outliers"));
        }
        tiny_model_free(p.tiny);
    }
}

/* ---- the stored prefix ---- */

#define N_PREFIX 20u

/* Random rows as a prefix: nothing computed from the tokens would look like them. */
typedef struct prefixed {
    packed_model p;
    kf_model *model;
    float *keys, *values;
    uint32_t prompt[N_PREFIX + 10]; /* the prefix and ten more ids */
} prefixed;

static float *random_rows(uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    float *rows = kfi_alloc(NULL, 2 * N_PREFIX * 32 * sizeof(float));
    assert_non_null(rows);
    for (size_t i = 0; i < 2 * N_PREFIX * 32; i++) {
        rows[i] = kfi_rng_normal(&rng);
    }
    return rows;
}

static prefixed make_prefixed(const char *directory)
{
    prefixed x = {.keys = random_rows(1), .values = random_rows(2)};
    tiny_ids(x.prompt, N_PREFIX + 10, 9);
    tiny_kerf_options o = tiny_kerf_defaults();
    o.n_prefix = N_PREFIX;
    o.prefix_ids = x.prompt;
    o.prefix_keys = x.keys;
    o.prefix_values = x.values;
    x.p = write_model(directory, "llama", &o);
    x.model = model_open_with(x.p.path, NULL, NULL);
    return x;
}

static void free_prefixed(prefixed *x)
{
    kf_model_close(x->model);
    tiny_model_free(x->p.tiny);
    kfi_free(NULL, x->keys, 0);
    kfi_free(NULL, x->values, 0);
}

/* A session whose cache was filled with the first n rows by hand, then evaluates ids. */
static void eval_by_hand(const prefixed *x, float *hidden, size_t n_rows, const uint32_t *ids,
                         size_t n)
{
    kf_error err = {0};
    const kfi_config *config = kfi_model_config(x->model);
    kfi_workspace *w = NULL;
    CHECK_OK(kfi_workspace_new(&w, config, NULL, 64, NULL, &err), &err);
    kfi_kv kv = {.capacity = 64, .n_kv_heads = 2, .head_dim = 16};
    void *memory = kfi_alloc(NULL, kfi_kv_layer_bytes(&kv));
    assert_non_null(memory);
    kfi_kv_lay_out(&kv, memory);
    float *state = kfi_alloc(NULL, n * 64 * sizeof(float));
    assert_non_null(state);
    kfi_model_embed(x->model, state, ids, n);
    for (size_t i = 0; i < 2; i++) {
        const kfi_block *block = NULL;
        kfi_kv_put_prefix(&kv, kfi_model_get_prefix(x->model), i, n_rows);
        CHECK_OK(kfi_model_block(x->model, i, &block, &err), &err);
        kfi_block_forward(w, block, state, &kv, n_rows, n);
    }
    kfi_norm_forward(w, hidden, state, kfi_model_final_norm(x->model), n);
    kfi_free(NULL, state, 0);
    kfi_free(NULL, memory, 0);
    kfi_workspace_free(w);
}

static void check_hidden(const kf_session *session, const float *expected, size_t n)
{
    size_t n_hidden = 0;
    const float *hidden = kf_session_hidden(session, &n_hidden);
    assert_int_equal(n_hidden, n);
    assert_memory_equal(hidden, expected, n * 64 * sizeof(float));
}

static void a_prompt_that_begins_with_the_prefix_uses_it(void **state)
{
    kf_error err = {0};
    prefixed x = make_prefixed(*state);
    assert_int_equal(kfi_model_get_prefix(x.model)->n, N_PREFIX);
    assert_memory_equal(kf_model_prefix(x.model), x.prompt, N_PREFIX * sizeof(uint32_t));
    float expected[10 * 64];
    eval_by_hand(&x, expected, N_PREFIX, x.prompt + N_PREFIX, 10);
    kf_session *session = new_session(x.model, 0);
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, x.prompt, N_PREFIX + 10, &n_used, &err), &err);
    assert_int_equal(n_used, N_PREFIX);
    assert_int_equal(kf_session_position(session), N_PREFIX);
    CHECK_OK(kf_session_eval(session, x.prompt + n_used, 10, &err), &err);
    check_hidden(session, expected, 10);
    kf_session_free(session);
    free_prefixed(&x);
}

static void a_prompt_that_leaves_the_prefix_uses_what_is_common(void **state)
{
    kf_error err = {0};
    prefixed x = make_prefixed(*state);
    uint32_t prompt[8];
    memcpy(prompt, x.prompt, sizeof prompt);
    prompt[5] = (prompt[5] + 1) % TINY_VOCABULARY;
    float expected[3 * 64];
    eval_by_hand(&x, expected, 5, prompt + 5, 3);
    kf_session *session = new_session(x.model, 0);
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, prompt, 8, &n_used, &err), &err);
    assert_int_equal(n_used, 5);
    CHECK_OK(kf_session_eval(session, prompt + 5, 3, &err), &err);
    check_hidden(session, expected, 3);
    kf_session_free(session);
    free_prefixed(&x);
}

static void another_prompt_gets_the_first_token_in_front(void **state)
{
    kf_error err = {0};
    prefixed x = make_prefixed(*state);
    uint32_t prompt[4] = {(x.prompt[0] + 1) % TINY_VOCABULARY, 2, 3, 4};
    float expected[4 * 64];
    eval_by_hand(&x, expected, 1, prompt, 4);
    kf_session *session = new_session(x.model, 0);
    size_t n_used = 9;
    CHECK_OK(kf_session_begin(session, prompt, 4, &n_used, &err), &err);
    assert_int_equal(n_used, 0);
    assert_int_equal(kf_session_position(session), 1);
    CHECK_OK(kf_session_eval(session, prompt, 4, &err), &err);
    check_hidden(session, expected, 4);
    kf_session_free(session);
    free_prefixed(&x);
}

/* Nothing is left to evaluate, yet logits are wanted, and what follows must see the exact rows. */
static void a_prompt_that_is_the_prefix_has_logits_and_exact_rows(void **state)
{
    kf_error err = {0};
    prefixed x = make_prefixed(*state);
    static const size_t lengths[] = {0, 1, 16, 17, N_PREFIX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const size_t n = lengths[i];
        const size_t n_rows = n == 0 ? 1 : n;
        float expected[10 * 64];
        kf_session *session = new_session(x.model, 0);
        size_t n_used = 0;
        CHECK_OK(kf_session_begin(session, x.prompt, n, &n_used, &err), &err);
        assert_int_equal(n_used, n);
        assert_int_equal(kf_session_position(session), n_rows);
        eval_by_hand(&x, expected, n_rows - 1, x.prompt + n_rows - 1, 1);
        check_hidden(session, expected, 1);
        eval_by_hand(&x, expected, n_rows, x.p.ids, 10);
        CHECK_OK(kf_session_eval(session, x.p.ids, 10, &err), &err);
        check_hidden(session, expected, 10);
        kf_session_free(session);
    }
    free_prefixed(&x);
}

static void no_prefix_leaves_it_out(void **state)
{
    kf_error err = {0};
    prefixed x = make_prefixed(*state);
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.no_prefix = true;
    kf_session *session = NULL;
    CHECK_OK(kf_session_new(&session, x.model, &options, &err), &err);
    size_t n_used = 3;
    CHECK_OK(kf_session_begin(session, x.prompt, N_PREFIX, &n_used, &err), &err);
    assert_int_equal(n_used, 0);
    assert_int_equal(kf_session_position(session), 0);
    kf_session_free(session);
    options.no_prefix = false;
    options.context = N_PREFIX - 1;
    CHECK_OK(kf_session_new(&session, x.model, &options, &err), &err);
    assert_int_equal(kf_session_begin(session, x.prompt, N_PREFIX, &n_used, &err), KF_RANGE);
    kf_session_free(session);
    free_prefixed(&x);
}

/* What the full-precision forward pass stores as a prefix is what it would compute again. */
static void a_true_prefix_changes_nothing(void **state)
{
    kf_error err = {0};
    tiny_kerf_options o = tiny_kerf_defaults();
    packed_model p = write_model(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    float *keys = random_rows(1);
    float *values = random_rows(1);
    kfi_workspace *w = NULL;
    CHECK_OK(kfi_workspace_new(&w, kfi_model_config(model), NULL, 64, NULL, &err), &err);
    float kv_memory[2][2 * 64 * 16];
    kfi_kv kv = {.capacity = 64, .n_kv_heads = 2, .head_dim = 16};
    kv.keys = kv_memory[0];
    kv.values = kv_memory[1];
    float x[N_PREFIX * 64];
    kfi_model_embed(model, x, p.ids, N_PREFIX);
    for (size_t i = 0; i < 2; i++) {
        const kfi_block *block = NULL;
        CHECK_OK(kfi_model_block(model, i, &block, &err), &err);
        kfi_block_forward(w, block, x, &kv, 0, N_PREFIX);
        for (size_t t = 0; t < N_PREFIX; t++) {
            for (size_t h = 0; h < 2; h++) {
                const size_t place = ((i * N_PREFIX + t) * 2 + h) * 16;
                kfi_kv_load_key(keys + place, kv.keys + h * 64 * 16, t, 16);
                memcpy(values + place, kv.values + (h * 64 + t) * 16, 16 * sizeof(float));
            }
        }
    }
    kfi_workspace_free(w);
    kf_session *session = new_session(model, 0);
    float *expected = new_logits();
    session_logits(expected, session, p.ids, N_IDS);
    kf_session_free(session);
    kf_model_close(model);
    tiny_model_free(p.tiny);

    o.n_prefix = N_PREFIX;
    o.prefix_ids = p.ids;
    o.prefix_keys = keys;
    o.prefix_values = values;
    packed_model again = write_model(*state, "llama", &o);
    model = model_open_with(again.path, NULL, NULL);
    session = new_session(model, 0);
    float *found = new_logits();
    size_t n_used = 0;
    CHECK_OK(kf_session_begin(session, p.ids, N_IDS, &n_used, &err), &err);
    assert_int_equal(n_used, N_PREFIX);
    session_logits(found, session, p.ids + N_PREFIX, N_IDS - N_PREFIX);
    assert_memory_equal(found, expected + N_PREFIX * TINY_VOCABULARY,
                        (N_IDS - N_PREFIX) * TINY_VOCABULARY * sizeof(float));
    kf_session_free(session);
    kf_model_close(model);
    tiny_model_free(again.tiny);
    kfi_free(NULL, keys, 0);
    kfi_free(NULL, values, 0);
    kfi_free(NULL, expected, 0);
    kfi_free(NULL, found, 0);
}

static void rejects_a_prefix_that_cannot_be(void **state)
{
    float *rows = random_rows(3);
    uint32_t ids[N_PREFIX] = {0};
    tiny_kerf_options o = tiny_kerf_defaults();
    o.n_prefix = N_PREFIX;
    o.prefix_ids = ids;
    o.prefix_keys = rows;
    o.prefix_values = rows;
    for (int i = 0; i < 2; i++) {
        kf_error err = {0};
        ids[3] = i == 0 ? TINY_VOCABULARY : 0;
        rows[7] = i == 1 ? (float)INFINITY : 0.0f;
        packed_model p = write_model(*state, "llama", &o);
        kf_model *model = NULL;
        assert_int_equal(kf_model_open(&model, p.path, NULL, &err), KF_FORMAT);
        assert_non_null(strstr(err.msg, "kerf.prefix."));
        tiny_model_free(p.tiny);
    }
    kfi_free(NULL, rows, 0);
}

static void fail_every_allocation(const char *path)
{
    kf_status st = KF_NOMEM;
    for (size_t fail_at = 1; st != KF_OK; fail_at++) {
        kf_error err = {0};
        fixture_allocator a;
        fixture_allocator_init(&a, fail_at);
        kf_model_options options = KF_MODEL_OPTIONS_INIT;
        options.alloc = &a.allocator;
        kf_model *model = NULL;
        kf_session *session = NULL;
        st = kf_model_open(&model, path, &options, &err);
        st = st == KF_OK ? kf_session_new(&session, model, NULL, &err) : st;
        assert_true(st == KF_OK || st == KF_NOMEM);
        kf_session_free(session);
        kf_model_close(model);
        assert_true(fixture_allocator_is_clean(&a));
    }
}

static void opening_reports_a_failing_allocator_and_leaks_nothing(void **state)
{
    prefixed x = make_prefixed(*state);
    fail_every_allocation(x.p.path);
    free_prefixed(&x);
    tiny_kerf_options o = with_side_paths();
    packed_model p = write_model(*state, "llama", &o);
    fail_every_allocation(p.path);
    tiny_model_free(p.tiny);
    o = with_maps();
    o.rotated = true;
    p = write_model(*state, "llama", &o);
    fail_every_allocation(p.path);
    tiny_model_free(p.tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(packed_weights_compute_what_they_decode_to),
        IN_DIRECTORY(side_paths_compute_what_they_decode_to),
        IN_DIRECTORY(single_weights_compute_what_they_decode_to),
        IN_DIRECTORY(maps_compute_what_they_decode_to),
        IN_DIRECTORY(a_rotated_stream_computes_what_it_would_unrotated),
        IN_DIRECTORY(version_1_ignores_what_has_the_name_of_a_side_path),
        IN_DIRECTORY(version_3_ignores_what_has_the_name_of_single_weights),
        IN_DIRECTORY(any_batch_and_thread_count_gives_the_same_bits),
        IN_DIRECTORY(kept_tensors_and_overrides_mix),
        IN_DIRECTORY(older_versions_keep_inputs_of_kept_tensors_float),
        IN_DIRECTORY(says_what_a_kerf_checkpoint_weighs),
        IN_DIRECTORY(side_paths_count_as_bits_of_their_layer),
        IN_DIRECTORY(single_weights_count_as_bits_of_their_layer),
        cmocka_unit_test(tells_by_its_name_what_a_tensor_is),
        IN_DIRECTORY(decoding_allocates_nothing),
        IN_DIRECTORY(rejects_what_is_wrong_with_a_checkpoint),
        IN_DIRECTORY(rejects_side_paths_that_cannot_be),
        IN_DIRECTORY(rejects_single_weights_that_cannot_be),
        cmocka_unit_test(rejects_single_weights_beside_too_many_columns),
        IN_DIRECTORY(rejects_maps_that_cannot_be),
        cmocka_unit_test(rejects_a_rotation_of_a_width_without_a_hadamard_matrix),
        IN_DIRECTORY(older_versions_ignore_what_has_the_name_of_a_map),
        IN_DIRECTORY(maps_count_as_bits_of_their_layer),
        IN_DIRECTORY(verify_accepts_maps_and_a_rotated_stream),
        IN_DIRECTORY(verify_rejects_a_matrix_that_is_not_0_in_the_columns_of_outliers),
        IN_DIRECTORY(verify_rejects_single_weights_in_the_columns_of_outliers),
        IN_DIRECTORY(a_prompt_that_begins_with_the_prefix_uses_it),
        IN_DIRECTORY(a_prompt_that_leaves_the_prefix_uses_what_is_common),
        IN_DIRECTORY(another_prompt_gets_the_first_token_in_front),
        IN_DIRECTORY(a_prompt_that_is_the_prefix_has_logits_and_exact_rows),
        IN_DIRECTORY(no_prefix_leaves_it_out),
        IN_DIRECTORY(a_true_prefix_changes_nothing),
        IN_DIRECTORY(rejects_a_prefix_that_cannot_be),
        IN_DIRECTORY(opening_reports_a_failing_allocator_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
