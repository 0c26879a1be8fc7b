/* gemm.c - one product of float matrices on one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/gemm.h"

#include <cblas.h>
#include <stdint.h>
#include <string.h>

#include "base/once.h"

#define PLAIN_K 256 /* depth of a block: 64 rows of b stay in the second-level cache */
#define PLAIN_N 64

/* Element (i, p) of op(a) and (p, j) of op(b). */
static inline float element_a(const kfi_gemm *g, size_t i, size_t p)
{
    return g->kind == KFI_GEMM_TN ? g->a[p * g->ld_a + i] : g->a[i * g->ld_a + p];
}

static inline float element_b(const kfi_gemm *g, size_t p, size_t j)
{
    return g->kind == KFI_GEMM_NT ? g->b[j * g->ld_b + p] : g->b[p * g->ld_b + j];
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Adds the product over p_begin … p_end-1 to columns j_begin … j_end-1 of c. The block of b is laid
 * out by columns first, so that the inner loop runs over neighbours whatever the kind. */
static void plain_block(const kfi_gemm *g, size_t j_begin, size_t j_end, size_t p_begin,
                        size_t p_end)
{
    float b[PLAIN_K][PLAIN_N];
    for (size_t p = p_begin; p < p_end; p++) {
        for (size_t j = j_begin; j < j_end; j++) {
            b[p - p_begin][j - j_begin] = element_b(g, p, j);
        }
    }
    for (size_t i = 0; i < g->m; i++) {
        float *c = g->c + i * g->ld_c + j_begin;
        for (size_t p = p_begin; p < p_end; p++) {
            const float a = element_a(g, i, p);
            for (size_t j = 0; j < j_end - j_begin; j++) {
                c[j] += a * b[p - p_begin][j];
            }
        }
    }
}

void kfi_gemm_run_plain(const kfi_gemm *gemm)
{
    if (!gemm->add) {
        for (size_t i = 0; i < gemm->m; i++) {
            memset(gemm->c + i * gemm->ld_c, 0, gemm->n * sizeof(float));
        }
    }
    for (size_t j = 0; j < gemm->n; j += PLAIN_N) {
        for (size_t p = 0; p < gemm->k; p += PLAIN_K) {
            plain_block(gemm, j, least(j + PLAIN_N, gemm->n), p, least(p + PLAIN_K, gemm->k));
        }
    }
}

/* One row of x against rows of w is a matrix times a vector, which reads w once. */
static void blas_product(const kfi_gemm *g)
{
    const float beta = g->add ? 1.0f : 0.0f;
    if (g->kind == KFI_GEMM_NT && g->m == 1) {
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)g->n, (int)g->k, 1.0f, g->b, (int)g->ld_b,
                    g->a, 1, beta, g->c, 1);
        return;
    }
    cblas_sgemm(CblasRowMajor, g->kind == KFI_GEMM_TN ? CblasTrans : CblasNoTrans,
                g->kind == KFI_GEMM_NT ? CblasTrans : CblasNoTrans, (int)g->m, (int)g->n, (int)g->k,
                1.0f, g->a, (int)g->ld_a, g->b, (int)g->ld_b, beta, g->c, (int)g->ld_c);
}

/* Sizes that touch the kernel's main tile and its edges in every direction. */
#define CHECK_M 37
#define CHECK_N 53
#define CHECK_K 300

/* Compares one product with plain C. Inputs are small integers over a power of two, so that both
 * sums are exact and must be equal. */
static bool agrees_with_plain(kfi_gemm_fn *run, kfi_gemm_kind kind, size_t m)
{
    float a[CHECK_K * CHECK_M];
    float b[CHECK_K * CHECK_N];
    float expected[CHECK_M * CHECK_N];
    float found[CHECK_M * CHECK_N];
    uint32_t state = 12345;
    for (size_t i = 0; i < CHECK_K * CHECK_N; i++) {
        state = state * 1664525u + 1013904223u;
        b[i] = ((float)(state >> 26) - 31.0f) / 32.0f;
        if (i < CHECK_K * CHECK_M) {
            a[i] = ((float)(state >> 20 & 63u) - 32.0f) / 32.0f;
        }
    }
    kfi_gemm g = {.kind = kind, .m = m, .n = CHECK_N, .k = CHECK_K, .a = a, .b = b};
    g.ld_a = kind == KFI_GEMM_TN ? m : CHECK_K;
    g.ld_b = kind == KFI_GEMM_NT ? CHECK_K : CHECK_N;
    g.ld_c = CHECK_N;
    g.c = expected;
    kfi_gemm_run_plain(&g);
    g.c = found;
    run(&g);
    return memcmp(expected, found, m * CHECK_N * sizeof(float)) == 0;
}

bool kfi_gemm_check(kfi_gemm_fn *run)
{
    return agrees_with_plain(run, KFI_GEMM_NN, CHECK_M) &&
           agrees_with_plain(run, KFI_GEMM_NT, CHECK_M) &&
           agrees_with_plain(run, KFI_GEMM_TN, CHECK_M) && agrees_with_plain(run, KFI_GEMM_NT, 1);
}

/* Written once, read-only afterwards. */
static kfi_once init_once = KFI_ONCE_INIT;
static bool is_sound;

static void init(void)
{
    openblas_set_num_threads(1);
    is_sound = kfi_gemm_check(blas_product);
}

void kfi_blas_init(void)
{
    kfi_once_run(&init_once, init);
}

bool kfi_blas_is_sound(void)
{
    kfi_blas_init();
    return is_sound;
}

const char *kfi_blas_warning(void)
{
    return kfi_blas_is_sound() ? NULL
                               : "OpenBLAS gives wrong results on this machine and is not used: "
                                 "float matrix products are slow";
}

void kfi_gemm_run(const kfi_gemm *gemm)
{
    if (kfi_blas_is_sound()) {
        blas_product(gemm);
    } else {
        kfi_gemm_run_plain(gemm);
    }
}
