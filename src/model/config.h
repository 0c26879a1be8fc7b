/* config.h - a model's shape, from each kind of file that tells it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_CONFIG_H
#define KFI_MODEL_CONFIG_H

#include "io/gguf.h"
#include "io/json.h"
#include "io/llama2c.h"
#include "model/model.h"

/* Metadata of a GGUF; the vocabulary is the embedding's rows, the scaling may come from the tensor
 * rope_freqs. KF_FORMAT, KF_UNSUPPORTED. */
KF_NODISCARD kf_status kfi_config_from_gguf(kfi_config *config, const kfi_gguf *gguf,
                                            kf_error *err);

/* A parsed config.json. Vocabulary and tied are its own words; the tensors are compared later. */
KF_NODISCARD kf_status kfi_config_from_json(kfi_config *config, const kfi_json *json,
                                            kf_error *err);

KF_NODISCARD kf_status kfi_config_from_llama2c(kfi_config *config, const kfi_llama2c_config *file,
                                               kf_error *err);

/* The size of a head where the file gives none: heads share the hidden size evenly. KF_FORMAT. */
KF_NODISCARD kf_status kfi_config_divide_heads(kfi_config *config, kf_error *err);

/* What must hold of every configuration: ceilings, heads that divide, an even head_dim, numbers
 * that make sense. KF_FORMAT. Every reader above ends with it. */
KF_NODISCARD kf_status kfi_config_check(const kfi_config *config, kf_error *err);

/* Appends Hugging Face's keys to an open object, so that kfi_config_from_json() reads the same
 * back. */
void kfi_config_write_json(kfi_json_writer *writer, const kfi_config *config);

#endif /* KFI_MODEL_CONFIG_H */
