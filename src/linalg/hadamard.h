/* hadamard.h - orthonormal Hadamard matrices of the widths that models have.
 *
 *     n = m 2^k        H = (H_m (x) W) / sqrt(n)        element a 2^k + b of a row belongs to block
 * a
 *
 * W is the Walsh-Hadamard matrix of 2^k; H_m the matrix of the smallest order m = 4 odd, 8 odd, …
 * (odd being n's odd factor; m = 1 where that is 1) that one of Paley's constructions gives, the
 * first before the second:
 *
 *     I    q = m - 1, a prime power, 3 mod 4:    H_m = [ 1  1 ]      Q[i][j] = chi(i - j)
 *                                                      [-1 Q+1]
 *     II   q = m/2 - 1, a prime power, 1 mod 4:  H_m = [0 1] (x) [1  1] + 1 (x) [ 1 -1]
 *                                                      [1 Q]     [1 -1]         [-1 -1]
 *
 * chi is the quadratic character of GF(q): 0 of 0, 1 of squares, -1 of the others. The elements of
 * GF(p^e) are polynomials c_0 + c_1 x + … over GF(p), numbered c_0 + c_1 p + …, modulo x^e plus the
 * polynomial of the lowest number that makes a field. Matrices of checkpoints are rotated by H, so
 * that nothing of this may change.
 *
 * Source: R. E. A. C. Paley, "On Orthogonal Matrices", Journal of Mathematics and Physics 12, 1933.
 *
 * H is not symmetric in general: what goes through H is undone by its transpose.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_LINALG_HADAMARD_H
#define KFI_LINALG_HADAMARD_H

#include "base/threads.h"
#include "kerf/alloc.h"
#include "kerf/error.h"
#include "kernels/kernels.h"

typedef struct kfi_hadamard {
    const kf_allocator *alloc;
    size_t n, m, block; /* n = m block */
    float *matrix;      /* H_m, [m][m]; NULL where m is 1 */
    float *transposed;
} kfi_hadamard;

/* Whether there is one of n elements. KF_UNSUPPORTED where there is none, or only one with m above
 * KFI_ROTATION_MOST. */
KF_NODISCARD kf_status kfi_hadamard_check(size_t n, kf_error *err);

/* KF_UNSUPPORTED, KF_NOMEM: nothing is held. */
KF_NODISCARD kf_status kfi_hadamard_init(kfi_hadamard *hadamard, size_t n,
                                         const kf_allocator *alloc, kf_error *err);
/* Zeros are fine. */
void kfi_hadamard_deinit(kfi_hadamard *hadamard);

/* x -> H (signs x), and back: y -> signs (H^T y). signs [n], 1 and -1, borrowed; NULL: all 1. */
kfi_rotation kfi_hadamard_forward(const kfi_hadamard *hadamard, const int8_t *signs);
kfi_rotation kfi_hadamard_back(const kfi_hadamard *hadamard, const int8_t *signs);

/* Rotates every row of x[n_rows][n], split over the pool. A layer whose input is rotated forward
 * has the rows of its matrix rotated forward, too: W x = (W S H^T) (H S x). */
void kfi_hadamard_rows(kf_pool *pool, const kfi_rotation *rotation, float *x, size_t n_rows);

#endif /* KFI_LINALG_HADAMARD_H */
