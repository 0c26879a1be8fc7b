/* Kerf checkpoints compute what they decode to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "kerf/quantize.h"
#include "model/checkpoint_names.h"
#include "model/forward.h"
#include "oracle_forward.h"
#include "packed_model.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

#define LOGITS_BYTES (PACKED_IDS * TINY_VOCABULARY * sizeof(float))

/* Root of the mean square of logits minus the oracle's, over that of the oracle's. */
static double relative_error(const float *logits, const tiny_model *tiny, const uint32_t *ids)
{
    double *expected = kfi_alloc(NULL, PACKED_IDS * TINY_VOCABULARY * sizeof(double));
    assert_non_null(expected);
    oracle_logits(expected, tiny, ids, PACKED_IDS);
    double error = 0;
    double size = 0;
    for (size_t i = 0; i < PACKED_IDS * TINY_VOCABULARY; i++) {
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
    packed_model p = packed_model_write(directory, architecture, options);
    float *logits = packed_logits();
    for (int float_activations = 0; float_activations < 2; float_activations++) {
        kf_model *model = model_open_with(p.path, NULL, float_activations != 0 ? "float" : NULL);
        kf_model_info info;
        kf_model_get_info(model, &info);
        if (options->kept == NULL) {
            assert_string_equal(info.activations, float_activations != 0 ? "float" : activations);
        }
        kf_session *session = packed_session(model, 0);
        session_logits(logits, session, p.ids, PACKED_IDS);
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

static void side_paths_compute_what_they_decode_to(void **state)
{
    tiny_kerf_options o = packed_with_side_paths();
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

static void single_weights_compute_what_they_decode_to(void **state)
{
    tiny_kerf_options o = packed_with_sparse();
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

static void maps_compute_what_they_decode_to(void **state)
{
    tiny_kerf_options o = packed_with_maps();
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
    tiny_kerf_options o = packed_with_maps();
    o.maps = false;
    o.rotated = true;
    check_model(*state, "llama", &o);
    o.activations = "float";
    o.head = NULL;
    check_model(*state, "qwen2", &o);
}

static void same_bits_for_all_splits(const char *directory, const tiny_kerf_options *options)
{
    kf_error err = {0};
    packed_model p = packed_model_write(directory, "qwen2", options);
    float *expected = packed_logits();
    float *found = packed_logits();
    for (int float_activations = 0; float_activations < 2; float_activations++) {
        for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
            kf_pool *pool = NULL;
            CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
            kf_model *model =
                model_open_with(p.path, pool, float_activations != 0 ? "float" : NULL);
            kf_session *session = packed_session(model, 0);
            if (n_threads == 1) {
                session_logits(expected, session, p.ids, PACKED_IDS);
            }
            static const size_t batches[] = {PACKED_IDS, 1, 7, 16};
            for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
                kf_session_truncate(session, 0);
                for (size_t t = 0; t < PACKED_IDS; t += batches[i]) {
                    const size_t n = PACKED_IDS - t < batches[i] ? PACKED_IDS - t : batches[i];
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
    const tiny_kerf_options side = packed_with_side_paths();
    tiny_kerf_options maps = packed_with_maps();
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
    packed_model p = packed_model_write(*state, "llama", &o);
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
    kf_session *session = packed_session(model, 0);
    float *logits = packed_logits();
    session_logits(logits, session, p.ids, PACKED_IDS);
    assert_true(relative_error(logits, p.tiny, p.ids) < 0.03);
    kfi_free(NULL, logits, 0);
    kf_session_free(session);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

static void decoding_allocates_nothing(void **state)
{
    kf_error err = {0};
    tiny_kerf_options o = packed_with_side_paths();
    o.version = KFI_CHECKPOINT_VERSION_INPUTS;
    o.maps = o.rotated = true;
    packed_model p = packed_model_write(*state, "llama", &o);
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
    for (size_t i = 0; i < PACKED_IDS; i++) {
        session_logits(logits, session, p.ids + i, 1);
    }
    assert_int_equal(a.n_calls, n_calls);
    kf_session_free(session);
    kf_model_close(model);
    assert_true(fixture_allocator_is_clean(&a));
    tiny_model_free(p.tiny);
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
    prefixed x = prefixed_new(*state);
    fail_every_allocation(x.p.path);
    prefixed_free(&x);
    tiny_kerf_options o = packed_with_side_paths();
    packed_model p = packed_model_write(*state, "llama", &o);
    fail_every_allocation(p.path);
    tiny_model_free(p.tiny);
    o = packed_with_maps();
    o.rotated = true;
    p = packed_model_write(*state, "llama", &o);
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
        IN_DIRECTORY(any_batch_and_thread_count_gives_the_same_bits),
        IN_DIRECTORY(kept_tensors_and_overrides_mix),
        IN_DIRECTORY(decoding_allocates_nothing),
        IN_DIRECTORY(opening_reports_a_failing_allocator_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
