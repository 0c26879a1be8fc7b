/* save_config.c - the small files beside tokenizer.json: roles, ends, chat template.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/save.h"

/* A role as its token's text; nothing where the model has none. */
static void put_role(kfi_json_writer *w, const kf_tokenizer *t, const char *key, uint32_t id)
{
    if (id < t->vocabulary.n) {
        kfi_json_key(w, key);
        kfi_json_put_string(w, t->vocabulary.tokens[id].key, t->vocabulary.tokens[id].n_key);
    }
}

static void put_roles(kfi_json_writer *w, const kf_tokenizer *t)
{
    put_role(w, t, "bos_token", t->bos);
    put_role(w, t, "eos_token", t->eos);
    put_role(w, t, "pad_token", t->padding);
    put_role(w, t, "unk_token", t->bpe.unknown);
}

void kfi_tokenizer_write_config(kfi_json_writer *writer, const kf_tokenizer *tokenizer)
{
    kfi_json_begin_object(writer);
    kfi_json_member_bool(writer, "add_bos_token", tokenizer->adds_bos);
    put_roles(writer, tokenizer);
    if (tokenizer->chat_template != NULL) {
        kfi_json_member_text(writer, "chat_template", tokenizer->chat_template);
    }
    kfi_json_member_bool(writer, "clean_up_tokenization_spaces", false);
    kfi_json_member_text(writer, "tokenizer_class", "PreTrainedTokenizerFast");
    kfi_json_end_object(writer);
}

void kfi_tokenizer_write_special_tokens(kfi_json_writer *writer, const kf_tokenizer *tokenizer)
{
    kfi_json_begin_object(writer);
    put_roles(writer, tokenizer);
    kfi_json_end_object(writer);
}

static void put_id(kfi_json_writer *w, const char *key, uint32_t id)
{
    if (id != KF_NO_TOKEN) {
        kfi_json_member_integer(w, key, (int64_t)id);
    }
}

/* EOS first, then every other token that ends an answer. */
void kfi_tokenizer_write_generation_config(kfi_json_writer *writer, const kf_tokenizer *tokenizer)
{
    kfi_json_begin_object(writer);
    put_id(writer, "bos_token_id", tokenizer->bos);
    kfi_json_key(writer, "eos_token_id");
    kfi_json_begin_array(writer);
    if (tokenizer->eos != KF_NO_TOKEN) {
        kfi_json_put_integer(writer, (int64_t)tokenizer->eos);
    }
    for (size_t id = 0; id < tokenizer->vocabulary.n; id++) {
        if ((tokenizer->vocabulary.tokens[id].flags & KFI_TOKEN_END) != 0 && id != tokenizer->eos) {
            kfi_json_put_integer(writer, (int64_t)id);
        }
    }
    kfi_json_end_array(writer);
    put_id(writer, "pad_token_id", tokenizer->padding);
    kfi_json_end_object(writer);
}
