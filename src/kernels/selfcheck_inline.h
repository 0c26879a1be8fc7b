/* selfcheck_inline.h - sizes and floats of the self-checks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_SELFCHECK_INLINE_H
#define KFI_KERNELS_SELFCHECK_INLINE_H

#include <string.h>

#include "base/rng.h"
#include "kernels/selfcheck.h"

enum {
    rows = 35, /* three panels, the last with three rows */
    cols = 72, /* two groups of 64, the last one short */
    padded = 96,
    panels = 3,
    groups = 2,
};

static inline void fill(float *x, size_t n, uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        x[i] = 2.0f * kfi_rng_uniform(&rng) - 1.0f;
    }
}

static inline bool same(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

#endif /* KFI_KERNELS_SELFCHECK_INLINE_H */
