/* tiny_write.h - the inside of tiny_model: one writer a container.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_WRITE_H
#define KERF_TESTS_TINY_WRITE_H

#include "base/buf.h"
#include "tiny_model.h"

void tiny_write_gguf(const tiny_model *model, kfi_dtype dtype);
void tiny_write_safetensors(const tiny_model *model, kfi_dtype dtype, size_t n_files);
void tiny_write_llama2c(const tiny_model *model);

/* Aborts the test program when not ok. */
void tiny_check(bool ok, const char *what);

/* q and k, whose rows GGUF and llama2.c store for neighbouring rotary pairs. */
bool tiny_is_rotated(const char *name);
/* Which row of Hugging Face's order stands in this row of the file. */
size_t tiny_neighbour_row(size_t file_row, size_t head_dim);

/* Appends n values in the file's type. The grid of a block found again from values that were
 * rounded to it is the same: its ends are among them. */
void tiny_encode(kfi_buf *buf, const float *x, size_t n, kfi_dtype dtype);

/* How the vocabulary writes this id, with a NUL, in 16 bytes. */
void tiny_token(char *text, size_t id);

#endif /* KERF_TESTS_TINY_WRITE_H */
