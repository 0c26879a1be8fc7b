/* chat.h - what a reader does with a chat template.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_TEXT_CHAT_H
#define KFI_TEXT_CHAT_H

#include "text/tokenizer.h"

/* Parses tokenizer->chat_template, where there is one. One that is not understood is no failure:
 * tokenizer->chat stays NULL and chat_error says why. KF_NOMEM. */
KF_NODISCARD kf_status kfi_tokenizer_parse_chat(kf_tokenizer *tokenizer, kf_error *err);

/* Finds the start token, see kf_tokenizer_start(). KF_NOMEM. */
KF_NODISCARD kf_status kfi_tokenizer_find_start(kf_tokenizer *tokenizer, kf_error *err);

#endif /* KFI_TEXT_CHAT_H */
