/* gemm_generic.c - products of float matrices, in plain C: the definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <math.h>

#include "kernels/kernels_list.h"

#define COLS 32 /* of b at once: a block of them stays in the first-level cache */

/* Element (i, p) of op(a) and (p, j) of op(b). */
static float element_a(const kfi_gemm *g, size_t i, size_t p)
{
    return g->kind == KFI_GEMM_TN ? g->a[p * g->ld_a + i] : g->a[i * g->ld_a + p];
}

static float element_b(const kfi_gemm *g, size_t p, size_t j)
{
    return g->kind == KFI_GEMM_NT ? g->b[j * g->ld_b + p] : g->b[p * g->ld_b + j];
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Products p_begin … p_end-1 of columns j_begin … j_end-1 of c. */
static void multiply_block(const kfi_gemm *g, size_t j_begin, size_t j_end, size_t p_begin,
                           size_t p_end)
{
    float b[KFI_GEMM_DEPTH][COLS];
    for (size_t p = p_begin; p < p_end; p++) {
        for (size_t j = j_begin; j < j_end; j++) {
            b[p - p_begin][j - j_begin] = element_b(g, p, j);
        }
    }
    for (size_t i = 0; i < g->m; i++) {
        float *const c = g->c + i * g->ld_c;
        float t[COLS] = {0};
        for (size_t p = p_begin; p < p_end; p++) {
            const float a = element_a(g, i, p);
            for (size_t j = 0; j < j_end - j_begin; j++) {
                t[j] = fmaf(a, b[p - p_begin][j], t[j]);
            }
        }
        for (size_t j = j_begin; j < j_end; j++) {
            c[j] = g->add || p_begin > 0 ? c[j] + t[j - j_begin] : t[j - j_begin];
        }
    }
}

void kfi_gemm_generic(const kfi_gemm *g)
{
    assert(g->k > 0);
    for (size_t j = 0; j < g->n; j += COLS) {
        for (size_t p = 0; p < g->k; p += KFI_GEMM_DEPTH) {
            multiply_block(g, j, least(j + COLS, g->n), p, least(p + KFI_GEMM_DEPTH, g->k));
        }
    }
}
