/* gemm.h - one product of float matrices on one thread, by OpenBLAS where it can be trusted.
 *
 * OpenBLAS chooses its kernel by the processor's model number and has chosen wrong ones for
 * processors newer than itself. So its product is compared once with plain C, and if it differs,
 * plain C is what runs, and a warning says so.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_LINALG_GEMM_H
#define KFI_LINALG_GEMM_H

#include <stdbool.h>
#include <stddef.h>

/* How the operands of c[m][n] = beta c + op(a)[m][k] op(b)[k][n] lie in memory. All are row-major
 * with a row stride in elements. */
typedef enum kfi_gemm_kind {
    KFI_GEMM_NN, /* a[m][k], b[k][n] */
    KFI_GEMM_NT, /* a[m][k], b[n][k] */
    KFI_GEMM_TN  /* a[k][m], b[k][n] */
} kfi_gemm_kind;

typedef struct kfi_gemm {
    kfi_gemm_kind kind;
    size_t m, n, k;
    const float *a;
    size_t ld_a;
    const float *b;
    size_t ld_b;
    bool add; /* beta: false 0, true 1 */
    float *c;
    size_t ld_c;
} kfi_gemm;

/* Makes OpenBLAS single-threaded and checks it; the first call does the work. Reentrant. Called by
 * kfi_gemm_run(), and by what uses LAPACK. */
void kfi_blas_init(void);
/* False where OpenBLAS's product was wrong. */
bool kfi_blas_is_sound(void);
/* What to tell the user then, or NULL. */
const char *kfi_blas_warning(void);

typedef void kfi_gemm_fn(const kfi_gemm *gemm);
/* Whether products of every kind, and one with a vector, are those of plain C to the bit, on inputs
 * whose sums are exact. */
bool kfi_gemm_check(kfi_gemm_fn *run);

void kfi_gemm_run(const kfi_gemm *gemm);
/* The same in plain C: sums ascend in k in chunks that fit the cache. */
void kfi_gemm_run_plain(const kfi_gemm *gemm);

#endif /* KFI_LINALG_GEMM_H */
