/* Products of float matrices in use (KERF_ISA) against their definition, bit for bit, and against
 * double.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "kernels/kernels_list.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define POOL         65536u

static const kfi_gemm_kind kinds[] = {KFI_GEMM_NN, KFI_GEMM_NT, KFI_GEMM_TN};

/* A block of exactly n floats out of a stock of random ones, so that a sanitizer sees what is read
 * behind it. */
static float *floats(size_t n, size_t seed)
{
    static float pool[POOL];
    if (pool[0] == 0.0f) { /* float ==: never written */
        kfi_rng rng;
        kfi_rng_init(&rng, 1);
        for (size_t i = 0; i < POOL; i++) {
            pool[i] = kfi_rng_normal(&rng);
        }
    }
    float *x = kfi_alloc(NULL, n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = pool[(i + 1021 * seed) % POOL];
    }
    return x;
}

/* Random operands; rows of all three matrices are `gap` longer than what is used. */
static kfi_gemm gemm_new(kfi_gemm_kind kind, size_t m, size_t n, size_t k, size_t gap)
{
    kfi_gemm g = {.kind = kind, .m = m, .n = n, .k = k, .ld_c = n + gap};
    const size_t rows_a = kind == KFI_GEMM_TN ? k : m;
    const size_t rows_b = kind == KFI_GEMM_NT ? n : k;
    g.ld_a = (kind == KFI_GEMM_TN ? m : k) + gap;
    g.ld_b = (kind == KFI_GEMM_NT ? k : n) + gap;
    g.a = floats(rows_a * g.ld_a - gap, 1);
    g.b = floats(rows_b * g.ld_b - gap, 2);
    g.c = floats(m * g.ld_c - gap, 3);
    return g;
}

static void gemm_free(const kfi_gemm *g)
{
    kfi_free(NULL, (float *)(uintptr_t)g->a, 0);
    kfi_free(NULL, (float *)(uintptr_t)g->b, 0);
    kfi_free(NULL, g->c, 0);
}

static float element_a(const kfi_gemm *g, size_t i, size_t p)
{
    return g->kind == KFI_GEMM_TN ? g->a[p * g->ld_a + i] : g->a[i * g->ld_a + p];
}

static float element_b(const kfi_gemm *g, size_t p, size_t j)
{
    return g->kind == KFI_GEMM_NT ? g->b[j * g->ld_b + p] : g->b[p * g->ld_b + j];
}

/* What kernels.h says of an element whose value was c. */
static float define(const kfi_gemm *g, size_t i, size_t j, float c)
{
    for (size_t begin = 0; begin < g->k; begin += KFI_GEMM_DEPTH) {
        float t = 0.0f;
        for (size_t p = begin; p < g->k && p < begin + KFI_GEMM_DEPTH; p++) {
            t = fmaf(element_a(g, i, p), element_b(g, p, j), t);
        }
        c = begin == 0 && !g->add ? t : c + t;
    }
    return c;
}

static void check_bits(const kfi_gemm *g)
{
    const size_t n_c = (g->m - 1) * g->ld_c + g->n;
    float *const expected = floats(n_c, 3);
    for (size_t i = 0; i < g->m; i++) {
        for (size_t j = 0; j < g->n; j++) {
            expected[i * g->ld_c + j] = define(g, i, j, expected[i * g->ld_c + j]);
        }
    }
    kfi_kernels_get()->gemm(g);
    if (memcmp(expected, g->c, n_c * sizeof *expected) != 0) {
        fail_msg("kind %d, %zu x %zu x %zu, added %d", (int)g->kind, g->m, g->n, g->k, g->add);
    }
    kfi_free(NULL, expected, 0);
}

/* Every height of a tile and one more, both sides of every width, ends of a square and a block. */
static void follows_the_definition_to_the_bit(void **state)
{
    (void)state;
    static const size_t widths[] = {1, 15, 16, 17, 31, 32, 33, 70};
    static const size_t depths[] = {1,   2,  15, 16, 17, 40, KFI_GEMM_DEPTH - 1, KFI_GEMM_DEPTH,
                                    193, 400};
    for (size_t m = 1; m <= 15; m++) {
        for (size_t i = 0; i < COUNT(widths) * COUNT(depths) * COUNT(kinds); i++) {
            const size_t n = widths[i % COUNT(widths)];
            const size_t k = depths[i / COUNT(widths) % COUNT(depths)];
            kfi_gemm g = gemm_new(kinds[i / COUNT(widths) / COUNT(depths)], m, n, k, m % 4);
            g.add = (m + i) % 2 == 0;
            check_bits(&g);
            gemm_free(&g);
        }
    }
}

