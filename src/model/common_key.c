/* common_key.c - turns and weights of what all keys share.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/common_key.h"

#include <math.h>

#include "model/rope.h"

/* ---- tables ---- */

size_t kfi_common_chunk_floats(size_t head_dim, size_t context)
{
    return (context / KFI_ATTENTION_CHUNK + 1) * head_dim;
}

size_t kfi_common_token_floats(size_t head_dim)
{
    return KFI_ATTENTION_CHUNK * head_dim;
}

void kfi_common_fill(float *turns, const kfi_config *config, size_t context)
{
    const size_t dim = config->head_dim;
    const size_t half = dim / 2;
    float *tokens = turns + kfi_common_chunk_floats(dim, context);
    for (size_t j = 0; j < half; j++) {
        const double frequency = kfi_rope_frequency(config, j);
        for (size_t i = 0; i <= context / KFI_ATTENTION_CHUNK; i++) {
            const double angle = (double)(i * KFI_ATTENTION_CHUNK) * frequency;
            turns[i * dim + j] = (float)cos(angle);
            turns[i * dim + half + j] = (float)-sin(angle);
        }
        for (size_t i = 0; i < KFI_ATTENTION_CHUNK; i++) {
            const double angle = (double)i * frequency;
            float *panel = tokens + i / KFI_PANEL_ROWS * KFI_PANEL_ROWS * dim + i % KFI_PANEL_ROWS;
            panel[j * KFI_PANEL_ROWS] = (float)cos(angle);
            panel[(half + j) * KFI_PANEL_ROWS] = (float)sin(angle);
        }
    }
}

/* ---- keys and queries ---- */

/* In double: done once a head, and what is left of it undone for every key. */
void kfi_common_turn_back(float *key, const double *frequencies, size_t head_dim, size_t position)
{
    const size_t half = head_dim / 2;
    for (size_t j = 0; j < half; j++) {
        const double c = cos((double)position * frequencies[j]);
        const double s = sin((double)position * frequencies[j]);
        const double a = (double)key[j];
        const double b = (double)key[half + j];
        key[j] = (float)(a * c + b * s);
        key[half + j] = (float)(b * c - a * s);
    }
}

void kfi_common_weigh(float *weights, const float *queries, size_t n_queries, const float *common,
                      size_t head_dim)
{
    const size_t half = head_dim / 2;
    for (size_t h = 0; h < n_queries; h++, weights += head_dim, queries += head_dim) {
        for (size_t j = 0; j < half; j++) {
            const float a = queries[j];
            const float b = queries[half + j];
            weights[j] = a * common[j] + b * common[half + j];
            weights[half + j] = b * common[j] - a * common[half + j];
        }
    }
}
