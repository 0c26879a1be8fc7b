/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "fixtures.h"
#include "kerf/eval.h"
#include "model/forward.h"
#include "tiny_kerf.h"

enum {
    n_layers = 2,
    hidden = 64,
    window = 150, /* more than one piece */
    n_windows = 2
};

typedef struct fixture {
    char *directory;
    tiny_model *tiny;
    kf_model *source, *rounded;
    uint32_t ids[n_windows * window];
} fixture;

static int setup(void **state)
{
    kf_error err = {0};
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    const tiny_options options = tiny_options_of("llama");
    tiny_kerf_options written = tiny_kerf_defaults();
    written.activations = "float";
    f->directory = fixture_directory_new();
    f->tiny = tiny_model_new(f->directory, &options);
    CHECK_OK(kf_model_open(&f->source, f->tiny->path, NULL, &err), &err);
    char *path = kfi_path_join(NULL, f->directory, "kerf");
    tiny_kerf_write(path, f->tiny, &written);
    CHECK_OK(kf_model_open(&f->rounded, path, NULL, &err), &err);
    kfi_free_text(NULL, path);
    tiny_ids(f->ids, n_windows * window, 5);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    kf_model_close(f->source);
    kf_model_close(f->rounded);
    tiny_model_free(f->tiny);
    fixture_directory_free(f->directory);
    free(f);
    return 0;
}

/* What a session shows of a window that it computes in one batch. */
typedef struct stream {
    float x[n_layers][window][hidden];
    size_t n_calls;
} stream;

static void keep(void *ctx, size_t i_layer, const float *x, size_t n)
{
    stream *s = ctx;
    assert_int_equal(n, window);
    assert_int_equal(i_layer, s->n_calls % n_layers);
    memcpy(s->x[i_layer], x, sizeof s->x[i_layer]);
    s->n_calls++;
}

static stream *watch_window(kf_model *model, const uint32_t *ids)
{
    stream *s = calloc(1, sizeof *s);
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    const kfi_watch watch = {keep, s};
    size_t n = 0;
    assert_non_null(s);
    options.context = window;
    CHECK_OK(kf_session_new(&session, model, &options, &err), &err);
    kfi_session_watch(session, &watch);
    CHECK_OK(kf_session_eval(session, ids, window, &err), &err);
    assert_int_equal(s->n_calls, n_layers);
    /* Behind the last block stands what the final norm makes hidden states of. */
    const float *states = kf_session_hidden(session, &n);
    const float *weights = kfi_model_final_norm(model);
    const float *last = s->x[n_layers - 1][window - 1];
    double squares = 0;
    for (size_t i = 0; i < hidden; i++) {
        squares += (double)last[i] * (double)last[i];
    }
    for (size_t i = 0; i < hidden; i++) {
        const double expected =
            (double)last[i] * (double)weights[i] / sqrt(squares / hidden + 1e-5);
        assert_true(fabs((double)states[(n - 1) * hidden + i] - expected) < 1e-4);
    }
    kf_session_free(session);
    return s;
}

static double relative(const float *x, const float *y)
{
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < hidden; i++) {
        difference += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        norm += (double)y[i] * (double)y[i];
    }
    return sqrt(difference) / sqrt(norm);
}

static kf_eval_options options_of(const fixture *f)
{
    kf_eval_options options = KF_EVAL_OPTIONS_INIT;
    options.window = window;
    options.reference = f->source;
    return options;
}

static void is_the_relative_error_of_each_token_behind_each_block(void **state)
{
    const fixture *f = *state;
    const kf_eval_options options = options_of(f);
    kf_residual_error errors[n_layers];
    kf_residual_error expected[n_layers] = {{0}};
    kf_error err = {0};
    for (size_t w = 0; w < n_windows; w++) {
        stream *x = watch_window(f->rounded, f->ids + w * window);
        stream *y = watch_window(f->source, f->ids + w * window);
        for (size_t l = 0; l < n_layers; l++) {
            expected[l].first += relative(x->x[l][0], y->x[l][0]) / n_windows;
            for (size_t t = 1; t < window; t++) {
                const double error = relative(x->x[l][t], y->x[l][t]);
                size_t band = 0;
                while ((size_t)2 << band <= t) {
                    band++;
                }
                const double n_band = band < 7 ? (double)(1u << band) : window - 128;
                expected[l].others += error / (n_windows * (window - 1));
                expected[l].bands[band] += error / (n_windows * n_band);
            }
        }
        free(x);
        free(y);
    }
    CHECK_OK(
        kf_eval_residual(errors, n_layers, f->rounded, f->ids, n_windows * window, &options, &err),
        &err);
    for (size_t l = 0; l < n_layers; l++) {
        assert_true(expected[l].first > 1e-4 && expected[l].others > 1e-4);
        assert_true(fabs(errors[l].first - expected[l].first) < 1e-5);
        assert_true(fabs(errors[l].others - expected[l].others) < 1e-5);
        for (size_t i = 0; i < 8; i++) {
            assert_true(fabs(errors[l].bands[i] - expected[l].bands[i]) < 1e-5);
        }
        assert_true(isnan(errors[l].bands[8]));
    }
}

