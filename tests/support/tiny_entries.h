/* tiny_entries.h - the tensors of one file of a tiny checkpoint.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_ENTRIES_H
#define KERF_TESTS_TINY_ENTRIES_H

#include "io/safetensors.h"
#include "model/checkpoint_names.h"
#include "tiny_model.h"

#define TINY_ENTRIES_MAX 96u

/* What goes into one file: tensors that are multiples of 64 bytes first, unless told otherwise. */
typedef struct tiny_entries {
    kfi_safetensors_entry all[TINY_ENTRIES_MAX];
    kfi_name names[TINY_ENTRIES_MAX];
    void *owned[TINY_ENTRIES_MAX]; /* packed bytes, columns */
    size_t n;
} tiny_entries;

/* Borrowed data of one dimension, whose size the caller sets. */
kfi_safetensors_entry *tiny_add_entry(tiny_entries *f, const char *name, kfi_dtype dtype,
                                      const void *data, size_t bytes);
/* A tensor in F32, borrowed. */
void tiny_add_plain(tiny_entries *f, const tiny_tensor *t);
/* Rounded to the nearest and packed; the data become what is stored. */
void tiny_add_packed(tiny_entries *f, const tiny_tensor *t, const char *format_name);
/* Zeros; a copy. kfi_free(). */
float *tiny_new_floats(size_t n);
void *tiny_new_copy(const void *data, size_t bytes);
/* Packed, or a copy in F32 where format is NULL. */
void tiny_add_part(tiny_entries *f, const tiny_tensor *part, const char *format);
/* A copy of n elements. */
kfi_safetensors_entry *tiny_add_copy(tiny_entries *f, const char *name, kfi_dtype dtype,
                                     const void *data, size_t n);

#endif /* KERF_TESTS_TINY_ENTRIES_H */
