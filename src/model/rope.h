/* rope.h - frequencies of the rotary position embedding, with their scalings.
 *
 * Source: Su et al., "RoFormer", 2021, arXiv:2104.09864; linear scaling: Chen et al., 2023,
 * arXiv:2306.15595; llama3: Llama Team, "The Llama 3 Herd of Models", 2024, arXiv:2407.21783, as
 * Hugging Face's rope_type "llama3" defines it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_ROPE_H
#define KFI_MODEL_ROPE_H

#include "model/model.h"

/* Radians a position for pair i = 0 … head_dim/2 - 1: theta^(-2i/head_dim), scaled. */
double kfi_rope_frequency(const kfi_config *config, size_t i_pair);

/* Cosines and sines of one position from frequencies [n]; angles in double. */
void kfi_rope_angles(float *cosine, float *sine, const double *frequencies, size_t n,
                     size_t position);

#endif /* KFI_MODEL_ROPE_H */
