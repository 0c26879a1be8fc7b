/* rope.c - frequencies of the rotary position embedding.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/rope.h"

#include <math.h>

#define TWO_PI 6.283185307179586476925

/* Long waves are stretched by the factor, short ones kept, those between blended. */
static double scale_llama3(const kfi_config *config, double frequency)
{
    const double low = (double)config->rope_low_frequency;
    const double high = (double)config->rope_high_frequency;
    const double factor = (double)config->rope_factor;
    const double turns = (double)config->rope_original_context * frequency / TWO_PI;
    if (turns > high) {
        return frequency;
    }
    if (turns < low) {
        return frequency / factor;
    }
    const double smooth = (turns - low) / (high - low);
    return (1.0 - smooth) * frequency / factor + smooth * frequency;
}

double kfi_rope_frequency(const kfi_config *config, size_t i_pair)
{
    const double exponent = -2.0 * (double)i_pair / (double)config->head_dim;
    const double frequency = pow((double)config->rope_theta, exponent);
    switch (config->rope_scaling) {
    case KFI_ROPE_LINEAR:
        return frequency / (double)config->rope_factor;
    case KFI_ROPE_LLAMA3:
        return scale_llama3(config, frequency);
    case KFI_ROPE_NONE:
        break;
    }
    return frequency;
}

void kfi_rope_angles(float *cosine, float *sine, const double *frequencies, size_t n,
                     size_t position)
{
    for (size_t i = 0; i < n; i++) {
        const double angle = (double)position * frequencies[i];
        cosine[i] = (float)cos(angle);
        sine[i] = (float)sin(angle);
    }
}
