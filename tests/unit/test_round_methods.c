/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "fixtures.h"
#include "round_fixture.h"

/* Weights with long tails: the quotient of a normal and a root of a uniform number. */
static void give_tails(round_layer *l, uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < l->rows * l->cols; i++) {
        const float u = fabsf(kfi_rng_normal(&rng)) + 0.1f;
        l->weights[i] = 0.05f * kfi_rng_normal(&rng) / sqrtf(u);
    }
}

static kfi_round_error error_of(round_layer *l, const char *name, const char *format)
{
    kf_error err = {0};
    const kfi_method *method = round_method_named(name);
    CHECK_OK(kf_format_parse(&l->format, format, &err), &err);
    (void)round_layer_round(l, method, NULL);
    return round_layer_measure(l);
}

/* The same with the method's defaults. */
static kfi_round_error default_error(round_layer *l, const char *name, const char *format)
{
    kfi_knobs_default(l->knobs, round_method_named(name));
    return error_of(l, name, format);
}

/* Round to nearest, with the clip search or without. */
static kfi_round_error nearest_error(round_layer *l, const char *fit, const char *format)
{
    const kfi_method *rtn = round_method_named("rtn");
    kfi_knobs_default(l->knobs, rtn);
    round_layer_set(l, rtn, "fit", fit);
    round_layer_set(l, rtn, "exponent", "2");
    return error_of(l, "rtn", format);
}

static void easyquant_lowers_the_error_of_the_range_with_every_iteration(void **state)
{
    (void)state;
    static const char *const formats[] = {"int4g64",  "int4g64a", "int3row",
                                          "int4g32o", "nf4g64",   "cb8g64"};
    static const char *const iterations[] = {"0", "1", "2", "4", "20"};
    const kfi_method *easyquant = round_method_named("easyquant");
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        round_layer l;
        round_layer_init(&l, 21, 200, formats[i], i);
        double last = nearest_error(&l, "minmax", formats[i]).weight;
        for (size_t n = 0; n < sizeof iterations / sizeof iterations[0]; n++) {
            kfi_knobs_default(l.knobs, easyquant);
            round_layer_set(&l, easyquant, "iterations", iterations[n]);
            const double error = error_of(&l, "easyquant", formats[i]).weight;
            assert_true(n == 0 ? error == last : error <= last);
            last = error;
        }
        assert_true(last < nearest_error(&l, "minmax", formats[i]).weight);
        round_layer_deinit(&l);
    }
}

static void nupes_finds_a_grid_that_errs_less_than_even_steps(void **state)
{
    (void)state;
    static const char *const formats[] = {"cb16g64", "cb8g64", "cb16row"};
    const kfi_method *nupes = round_method_named("nupes");
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        round_layer l;
        round_layer_init(&l, 32, 256, formats[i], 10 + i);
        give_tails(&l, 10 + i);
        const double found = default_error(&l, "nupes", formats[i]).weight;
        kfi_knobs_default(l.knobs, nupes);
        static const char *const powers[][2] = {
            {"0.45", "0.46"}, {"0.6", "0.61"}, {"0.75", "0.76"}, {"0.9", "0.91"}, {"0.99", "1"}};
        for (size_t p = 0; p < sizeof powers / sizeof powers[0]; p++) {
            round_layer_set(&l, nupes, "least", powers[p][0]);
            round_layer_set(&l, nupes, "most", powers[p][1]);
            assert_true(found <= 1.01 * error_of(&l, "nupes", formats[i]).weight);
        }
        assert_true(found < 0.9 * error_of(&l, "nupes", formats[i]).weight); /* power 1 */
        round_layer_deinit(&l);
    }
}

