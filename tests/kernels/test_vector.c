/* The loops over one vector in use (KERF_ISA) against plain C, bit for bit, and against double.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <float.h>
#include <math.h>

#include "base/half.h"
#include "kernels/exp.h"
#include "kernels/kernels_list.h"
#include "random_packed.h"
#include "vectors.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void normalizes_as_plain_c_does(void **state)
{
    (void)state;
    static float x[VECTOR_MOST], weight[VECTOR_MOST], y[2][VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        const size_t n = vector_sizes[s];
        double squares = 0.0;
        vector_fill(x, n, &rng);
        vector_fill(weight, n, &rng);
        kfi_rms_norm_generic(y[0], x, weight, n, 1e-5f);
        kfi_kernels_get()->rms_norm(y[1], x, weight, n, 1e-5f);
        vector_assert_same(y[0], y[1], n);
        for (size_t i = 0; i < n; i++) {
            squares += (double)x[i] * (double)x[i];
        }
        for (size_t i = 0; i < n; i++) {
            const double inverse = 1.0 / sqrt(squares / (double)n + (double)1e-5f);
            const double exact = (double)x[i] * inverse * (double)weight[i];
            const double gamma = ((double)n / 16 / 2 + 12) * 0x1p-24; /* half of it: a root */
            assert_true(fabs((double)y[1][i] - exact) <= gamma * fabs(exact));
        }
        memcpy(y[0], x, n * sizeof *x); /* in place */
        kfi_kernels_get()->rms_norm(y[0], y[0], weight, n, 1e-5f);
        vector_assert_same(y[0], y[1], n);
    }
}

static void gates_as_plain_c_does(void **state)
{
    (void)state;
    static float gate[VECTOR_MOST], up[VECTOR_MOST], y[2][VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        const size_t n = vector_sizes[s];
        vector_fill(gate, n, &rng); /* beyond ±88 too, where e^-x leaves the floats */
        vector_fill(up, n, &rng);
        kfi_silu_mul_generic(y[0], gate, up, n);
        kfi_kernels_get()->silu_mul(y[1], gate, up, n);
        vector_assert_same(y[0], y[1], n);
        for (size_t i = 0; i < n; i++) {
            const double g = (double)gate[i];
            const double exact = g / (1.0 + exp(-g)) * (double)up[i];
            assert_true(fabs((double)y[1][i] - exact) <= 6 * 0x1p-24 * fabs(exact) + 1e-36);
        }
        kfi_kernels_get()->silu_mul(gate, gate, up, n); /* dst may be gate */
        vector_assert_same(y[1], gate, n);
    }
}

static void adds_as_plain_c_does(void **state)
{
    (void)state;
    static float x[VECTOR_MOST], y[2][VECTOR_MOST + 1];
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        const size_t n = vector_sizes[s];
        vector_fill(x, n, &rng);
        vector_fill(y[0], n + 1, &rng);
        memcpy(y[1], y[0], sizeof y[0]);
        kfi_add_generic(y[0], x, n);
        kfi_kernels_get()->add(y[1], x, n);
        vector_assert_same(y[0], y[1], n + 1); /* the one behind is untouched */
        kfi_kernels_get()->add(y[1], x, 0);
        vector_assert_same(y[0], y[1], n + 1);
    }
}

static void rotates_as_plain_c_does(void **state)
{
    (void)state;
    static const size_t head_dims[] = {2, 4, 8, 24, 32, 64, 80, 96, 128, 256};
    static float x[2][3 * 256], cosine[128], sine[128], before[3 * 256];
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (size_t h = 0; h < COUNT(head_dims); h++) {
        const size_t dim = head_dims[h];
        for (size_t i = 0; i < dim / 2; i++) {
            const double angle = 10.0 * (double)kfi_rng_normal(&rng);
            cosine[i] = (float)cos(angle);
            sine[i] = (float)sin(angle);
        }
        vector_fill(before, 3 * dim, &rng);
        memcpy(x[0], before, sizeof before);
        memcpy(x[1], before, sizeof before);
        kfi_rope_generic(x[0], 3, dim, cosine, sine);
        kfi_kernels_get()->rope(x[1], 3, dim, cosine, sine);
        vector_assert_same(x[0], x[1], 3 * dim);
        for (size_t i = 0; i < dim / 2; i++) { /* a rotation keeps the length */
            const double a = hypot((double)before[i], (double)before[i + dim / 2]);
            const double b = hypot((double)x[1][i], (double)x[1][i + dim / 2]);
            assert_true(fabs(a - b) <= 8 * 0x1p-24 * a);
        }
    }
}

