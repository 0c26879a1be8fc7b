/* rng.c - xoshiro256** and what is drawn from it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/rng.h"

#include <assert.h>
#include <math.h>

static uint64_t rotate_left(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

/* splitmix64 turns any seed, also 0, into a state that is never all zero. */
static uint64_t splitmix_next(uint64_t *state)
{
    *state += 0x9E3779B97F4A7C15u;
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

void kfi_rng_init(kfi_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        rng->state[i] = splitmix_next(&seed);
    }
}

uint64_t kfi_rng_next(kfi_rng *rng)
{
    uint64_t *s = rng->state;
    const uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t kfi_rng_below(kfi_rng *rng, uint64_t n)
{
    assert(n > 0);
    /* 2^64 mod n values at the bottom would make the first remainders more likely: draw again. */
    const uint64_t surplus = (0 - n) % n;
    uint64_t value = kfi_rng_next(rng);
    while (value < surplus) {
        value = kfi_rng_next(rng);
    }
    return value % n;
}

float kfi_rng_uniform(kfi_rng *rng)
{
    return (float)(kfi_rng_next(rng) >> 40) * 0x1p-24f;
}

float kfi_rng_normal(kfi_rng *rng)
{
    const double two_pi = 6.283185307179586;
    const double u = (double)((kfi_rng_next(rng) >> 11) + 1) * 0x1p-53; /* (0, 1]: log is finite */
    const double v = (double)(kfi_rng_next(rng) >> 11) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(two_pi * v));
}