/* Eight values that k-means from the quantiles of a normal distribution does not tell apart. */
static void squeezellm_finds_every_cluster(void **state)
{
    (void)state;
    static const float values[] = {-127, -125, -123, -121, -119, 0, 60, 127};
    round_layer l;
    kfi_rng rng;
    round_layer_init(&l, 32, 128, "cb8row", 20);
    round_layer_diagonal_gram(&l);
    kfi_rng_init(&rng, 20);
    for (size_t i = 0; i < l.rows * l.cols; i++) {
        l.weights[i] = values[kfi_rng_below(&rng, 8)] / 1024.0f;
        l.weights[i] = i % l.cols == 0 ? values[7] / 1024.0f : l.weights[i]; /* the same scale */
    }
    assert_true(default_error(&l, "squeezellm", "cb8row").weight == 0.0);
    assert_true(nearest_error(&l, "mse", "cb8row").weight > 0.0);
    round_layer_deinit(&l);
}

/* On a diagonal Gram matrix the output error is what both minimise. */
static void squeezellm_errs_less_than_the_codebook_that_formats_learn(void **state)
{
    (void)state;
    static const char *const formats[] = {"cb4g64", "cb8g64", "cb16g64", "cb8row"};
    const kfi_method *rtn = round_method_named("rtn");
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        round_layer l;
        round_layer_init(&l, 64, 256, formats[i], 30 + i);
        round_layer_diagonal_gram(&l);
        for (size_t c = 0; c < l.cols; c++) {
            l.statistics.gram[c * l.cols + c] *= c % 8 == 0 ? 30.0f : 1.0f;
        }
        give_tails(&l, 30 + i);
        kfi_knobs_default(l.knobs, rtn);
        round_layer_set(&l, rtn, "fit", "mse");
        round_layer_set(&l, rtn, "exponent", "2");
        round_layer_set(&l, rtn, "importance", "mean_square");
        const double learned = error_of(&l, "rtn", formats[i]).output;
        assert_true(default_error(&l, "squeezellm", formats[i]).output < learned);
        round_layer_deinit(&l);
    }
}

static void llmfp4_takes_the_split_that_suits_the_weights(void **state)
{
    (void)state;
    round_layer l;
    kfi_rng rng;
    round_layer_init(&l, 16, 128, "cb16g32", 40);
    round_layer_add_tokens(&l, 500, 40);
    kfi_rng_init(&rng, 40);
    for (size_t i = 0; i < l.rows * l.cols; i++) {
        l.weights[i] = (float)((int)kfi_rng_below(&rng, 15) - 7) / 64.0f;
    }
    (void)default_error(&l, "llmfp4", "cb16g32");
    assert_int_equal(l.table[15], 7); /* E1M2 */
    for (size_t i = 0; i < l.rows * l.cols; i++) {
        const float sign = kfi_rng_below(&rng, 2) == 0 ? 1.0f : -1.0f;
        l.weights[i] = sign * ldexpf(1.0f, -(int)kfi_rng_below(&rng, 7));
    }
    (void)default_error(&l, "llmfp4", "cb16g32");
    assert_int_equal(l.table[15], 64); /* E3M0 */
    round_layer_deinit(&l);
    round_layer_init(&l, 16, 128, "cb16g32", 41);
    round_layer_add_tokens(&l, 500, 41);
    give_tails(&l, 41);
    const double found = default_error(&l, "llmfp4", "cb16g32").output;
    assert_int_equal(l.table[15], 12); /* E2M1 */
    assert_true(found < nearest_error(&l, "minmax", "fp4e2m1g32").output);
    assert_true(found < nearest_error(&l, "mse", "fp4e2m1g32").output);
    round_layer_deinit(&l);
}

static void ptqtp_errs_less_than_one_plane_and_than_eight_levels(void **state)
{
    (void)state;
    static const char *const turns[] = {"1", "3", "50"};
    const kfi_method *ptqtp = round_method_named("ptqtp");
    round_layer l;
    round_layer_init(&l, 32, 300, "cb16g128", 50);
    give_tails(&l, 50);
    double last = (double)INFINITY;
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        kfi_knobs_default(l.knobs, ptqtp);
        round_layer_set(&l, ptqtp, "turns", turns[i]);
        const double error = error_of(&l, "ptqtp", "cb16g128").weight;
        assert_true(error < last);
        last = error;
    }
    assert_true(last < 0.3 * nearest_error(&l, "mse", "ternaryg128").weight);
    assert_true(last < nearest_error(&l, "mse", "int3g128").weight);
    round_layer_deinit(&l);
}