/* One element of a head's transform in double; a sum of log2(block) stages errs by as many
 * roundings, the scale and the product by one each. */
static void check_transform(const float *y, const float *x, size_t block, size_t i)
{
    double exact = 0.0;
    double absolute = 0.0;
    for (size_t j = 0; j < block; j++) {
        exact += __builtin_parityll(i & j) ? -(double)x[j] : (double)x[j];
        absolute += fabs((double)x[j]);
    }
    const double scale = 1.0 / sqrt((double)block);
    const double bound = (log2((double)block) + 2.0) * 0x1p-24 * absolute * scale;
    assert_true(fabs((double)y[i % block] - exact * scale) <= bound);
}

static void transforms_heads_as_plain_c_does(void **state)
{
    (void)state;
    static const size_t head_dims[][2] = {{2, 2},   {4, 4},    {6, 2},     {24, 8},   {16, 16},
                                          {32, 32}, {48, 16},  {64, 64},   {80, 16},  {96, 32},
                                          {100, 4}, {112, 16}, {128, 128}, {256, 256}};
    static float x[2][3 * 256], before[3 * 256];
    kfi_rng rng;
    kfi_rng_init(&rng, 15);
    for (size_t h = 0; h < COUNT(head_dims); h++) {
        const size_t dim = head_dims[h][0];
        const size_t block = head_dims[h][1];
        vector_fill(before, 3 * dim, &rng);
        memcpy(x[0], before, sizeof before);
        memcpy(x[1], before, sizeof before);
        kfi_hadamard_generic(x[0], 3, dim);
        kfi_kernels_get()->hadamard(x[1], 3, dim);
        vector_assert_same(x[0], x[1], 3 * dim);
        for (size_t i = 0; i < 3 * dim; i++) {
            check_transform(x[1] + i / block * block, before + i / block * block, block, i % block);
        }
    }
}

static void sums_exponentials_as_plain_c_does(void **state)
{
    (void)state;
    static float x[VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 6);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        const size_t n = vector_sizes[s];
        size_t best[2] = {0, 0};
        double sum = 0.0;
        double bound = 0.0;
        vector_fill(x, n, &rng);
        if (n > 40) {
            x[37] = x[3] = 2000.0f; /* the first of two maxima */
        }
        const double expected = kfi_log_sum_exp_generic(x, n, &best[0]);
        const double actual = kfi_kernels_get()->log_sum_exp(x, n, &best[1]);
        assert_memory_equal(&expected, &actual, sizeof actual);
        assert_int_equal(best[0], best[1]);
        if (n > 40 && best[1] == 37) {
            fail_msg("the second of two equal maxima");
        }
        for (size_t i = 0; i < n; i++) {
            assert_true(x[i] <= x[best[1]]);
            const double below = (double)x[best[1]] - (double)x[i];
            const double e = exp(-below);
            sum += e;
            bound += e * (below + 2.0) * 0x1p-24; /* of the difference, and an ulp of e^x */
        }
        const double exact = (double)x[best[1]] + log(sum);
        const double doubles = ((double)n / 16 + 8) * 0x1p-53 * (1.0 + fabs(exact));
        assert_true(fabs(actual - exact) <= 1.001 * bound / sum + doubles);
    }
}

/* The error of a grid in double, and how far from it the float steps may end. Three operations find
 * the code, off by 3 u |w - o| / s: near the middle of two codes that takes the other one, whose
 * error is larger by twice that many steps. The point takes two operations and e one. Then comes
 * the power, which is convex, and the sum over 16 lanes. */
