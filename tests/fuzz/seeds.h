/* seeds.h - the parts of the program that writes seeds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_FUZZ_SEEDS_H
#define KERF_FUZZ_SEEDS_H

#include "base/buf.h"

/* Writes DIRECTORY/name and frees buf. */
void write_seed(const char *directory, const char *name, kfi_buf *buf);

/* Seeds of packed, checkpoint, shards and reference, and llama2.c's of tokenizer_files. */
void write_model_seeds(const char *directory);

#endif /* KERF_FUZZ_SEEDS_H */
