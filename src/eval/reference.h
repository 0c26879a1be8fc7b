/* reference.h - a file of a reference model's final hidden states.
 *
 * Logits of a text would take tens of gigabytes; hidden states are 85 times smaller on SmolLM2 and
 * give the same logits through the reference's head. The file is a safetensors file with one tensor
 * "hidden", F32 [windows][window - 1][hidden], whose metadata says of what model, text, start and
 * window it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_EVAL_REFERENCE_H
#define KFI_EVAL_REFERENCE_H

#include "base/file.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "kerf/eval.h"

/* What a reference file belongs to. */
typedef struct kfi_reference_key {
    char model[KFI_SHA256_HEX];
    char activations[KF_FORMAT_NAME_BYTES]; /* that it ran with */
    const char *kv;                         /* how it kept keys and values; static */
    char text[KFI_SHA256_HEX];              /* of the ids of all windows */
    char front[KFI_SHA256_HEX];             /* of the ids in front of every window */
    size_t n_prefix;                        /* of them from a stored prefix */
    size_t window, windows, hidden;
} kfi_reference_key;

typedef struct kfi_reference_writer {
    kfi_file_writer file;
    kfi_reference_key key;
} kfi_reference_writer;

KF_NODISCARD kf_status kfi_reference_create(kfi_reference_writer *writer, const char *path,
                                            const kfi_reference_key *key, const kf_allocator *alloc,
                                            kf_error *err);
/* The next n hidden states, in order. */
KF_NODISCARD kf_status kfi_reference_append(kfi_reference_writer *writer, const float *hidden,
                                            size_t n, kf_error *err);
KF_NODISCARD kf_status kfi_reference_commit(kfi_reference_writer *writer, kf_error *err);
void kfi_reference_abort(kfi_reference_writer *writer);

typedef struct kfi_reference {
    kfi_safetensors *file;
    const kfi_tensor *hidden;
    kfi_reference_key key;
} kfi_reference;

/* KF_FORMAT when the file belongs to something else, saying what differs. The file may hold more
 * windows than the key asks for when the text's hash is that of exactly those; close in any case.
 */
KF_NODISCARD kf_status kfi_reference_open(kfi_reference *reference, const char *path,
                                          const kfi_reference_key *key, const kf_allocator *alloc,
                                          kf_error *err);
/* Hidden states begin … begin + n - 1 of a window: dst [n][hidden]. */
KF_NODISCARD kf_status kfi_reference_read(const kfi_reference *reference, float *dst,
                                          size_t i_window, size_t begin, size_t n, kf_error *err);
void kfi_reference_close(kfi_reference *reference);

#endif /* KFI_EVAL_REFERENCE_H */