static void follows_the_definition_over_many_tiles_and_blocks(void **state)
{
    (void)state;
    static const size_t shapes[][3] = {{1, 300, 600}, {29, 130, 577}, {100, 33, 1000}};
    for (size_t i = 0; i < COUNT(shapes) * COUNT(kinds) * 2; i++) {
        const size_t *shape = shapes[i / 6];
        kfi_gemm g = gemm_new(kinds[i % 3], shape[0], shape[1], shape[2], 5);
        g.add = i % 6 >= 3;
        check_bits(&g);
        gemm_free(&g);
    }
}

static void does_nothing_without_rows_or_columns(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const kfi_gemm whole = gemm_new(kinds[i], 3, 40, 50, 0);
        kfi_gemm part = whole;
        part.m = 0;
        kfi_kernels_get()->gemm(&part);
        part.m = 3;
        part.n = 0;
        kfi_kernels_get()->gemm(&part);
        float *const untouched = floats(3 * whole.ld_c, 3);
        assert_memory_equal(whole.c, untouched, 3 * whole.ld_c * sizeof(float));
        kfi_free(NULL, untouched, 0);
        gemm_free(&whole);
    }
}

/* A batch gives each row what it gets alone, and a piece of the columns what the whole gives. */
static void gives_the_same_bits_however_the_result_is_cut(void **state)
{
    (void)state;
    for (size_t i_kind = 0; i_kind < COUNT(kinds); i_kind++) {
        const kfi_gemm whole = gemm_new(kinds[i_kind], 31, 77, 500, 2);
        kfi_kernels_get()->gemm(&whole);
        for (size_t rows = 1; rows <= 30; rows += 7) {
            kfi_gemm part = whole;
            part.m = rows;
            part.n = 77 - rows;
            part.a += (31 - rows) * (whole.kind == KFI_GEMM_TN ? 1 : whole.ld_a);
            part.b += rows * (whole.kind == KFI_GEMM_NT ? whole.ld_b : 1);
            part.ld_c = 80;
            part.c = floats(31 * 80, 9);
            kfi_kernels_get()->gemm(&part);
            for (size_t i = 0; i < rows; i++) {
                assert_memory_equal(part.c + i * 80, whole.c + (31 - rows + i) * whole.ld_c + rows,
                                    part.n * sizeof(float));
            }
            kfi_free(NULL, part.c, 0);
        }
        gemm_free(&whole);
    }
}

/* A sum of d products errs by at most d u sum |a b|, to first order, and the sum of the blocks by
 * their number. */
static void is_as_exact_as_sums_of_blocks_are(void **state)
{
    (void)state;
    const kfi_gemm g = gemm_new(KFI_GEMM_NT, 3, 40, 5000, 0);
    const double steps = (double)KFI_GEMM_DEPTH + 5000.0 / KFI_GEMM_DEPTH + 2.0;
    kfi_kernels_get()->gemm(&g);
    for (size_t i = 0; i < g.m * g.n; i++) {
        double sum = 0.0;
        double magnitude = 0.0;
        for (size_t p = 0; p < g.k; p++) {
            const double term =
                (double)element_a(&g, i / g.n, p) * (double)element_b(&g, p, i % g.n);
            sum += term;
            magnitude += fabs(term);
        }
        assert_true(fabs((double)g.c[i] - sum) <= steps * 0x1p-24 * magnitude);
    }
    gemm_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_definition_to_the_bit),
        cmocka_unit_test(follows_the_definition_over_many_tiles_and_blocks),
        cmocka_unit_test(does_nothing_without_rows_or_columns),
        cmocka_unit_test(gives_the_same_bits_however_the_result_is_cut),
        cmocka_unit_test(is_as_exact_as_sums_of_blocks_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
