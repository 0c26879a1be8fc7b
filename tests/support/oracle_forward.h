/* oracle_forward.h - a whole model in double precision and simple loops: what Kerf's forward pass
 * is compared with.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_ORACLE_FORWARD_H
#define KERF_TESTS_ORACLE_FORWARD_H

#include "tiny_model.h"

/* Logits [n][vocabulary] of a sequence of n tokens. */
void oracle_logits(double *logits, const tiny_model *model, const uint32_t *ids, size_t n);

/* Radians a position of rotary pair i, as Hugging Face's code computes them. */
double oracle_rope_frequency(const kfi_config *config, size_t i_pair);

#endif /* KERF_TESTS_ORACLE_FORWARD_H */
