/* rotate_generic.c - rotations in plain C: their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "kernels/kernels_list.h"

static void change_signs(float *x, const int8_t *signs, size_t n)
{
    for (size_t i = 0; signs != NULL && i < n; i++) {
        x[i] *= (float)signs[i];
    }
}

/* Element i of every block. */
static void mix(float *x, const kfi_rotation *r, size_t i)
{
    float column[KFI_ROTATION_MOST];
    const float scale = 1.0f / sqrtf((float)r->m);
    for (size_t j = 0; j < r->m; j++) {
        column[j] = x[j * r->block + i];
    }
    for (size_t a = 0; a < r->m; a++) {
        float sum = 0.0f;
        for (size_t j = 0; j < r->m; j++) {
            sum += r->matrix[a * r->m + j] * column[j]; /* the product is exact */
        }
        x[a * r->block + i] = sum * scale;
    }
}

void kfi_rotate_generic(float *x, const kfi_rotation *rotation)
{
    const size_t n = rotation->m * rotation->block;
    change_signs(x, rotation->signs, n);
    kfi_hadamard_generic(x, rotation->m, rotation->block);
    for (size_t i = 0; rotation->matrix != NULL && i < rotation->block; i++) {
        mix(x, rotation, i);
    }
    change_signs(x, rotation->undoing, n);
}
