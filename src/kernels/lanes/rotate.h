/* rotate.h - rotations, 16 elements of every block at a time; the same steps as
 * generic/rotate_generic.c.
 *
 *            block 0      block 1         block m-1
 *     x   [....████....|....████....| … |....████....]     the same 16 elements of each are copied
 *               │            │                │            to `lines`, from which rows of
 *               ▼            ▼                ▼            the matrix make the result's blocks,
 *     lines [m][16] ── rows of matrix ──▶ x, block a …     TILE_ROWS of them at once
 *
 * A line is loaded once for TILE_ROWS sums. m^2 fused steps for 16 elements: of 4864 = 76 x 64
 * elements they take 4 x 76^2, a twentieth of what the smallest matrix behind them takes.
 *
 * Included once by each rotate_VARIANT.c, after their lanes and VARIANT.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "kernels/kernels_list.h"
#include "kernels/lanes/names.h"
#include "kernels/lanes_inline.h"

/* Sums at once: eight where there are registers for twice as many. m is a multiple of 4. */
#define TILE_ROWS (GEMM_ROWS >= 8 ? 8 : 4)

static void change_signs(float *x, const int8_t *signs, size_t n)
{
    size_t i = 0;
    for (; i + KFI_LANES <= n; i += KFI_LANES) {
        const lanes sign = lanes_of_int(ilanes_of_signed_bytes(signs + i));
        lanes_store(x + i, lanes_mul(lanes_load(x + i), sign));
    }
    for (; i < n; i++) {
        x[i] *= (float)signs[i];
    }
}

/* Blocks a … a + n_rows - 1 of the result, their first n elements from x on. */
INLINE void mix_rows(float *x, const kfi_rotation *r, const float *lines, size_t a,
                     const size_t n_rows, size_t n)
{
    lanes sums[8];
    const float *matrix = r->matrix + a * r->m;
    const lanes scale = lanes_set1(1.0f / sqrtf((float)r->m));
    UNROLL
    for (size_t i = 0; i < n_rows; i++) {
        sums[i] = lanes_zero();
    }
    for (size_t j = 0; j < r->m; j++) {
        const lanes line = lanes_load(lines + j * KFI_LANES);
        UNROLL
        for (size_t i = 0; i < n_rows; i++) {
            sums[i] = lanes_fma(lanes_set1(matrix[i * r->m + j]), line, sums[i]);
        }
    }
    UNROLL
    for (size_t i = 0; i < n_rows; i++) {
        lanes_store_n(x + (a + i) * r->block, lanes_mul(sums[i], scale), n);
    }
}

/* The first n <= 16 elements of every block, from x on. */
static void mix(float *x, const kfi_rotation *r, size_t n)
{
    float lines[KFI_ROTATION_MOST * KFI_LANES];
    size_t a = 0;
    for (size_t j = 0; j < r->m; j++) {
        lanes_store(lines + j * KFI_LANES, lanes_load_n(x + j * r->block, n));
    }
    for (; a + TILE_ROWS <= r->m; a += TILE_ROWS) {
        mix_rows(x, r, lines, a, TILE_ROWS, n);
    }
    for (; a < r->m; a += 4) {
        mix_rows(x, r, lines, a, 4, n);
    }
}

void KERNEL_NAME(rotate)(float *x, const kfi_rotation *rotation)
{
    const size_t block = rotation->block;
    const size_t n = rotation->m * block;
    if (rotation->signs != NULL) {
        change_signs(x, rotation->signs, n);
    }
    KERNEL_NAME(hadamard)(x, rotation->m, block);
    for (size_t i = 0; rotation->matrix != NULL && i < block; i += KFI_LANES) {
        mix(x + i, rotation, block - i < KFI_LANES ? block - i : KFI_LANES);
    }
    if (rotation->undoing != NULL) {
        change_signs(x, rotation->undoing, n);
    }
}