static double exact_grid_error(double *bound, const kfi_grid_error_args *a)
{
    const double u = 0x1p-24;
    const double p = (double)a->exponent;
    const double n_sums = (double)a->n / 16 + 6;
    double sum = 0.0;
    double more = 0.0;
    for (size_t i = 0; i < a->n; i++) {
        const double w = (double)a->weights[i];
        const double distance = w - (double)a->offset;
        const double steps = rint(distance / (double)a->scale) + a->zero;
        const double q = fmin(fmax(steps, 0.0), a->q_max);
        const double part = (double)a->scale * (q - a->zero);
        const double e = fabs(w - (part + (double)a->offset));
        const double shift = u * (6.0 * fabs(distance) + 2.0 * fabs(part) + fabs(w) + 2.0 * e);
        const double importance = a->importance != NULL ? (double)a->importance[i] : 1.0;
        sum += importance * pow(e, p);
        more += importance * (pow(e + shift, p) - pow(e, p));
    }
    *bound = more + (n_sums * u + (a->exponent == 2.0f ? u : 1e-4)) * (sum + more);
    return sum;
}

static void ranks_grids_as_plain_c_does(void **state)
{
    (void)state;
    static const float exponents[] = {2.0f, 2.4f, 3.0f, 4.0f};
    static float weights[VECTOR_MOST], importance[VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 7);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        for (size_t i = 0; i < 4 * COUNT(exponents); i++) {
            const bool is_offset = i % 3 == 0;
            for (size_t k = 0; k < vector_sizes[s]; k++) {
                weights[k] = 0.02f * kfi_rng_normal(&rng);
                importance[k] = kfi_rng_uniform(&rng);
            }
            const kfi_grid_error_args args = {.weights = weights,
                                              .importance = i % 2 == 0 ? importance : NULL,
                                              .n = vector_sizes[s],
                                              .scale = 0.004f * kfi_rng_normal(&rng),
                                              .offset = is_offset ? -0.03f : 0.0f,
                                              .zero = is_offset ? 0 : 8,
                                              .q_max = 15,
                                              .exponent = exponents[i / 4]};
            const float expected = kfi_grid_error_generic(&args);
            const float actual = kfi_kernels_get()->grid_error(&args);
            double bound = 0.0;
            const double exact = exact_grid_error(&bound, &args);
            vector_assert_same(&expected, &actual, 1);
            assert_true(fabs((double)actual - exact) <= bound);
        }
    }
}

/* Every entry is tried for every weight. */
static double exact_table_error(const kfi_grid_error_args *a)
{
    double sum = 0.0;
    for (size_t i = 0; i < a->n; i++) {
        double least = (double)INFINITY;
        for (int32_t q = 0; q <= a->q_max; q++) {
            least = fmin(least, fabs((double)a->weights[i] - (double)a->scale * a->table[q]));
        }
        sum += (a->importance != NULL ? (double)a->importance[i] : 1.0) *
               pow(least, (double)a->exponent);
    }
    return sum;
}

static void ranks_codebooks_as_plain_c_does(void **state)
{
    (void)state;
    static const float exponents[] = {2.0f, 2.4f, 4.0f};
    static float weights[VECTOR_MOST], importance[VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 8);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        for (size_t i = 0; i < 3 * COUNT(exponents); i++) {
            const int8_t table[16] = {-128, -90, -60, -45, -30, -30, -7, 1,
                                      2,    10,  20,  30,  44,  60,  90, 127};
            for (size_t k = 0; k < vector_sizes[s]; k++) {
                weights[k] = kfi_rng_normal(&rng);
                importance[k] = kfi_rng_uniform(&rng);
            }
            const kfi_grid_error_args args = {.weights = weights,
                                              .importance = i % 2 == 0 ? importance : NULL,
                                              .n = vector_sizes[s],
                                              .scale = 0.02f * kfi_rng_normal(&rng),
                                              .q_max = i % 2 == 0 ? 15 : 7,
                                              .table = table,
                                              .exponent = exponents[i / 3]};
            const float expected = kfi_grid_error_generic(&args);
            const float actual = kfi_kernels_get()->grid_error(&args);
            vector_assert_same(&expected, &actual, 1);
            /* The power is within 1e-4 where it is not 2; an error near nothing has lost digits. */
            const double exact = exact_table_error(&args);
            assert_true(fabs((double)actual - exact) <= 1e-3 * exact + 1e-9);
        }
    }
}

