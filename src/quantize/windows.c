/* windows.c - random windows by the seed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/windows.h"

#include "base/rng.h"

void kfi_windows_draw(size_t *offsets, size_t n, size_t begin, size_t end, size_t length,
                      uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        offsets[i] = begin + (size_t)kfi_rng_below(&rng, end - begin - length + 1);
    }
}
