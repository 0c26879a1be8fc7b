/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "fixtures.h"
#include "linalg/hadamard.h"

/* Widths of the hidden states, heads and feed-forward layers of Llama and Qwen models and of the
 * tests, with the orders that they take. */
static const struct width {
    size_t n, m;
} widths[] = {
    {1, 1},       {64, 1},     {96, 12},     {128, 1},     {576, 36},       {896, 28},
    {960, 60},    {1024, 1},   {1536, 12},   {2048, 1},    {2304, 36},      {2560, 20},
    {3072, 12},   {3584, 28},  {4096, 1},    {4864, 76},   {5120, 20},      {5632, 44},
    {6912, 108},  {8192, 1},   {8960, 140},  {9216, 36},   {11008, 344},    {12288, 12},
    {13824, 108}, {14336, 28}, {18944, 148}, {27648, 108}, {28672, 28},     {52, 52},
    {100, 100},   {244, 244},  {340, 340},   {488, 244},   {512 * 23, 368},
};
#define N_WIDTHS (sizeof widths / sizeof widths[0])

static kfi_hadamard make(size_t n)
{
    kf_error err = {0};
    kfi_hadamard h;
    CHECK_OK(kfi_hadamard_init(&h, n, NULL, &err), &err);
    return h;
}

static void matrices_of_all_widths_are_orthogonal(void **state)
{
    (void)state;
    for (size_t w = 0; w < N_WIDTHS; w++) {
        kfi_hadamard h = make(widths[w].n);
        assert_int_equal(h.m, widths[w].m);
        assert_int_equal(h.m * h.block, widths[w].n);
        for (size_t i = 0; i < h.m && h.matrix != NULL; i++) {
            for (size_t k = 0; k <= i; k++) {
                float sums[2] = {0.0f, 0.0f}; /* of integers: exact */
                for (size_t j = 0; j < h.m; j++) {
                    assert_true(fabsf(h.matrix[i * h.m + j]) == 1.0f);
                    assert_true(h.matrix[i * h.m + j] == h.transposed[j * h.m + i]);
                    sums[0] += h.matrix[i * h.m + j] * h.matrix[k * h.m + j];
                    sums[1] += h.matrix[j * h.m + i] * h.matrix[j * h.m + k];
                }
                assert_true(sums[0] == (i == k ? (float)h.m : 0.0f));
                assert_true(sums[1] == sums[0]);
            }
        }
        kfi_hadamard_deinit(&h);
    }
}

static float *random_rows(size_t n, kfi_rng *rng)
{
    float *x = kfi_alloc(NULL, n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = kfi_rng_normal(rng);
    }
    return x;
}

/* Rounding moves an element of length 1 by about sqrt(stages) 2^-24; the bound has 20 times that.
 */
static void rotating_back_gives_what_was_there(void **state)
{
    (void)state;
    static int8_t signs[28672];
    kfi_rng rng;
    kfi_rng_init(&rng, 31);
    for (size_t i = 0; i < sizeof signs; i++) {
        signs[i] = kfi_rng_below(&rng, 2) == 0 ? 1 : -1;
    }
    for (size_t w = 0; w < N_WIDTHS; w++) {
        const size_t n = widths[w].n;
        kfi_hadamard h = make(n);
        float *x = random_rows(3 * n, &rng);
        float *y = kfi_alloc(NULL, 3 * n * sizeof *y);
        memcpy(y, x, 3 * n * sizeof *y);
        const kfi_rotation forward = kfi_hadamard_forward(&h, signs);
        const kfi_rotation back = kfi_hadamard_back(&h, signs);
        kfi_hadamard_rows(NULL, &forward, y, 3);
        double lengths[2] = {0.0, 0.0};
        for (size_t i = 0; i < n; i++) {
            lengths[0] += (double)x[i] * (double)x[i];
            lengths[1] += (double)y[i] * (double)y[i];
        }
        assert_true(fabs(lengths[1] / lengths[0] - 1.0) < 1e-5);
        kfi_hadamard_rows(NULL, &back, y, 3);
        for (size_t i = 0; i < 3 * n; i++) {
            assert_true(fabsf(x[i] - y[i]) < 2e-5f);
        }
        kfi_free(NULL, x, 3 * n * sizeof *x);
        kfi_free(NULL, y, 3 * n * sizeof *y);
        kfi_hadamard_deinit(&h);
    }
}

/* What the documentation says of order 12 (q = 11), and some of 52 (q = 25), by hand. */
static void elements_are_those_of_the_documentation(void **state)
{
    (void)state;
    static const int residues[11] = {0, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1}; /* modulo 11 */
    kfi_hadamard h = make(12);
    for (size_t i = 0; i < 12; i++) {
        for (size_t j = 0; j < 12; j++) {
            const int expected = i == j || i == 0 ? 1
                                 : j == 0         ? -1
                                                  : residues[(i - 1 + 11 - (j - 1)) % 11];
            assert_true(h.matrix[i * 12 + j] == (float)expected);
        }
    }
    kfi_hadamard_deinit(&h);
    h = make(52);
    for (size_t a = 1; a < 5; a++) { /* the constants are squares in GF(25) */
        assert_true(h.matrix[2 * (1 + a) * 52 + 2] == 1.0f);
    }
    assert_true(h.matrix[0] == 1.0f && h.matrix[1] == -1.0f && h.matrix[53] == -1.0f);
    kfi_hadamard_deinit(&h);
}

/* FNV-1a of the signs: checkpoints depend on every one of them. */
static void matrices_stay_what_they_were(void **state)
{
    (void)state;
    static const struct {
        size_t m;
        uint32_t hash;
    } known[] = {{12, 0xd95ebc01}, {28, 0xe4eb5a91},  {36, 0x22cdc9b5},  {52, 0x22267cf5},
                 {76, 0xde7b7a55}, {244, 0x97678a71}, {340, 0x30862775}, {344, 0x2efb8c2d}};
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        kfi_hadamard h = make(known[k].m);
        uint32_t hash = 2166136261u;
        for (size_t i = 0; i < h.m * h.m; i++) {
            hash = (hash ^ (h.matrix[i] > 0.0f)) * 16777619u;
        }
        if (hash != known[k].hash) {
            fail_msg("order %zu has %#x", known[k].m, (unsigned)hash);
        }
        kfi_hadamard_deinit(&h);
    }
}

static void other_widths_are_refused(void **state)
{
    (void)state;
    static const size_t none[] = {0, 2 * 3, 3, 92, 184, 2 * 37, 116, 1024 * 1031};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        kf_error err = {0};
        kfi_hadamard h;
        assert_int_equal(kfi_hadamard_check(none[i], &err), KF_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "no Hadamard matrix"));
        assert_int_equal(kfi_hadamard_init(&h, none[i], NULL, &err), KF_UNSUPPORTED);
    }
}

static void reports_a_failing_allocator(void **state)
{
    (void)state;
    kf_error err = {0};
    fixture_allocator a;
    kfi_hadamard h;
    fixture_allocator_init(&a, 1);
    assert_int_equal(kfi_hadamard_init(&h, 576, &a.allocator, &err), KF_NOMEM);
    assert_true(fixture_allocator_is_clean(&a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_of_all_widths_are_orthogonal),
        cmocka_unit_test(rotating_back_gives_what_was_there),
        cmocka_unit_test(elements_are_those_of_the_documentation),
        cmocka_unit_test(matrices_stay_what_they_were),
        cmocka_unit_test(other_widths_are_refused),
        cmocka_unit_test(reports_a_failing_allocator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