/* The level of 6-bit floats nearest to v: all magnitudes are tried. */
static double float_distance(double v)
{
    double least = fabs(v);
    for (int e = 0; e < 8; e++) {
        for (int m = 0; m < 4; m++) {
            const double level = e == 0 ? m : ldexp(4 + m, e - 1);
            least = fmin(least, fabs(fabs(v) - level));
        }
    }
    return least;
}

static void ranks_floats_of_6_bits_as_plain_c_does(void **state)
{
    (void)state;
    static float weights[VECTOR_MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 9);
    for (size_t s = 0; s < VECTOR_SIZES; s++) {
        for (size_t i = 0; i < 8; i++) {
            const float scale = 0.01f * kfi_rng_normal(&rng);
            double exact = 0.0;
            for (size_t k = 0; k < vector_sizes[s]; k++) {
                weights[k] = kfi_rng_normal(&rng) * ldexpf(1.0f, -(int)kfi_rng_below(&rng, 8));
                const double e = (double)scale * float_distance((double)weights[k] / (double)scale);
                exact += e * e;
            }
            const kfi_grid_error_args args = {.weights = weights,
                                              .n = vector_sizes[s],
                                              .scale = scale,
                                              .is_e3m2 = true,
                                              .exponent = 2};
            const float expected = kfi_grid_error_generic(&args);
            const float actual = kfi_kernels_get()->grid_error(&args);
            vector_assert_same(&expected, &actual, 1);
            assert_true(fabs((double)actual - exact) <= 1e-4 * exact + 1e-12);
        }
    }
}

static void ranks_nothing_as_no_error(void **state)
{
    (void)state;
    const float w[3] = {1.0f, -2.0f, 3.0f};
    kfi_grid_error_args args = {.weights = w, .scale = 1.0f, .q_max = 15, .zero = 8, .exponent = 2};
    assert_true(kfi_kernels_get()->grid_error(&args) == 0.0f);
    args.n = 3;
    assert_true(kfi_kernels_get()->grid_error(&args) == 0.0f); /* all are on the grid */
    args.scale = 0.0f;
    assert_true(kfi_kernels_get()->grid_error(&args) == 14.0f); /* all become 0 */
}

static void sums_every_word_of_every_line(void **state)
{
    (void)state;
    enum {
        n_lines = 37
    };
    static _Alignas(64) uint32_t words[n_lines * 16];
    kfi_rng rng;
    kfi_rng_init(&rng, 20);
    for (size_t i = 0; i < COUNT(words); i++) {
        words[i] = (uint32_t)kfi_rng_next(&rng);
    }
    uint32_t sum = 0;
    for (size_t n = 0; n <= n_lines; n++) {
        assert_int_equal(kfi_sum_lines_generic(words, n), sum);
        assert_int_equal(kfi_kernels_get()->sum_lines(words, n), sum);
        for (size_t i = 16 * n; n < n_lines && i < 16 * (n + 1); i++) {
            sum += words[i];
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalizes_as_plain_c_does),
        cmocka_unit_test(gates_as_plain_c_does),
        cmocka_unit_test(adds_as_plain_c_does),
        cmocka_unit_test(rotates_as_plain_c_does),
        cmocka_unit_test(transforms_heads_as_plain_c_does),
        cmocka_unit_test(sums_exponentials_as_plain_c_does),
        cmocka_unit_test(ranks_grids_as_plain_c_does),
        cmocka_unit_test(ranks_codebooks_as_plain_c_does),
        cmocka_unit_test(ranks_floats_of_6_bits_as_plain_c_does),
        cmocka_unit_test(ranks_nothing_as_no_error),
        cmocka_unit_test(sums_every_word_of_every_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
