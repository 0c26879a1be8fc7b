/* rng.h - a small seeded generator: same seed, same numbers on every machine.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_RNG_H
#define KFI_BASE_RNG_H

#include <stdint.h>

/* xoshiro256**, seeded through splitmix64. Source: Blackman and Vigna, "Scrambled linear
 * pseudorandom number generators", 2018, arXiv:1805.01407. */
typedef struct kfi_rng {
    uint64_t state[4];
} kfi_rng;

void kfi_rng_init(kfi_rng *rng, uint64_t seed);
uint64_t kfi_rng_next(kfi_rng *rng);
/* Uniform in 0 … n-1, without bias; n > 0. */
uint64_t kfi_rng_below(kfi_rng *rng, uint64_t n);
/* Uniform in [0, 1), 24 bits. */
float kfi_rng_uniform(kfi_rng *rng);
/* Standard normal (Box-Muller, one value a call, in double inside). */
float kfi_rng_normal(kfi_rng *rng);

#endif /* KFI_BASE_RNG_H */
