/* tokenizer_json.h - the parts of reading a Hugging Face tokenizer directory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_TOKENIZER_JSON_H
#define KFI_TEXT_TOKENIZER_JSON_H

#include "io/json.h"
#include "text/tokenizer.h"

/* A member that is a boolean, else (missing, null) the value given. KF_FORMAT for another kind. */
KF_NODISCARD kf_status kfi_tokenizer_json_bool(bool *dst, const kfi_json *object, const char *key,
                                               bool otherwise, kf_error *err);

/* The member "type" of a part of the pipeline, "" where there is none. */
const char *kfi_tokenizer_json_type(const kfi_json *object);

/* A tokenizer from the text of a tokenizer.json alone. Statuses as of kf_tokenizer_open(). */
KF_NODISCARD kf_status kfi_tokenizer_parse_json(kf_tokenizer **tokenizer, const char *text,
                                                size_t n, const kf_allocator *alloc, kf_error *err);

/* Reads normalizer and pre_tokenizer: what the text becomes before BPE. Sets bpe.byte_level,
 * spaces, nfc and pretokenizer. KF_UNSUPPORTED names what is not implemented. */
KF_NODISCARD kf_status kfi_tokenizer_read_pipeline(kf_tokenizer *tokenizer, const kfi_json *root,
                                                   kf_error *err);

/* Reads post_processor: which token, if any, it puts in front of a text. */
KF_NODISCARD kf_status kfi_tokenizer_read_processor(kf_tokenizer *tokenizer,
                                                    const kfi_json *processor, kf_error *err);

/* Reads the files beside tokenizer.json, each of which may be missing: tokenizer_config.json,
 * chat_template.jinja, generation_config.json. Needs the finished vocabulary. */
KF_NODISCARD kf_status kfi_tokenizer_read_configuration(kf_tokenizer *tokenizer,
                                                        const char *directory, kf_error *err);

/* The token of a text, whatever its kind; KF_NO_TOKEN where there is none. */
uint32_t kfi_tokenizer_find_text(const kf_tokenizer *tokenizer, const char *text, size_t n);

#endif /* KFI_TEXT_TOKENIZER_JSON_H */