static void awq_clip_leaves_less_output_error_than_the_range(void **state)
{
    (void)state;
    static const char *const formats[] = {"int4g64a", "int3g64", "int3row",
                                          "nf4g64",   "cb16g64", "mxint3g32"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        round_layer l;
        round_layer_init(&l, 40, 200, formats[i], 60 + i);
        round_layer_add_tokens(&l, 2000, i);
        give_tails(&l, 60 + i);
        const double range = nearest_error(&l, "minmax", formats[i]).output;
        assert_true(default_error(&l, "awq_clip", formats[i]).output < range);
        round_layer_deinit(&l);
    }
}

static void dgq_leaves_less_output_error_than_scales_by_the_weights(void **state)
{
    (void)state;
    static const char *const formats[] = {"int4g128ar", "int4g64r", "int3g32ar", "int2g64ar"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        round_layer l;
        round_layer_init(&l, 40, 300, formats[i], 70 + i);
        round_layer_add_tokens(&l, 2000, i);
        memset(l.weights + 3 * l.cols, 0, l.cols * sizeof *l.weights); /* a row of zeros */
        const double range = nearest_error(&l, "minmax", formats[i]).output;
        const double clipped = nearest_error(&l, "mse", formats[i]).output;
        const double found = default_error(&l, "dgq", formats[i]).output;
        assert_true(found < range && found < clipped);
        const size_t n_groups = kfi_format_groups(l.format, l.cols);
        for (size_t g = 0; g < l.rows * n_groups; g++) {
            const int32_t m = abs(l.grids[g].multiplier);
            assert_true(m * ((1 << l.format.bits) - 1) <= 255);
            assert_true(l.grids[g].scale == l.grids[g].row_scale * (float)l.grids[g].multiplier);
            assert_true(l.grids[g].zero >= 0 && l.grids[g].zero < 1 << l.format.bits);
        }
        round_layer_deinit(&l);
    }
}

static uint32_t group_of(round_layer *l, const char *format)
{
    kf_error err = {0};
    const kfi_method *finequant = round_method_named("finequant");
    kf_format chosen;
    CHECK_OK(kf_format_parse(&chosen, format, &err), &err);
    kfi_knobs_default(l->knobs, finequant);
    finequant->format(&chosen, l->weights, l->rows, l->cols, l->knobs);
    return chosen.group;
}

static void finequant_takes_finer_groups_where_weights_have_outliers(void **state)
{
    (void)state;
    kfi_rng rng;
    round_layer l;
    round_layer_init(&l, 64, 1024, "int4g32a", 80);
    assert_int_equal(group_of(&l, "int4g32a"), 128); /* of normal weights */
    assert_int_equal(group_of(&l, "int4row"), KF_GROUP_ROW);
    give_tails(&l, 80);
    kfi_rng_init(&rng, 80);
    for (size_t i = 0; i < l.rows * l.cols; i += 61) {
        l.weights[i] *= 8.0f;
    }
    assert_int_equal(group_of(&l, "int4g32a"), 32);
    assert_int_equal(group_of(&l, "int4g64a"), 64);
    assert_int_equal(group_of(&l, "int4g64ar"), 64);
    for (size_t i = 0; i < l.rows * l.cols; i++) {
        l.weights[i] = i % 2 == 0 ? 1.0f : -1.0f;
    }
    assert_int_equal(group_of(&l, "int4g32a"), KF_GROUP_ROW);
    assert_int_equal(group_of(&l, "int4g32ar"), 128);
    round_layer_deinit(&l);
}

