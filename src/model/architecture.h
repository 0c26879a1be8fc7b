/* architecture.h - finding an architecture by the name that a file gives.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_ARCHITECTURE_H
#define KFI_MODEL_ARCHITECTURE_H

#include "model/checkpoint_names.h"

/* A tensor's name in GGUF and in Hugging Face's checkpoints, without ".weight" or ".bias"; '*'
 * stands for the block's number. */
typedef struct kfi_gguf_name {
    const char *gguf;
    const char *hugging_face;
} kfi_gguf_name;

/* Shared by the architectures that have Llama's block; ends with NULL. */
extern const kfi_gguf_name kfi_gguf_llama_names[];

/* "blk.3.ffn_up.weight" gives "model.layers.3.mlp.up_proj.weight", and back; "" for other names. */
kfi_name kfi_name_from_gguf(const kfi_architecture *architecture, const char *name);
kfi_name kfi_name_to_gguf(const kfi_architecture *architecture, const char *name);

#define KFI_ARCHITECTURE(name) extern const kfi_architecture kfi_architecture_##name;
#include "model/architectures.def"
#undef KFI_ARCHITECTURE

/* By general.architecture of a GGUF, and by "architectures" of a config.json. The name has n bytes.
 * KF_UNSUPPORTED: the message lists those that are known. */
KF_NODISCARD kf_status kfi_architecture_find(const kfi_architecture **architecture,
                                             const char *name, size_t n, kf_error *err);
KF_NODISCARD kf_status kfi_architecture_find_hugging_face(const kfi_architecture **architecture,
                                                          const char *name, size_t n,
                                                          kf_error *err);

#endif /* KFI_MODEL_ARCHITECTURE_H */
