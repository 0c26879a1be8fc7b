/* save.h - the files of a tokenizer directory, each written into a buffer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_SAVE_H
#define KFI_TEXT_SAVE_H

#include "io/json.h"
#include "text/tokenizer.h"

/* tokenizer.json. Failures show in the writer's buffer, here and below. */
void kfi_tokenizer_write_json(kfi_json_writer *writer, const kf_tokenizer *tokenizer);
/* tokenizer_config.json, with the chat template. */
void kfi_tokenizer_write_config(kfi_json_writer *writer, const kf_tokenizer *tokenizer);
/* special_tokens_map.json. */
void kfi_tokenizer_write_special_tokens(kfi_json_writer *writer, const kf_tokenizer *tokenizer);
/* generation_config.json. */
void kfi_tokenizer_write_generation_config(kfi_json_writer *writer, const kf_tokenizer *tokenizer);

#endif /* KFI_TEXT_SAVE_H */