static void a_model_does_not_differ_from_itself(void **state)
{
    const fixture *f = *state;
    kf_eval_options options = options_of(f);
    kf_residual_error errors[n_layers];
    kf_error err = {0};
    options.windows = 1;
    CHECK_OK(
        kf_eval_residual(errors, n_layers, f->source, f->ids, n_windows * window, &options, &err),
        &err);
    for (size_t l = 0; l < n_layers; l++) {
        assert_true(errors[l].first == 0 && errors[l].others == 0); /* exactly */
    }
}

static void codes_of_keys_and_values_cost_only_the_model(void **state)
{
    const fixture *f = *state;
    kf_eval_options options = options_of(f);
    kf_residual_error errors[n_layers];
    kf_error err = {0};
    options.kv = KF_KV_K8V8;
    CHECK_OK(
        kf_eval_residual(errors, n_layers, f->source, f->ids, n_windows * window, &options, &err),
        &err);
    assert_true(errors[0].others > 1e-7);
    assert_true(errors[0].first < errors[0].others);
}

/* What watch_window() checks holds of an unrotated stream only. */
static void a_rotated_stream_is_shown_unrotated(void **state)
{
    const fixture *f = *state;
    const tiny_options options = tiny_options_of("llama");
    tiny_kerf_options written = tiny_kerf_defaults();
    kf_model *model = NULL;
    kf_error err = {0};
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "kerf");
    tiny_model *tiny = tiny_model_new(directory, &options);
    written.version = 3;
    written.rotated = true;
    tiny_kerf_write(path, tiny, &written);
    CHECK_OK(kf_model_open(&model, path, NULL, &err), &err);
    assert_non_null(kfi_model_residual_signs(model));
    free(watch_window(model, f->ids));
    kf_model_close(model);
    tiny_model_free(tiny);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void refuses_what_cannot_be_compared(void **state)
{
    const fixture *f = *state;
    kf_eval_options options = options_of(f);
    kf_residual_error errors[n_layers + 1];
    kf_error err = {0};
    assert_int_equal(
        kf_eval_residual(errors, n_layers + 1, f->source, f->ids, window, &options, &err),
        KF_INVALID);
    assert_int_equal(
        kf_eval_residual(errors, n_layers, f->source, f->ids, window - 1, &options, &err),
        KF_RANGE);
    tiny_options deeper = tiny_options_of("llama");
    char *directory = fixture_directory_new();
    deeper.config.n_layers = 3;
    tiny_model *tiny = tiny_model_new(directory, &deeper);
    CHECK_OK(kf_model_open(&options.reference, tiny->path, NULL, &err), &err);
    assert_int_equal(kf_eval_residual(errors, n_layers, f->source, f->ids, window, &options, &err),
                     KF_FORMAT);
    assert_non_null(strstr(err.msg, "3 blocks"));
    kf_model_close(options.reference);
    options.reference = NULL;
    assert_int_equal(kf_eval_residual(errors, n_layers, f->source, f->ids, window, &options, &err),
                     KF_INVALID);
    tiny_model_free(tiny);
    fixture_directory_free(directory);
}

static void survives_every_allocation(void **state)
{
    const fixture *f = *state;
    kf_status st = KF_NOMEM;
    for (size_t i = 1; st != KF_OK; i++) {
        fixture_allocator allocator;
        kf_eval_options options = options_of(f);
        kf_residual_error errors[n_layers];
        kf_error err = {0};
        fixture_allocator_init(&allocator, i);
        options.alloc = &allocator.allocator;
        st = kf_eval_residual(errors, n_layers, f->rounded, f->ids, window, &options, &err);
        assert_true(st == KF_OK || st == KF_NOMEM);
        assert_true(fixture_allocator_is_clean(&allocator));
        assert_true(i < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_relative_error_of_each_token_behind_each_block),
        cmocka_unit_test(a_model_does_not_differ_from_itself),
        cmocka_unit_test(codes_of_keys_and_values_cost_only_the_model),
        cmocka_unit_test(a_rotated_stream_is_shown_unrotated),
        cmocka_unit_test(refuses_what_cannot_be_compared),
        cmocka_unit_test(survives_every_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