static void formats_that_a_method_cannot_make_are_refused(void **state)
{
    (void)state;
    static const char *const refused[][2] = {{"easyquant", "mxint4g32"}, {"easyquant", "int4g64r"},
                                             {"nupes", "int4g64"},       {"squeezellm", "nf4g64"},
                                             {"llmfp4", "cb8g64"},       {"llmfp4", "fp4e2m1g32"},
                                             {"ptqtp", "ternaryg64"},    {"awq_clip", "int4g64r"},
                                             {"dgq", "int4g64"},         {"dgq", "ternaryg64r"}};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        kf_error err = {0};
        round_layer l;
        const kfi_method *method = round_method_named(refused[i][0]);
        round_layer_init(&l, 16, 64, refused[i][1], 90);
        round_layer_diagonal_gram(&l);
        kfi_knobs_default(l.knobs, method);
        kfi_round_job job = round_layer_job(&l, NULL);
        assert_int_equal(method->round(&job, NULL, &err), KF_UNSUPPORTED);
        assert_non_null(strstr(err.msg, refused[i][0]));
        round_layer_deinit(&l);
    }
}

static const char *const methods[][2] = {{"easyquant", "int4g64"}, {"finequant", "int4g64a"},
                                         {"nupes", "cb16g64"},     {"squeezellm", "cb8g64"},
                                         {"llmfp4", "cb16g64"},    {"ptqtp", "cb16g128"},
                                         {"awq_clip", "int4g64a"}, {"dgq", "int4g128ar"}};
#define N_METHODS (sizeof methods / sizeof methods[0])

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    for (size_t i = 0; i < N_METHODS; i++) {
        const kfi_method *method = round_method_named(methods[i][0]);
        round_layer l;
        uint8_t *codes = NULL;
        kfi_grid *grids = NULL;
        round_layer_init(&l, 105, 200, methods[i][1], 300);
        round_layer_add_tokens(&l, 500, 1);
        kfi_knobs_default(l.knobs, method);
        (void)round_layer_round(&l, method, NULL);
        round_layer_keep(&l, &codes, &grids);
        (void)round_layer_round(&l, method, pool);
        round_layer_assert_same(&l, codes, grids);
        round_layer_deinit(&l);
    }
    kf_pool_free(pool);
}

static void without_memory_nothing_leaks(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_METHODS; i++) {
        const kfi_method *method = round_method_named(methods[i][0]);
        round_layer l;
        round_layer_init(&l, 8, 64, methods[i][1], 500);
        round_layer_add_tokens(&l, 100, 5);
        kfi_knobs_default(l.knobs, method);
        kf_status st = KF_NOMEM;
        for (size_t fail_at = 1; st != KF_OK; fail_at++) {
            fixture_allocator a;
            kf_error err = {0};
            fixture_allocator_init(&a, fail_at);
            kfi_round_job job = round_layer_job(&l, NULL);
            job.alloc = &a.allocator;
            st = method->round(&job, NULL, &err);
            assert_true(st == KF_OK || st == KF_NOMEM);
            assert_true(fixture_allocator_is_clean(&a));
        }
        round_layer_deinit(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(easyquant_lowers_the_error_of_the_range_with_every_iteration),
        cmocka_unit_test(nupes_finds_a_grid_that_errs_less_than_even_steps),
        cmocka_unit_test(squeezellm_finds_every_cluster),
        cmocka_unit_test(squeezellm_errs_less_than_the_codebook_that_formats_learn),
        cmocka_unit_test(llmfp4_takes_the_split_that_suits_the_weights),
        cmocka_unit_test(ptqtp_errs_less_than_one_plane_and_than_eight_levels),
        cmocka_unit_test(awq_clip_leaves_less_output_error_than_the_range),
        cmocka_unit_test(dgq_leaves_less_output_error_than_scales_by_the_weights),
        cmocka_unit_test(finequant_takes_finer_groups_where_weights_have_outliers),
        cmocka_unit_test(formats_that_a_method_cannot_make_are_refused),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(without_memory_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
