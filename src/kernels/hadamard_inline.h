/* hadamard_inline.h - the Walsh-Hadamard transform of one block.
 *
 * Source: Fino, Algazi, "Unified Matrix Treatment of the Fast Walsh-Hadamard Transform", 1976.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_HADAMARD_INLINE_H
#define KFI_KERNELS_HADAMARD_INLINE_H

#include <math.h>
#include <stddef.h>

/* The greatest power of two that divides n. */
static inline size_t kfi_hadamard_block(size_t n)
{
    return n & (~n + 1);
}

static inline float kfi_hadamard_scale(size_t block)
{
    return 1.0f / sqrtf((float)block);
}

/* A block of any size, in plain C: sums and differences of what is `stride` apart. */
static inline void kfi_hadamard_transform(float *x, size_t block)
{
    const float scale = kfi_hadamard_scale(block);
    for (size_t stride = 1; stride < block; stride *= 2) {
        for (size_t i = 0; i < block; i += 2 * stride) {
            for (size_t j = i; j < i + stride; j++) {
                const float a = x[j];
                const float b = x[j + stride];
                x[j] = a + b;
                x[j + stride] = a - b;
            }
        }
    }
    for (size_t i = 0; i < block; i++) {
        x[i] *= scale;
    }
}

#endif /* KFI_KERNELS_HADAMARD_INLINE_H */
