/* kerf/tokenizer.h - text to token ids and back, and chat templates.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TOKENIZER_H
#define KERF_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/alloc.h"
#include "kerf/error.h"
#include "kerf/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A tokenizer; opaque, read-only. */
typedef struct kf_tokenizer kf_tokenizer;

/** "No such token" where a function returns a special token's id. */
#define KF_NO_TOKEN UINT32_MAX

/**
 * Reads the tokenizer of a model: the metadata of a .gguf, or tokenizer.json (and
 * tokenizer_config.json, generation_config.json beside it) of a directory, or a llama2.c tokenizer
 * (`tok512.bin` beside the model).
 *
 * Byte-level BPE with the pre-tokenizers of GPT-2, Llama 3, Qwen2 and SmolLM, and SentencePiece
 * BPE.
 *
 * @param[out] tokenizer  returned owned; free with kf_tokenizer_free()
 * @param      path       model file or directory, borrowed
 * @param      alloc      allocator, borrowed by the object, or NULL
 * @param[out] err        failure report, or NULL
 *
 * @retval KF_OK           ready
 * @retval KF_INPUT        nothing there
 * @retval KF_FORMAT       malformed, with the place
 * @retval KF_UNSUPPORTED  a tokenizer or pre-tokenizer that is not implemented, named
 * @retval KF_RANGE        a file beyond the limits (tokenizer.json: 256 MiB, the others: 16 MiB)
 * @retval KF_NOMEM        no memory
 *
 * Cost: O(vocabulary). Threads: a tokenizer is read-only once open; share it.
 */
KF_API KF_NODISCARD kf_status kf_tokenizer_open(kf_tokenizer **tokenizer, const char *path,
                                                const kf_allocator *alloc, kf_error *err);

/** Frees a tokenizer; NULL is fine. */
KF_API void kf_tokenizer_free(kf_tokenizer *tokenizer);

/** Number of ids, special ones included. */
KF_API size_t kf_tokenizer_count(const kf_tokenizer *tokenizer);

/** Flags of kf_tokenizer_encode(). */
#define KF_ENCODE_ADD_BOS (1u << 0) /**< Put the BOS in front, where the model does. */
#define KF_ENCODE_SPECIAL (1u << 1) /**< Special tokens in the text become their id. */

/**
 * Turns text into ids.
 *
 * @param[out] ids    room for @p ids_n ids, or NULL with ids_n 0 to count
 * @param      ids_n  room at @p ids
 * @param[out] n      ids that the text has, also when there is no room for all
 * @param      tokenizer  borrowed
 * @param[in]  text   UTF-8, borrowed; invalid bytes are encoded as U+FFFD
 * @param      text_n bytes of @p text
 * @param      flags  KF_ENCODE_ADD_BOS | KF_ENCODE_SPECIAL
 * @param[out] err    failure report, or NULL
 *
 * @retval KF_OK     all ids written
 * @retval KF_RANGE  more ids than @p ids_n (only when ids is not NULL), or a word of 1 GiB
 * @retval KF_NOMEM  no memory
 *
 * Cost: O(text_n log word length). Threads: reentrant.
 */
KF_API KF_NODISCARD kf_status kf_tokenizer_encode(uint32_t *ids, size_t ids_n, size_t *n,
                                                  const kf_tokenizer *tokenizer, const char *text,
                                                  size_t text_n, uint32_t flags, kf_error *err);

/**
 * Returns the bytes that one id stands for when decoded in the middle of a text.
 *
 * @param      tokenizer  borrowed
 * @param      id         any number
 * @param[out] n          number of bytes
 * @return borrowed bytes, not NUL-terminated; empty for control tokens and for ids that do not
 * exist
 */
KF_API const char *kf_tokenizer_piece(const kf_tokenizer *tokenizer, uint32_t id, size_t *n);

/** Special tokens by role; KF_NO_TOKEN when the model names none. */
KF_API uint32_t kf_tokenizer_bos(const kf_tokenizer *tokenizer);
/** True where the model's tokenizer puts BOS in front of a text by itself. */
KF_API bool kf_tokenizer_adds_bos(const kf_tokenizer *tokenizer);
/** True for every token that ends an answer (EOS, end of turn, and all that generation_config.json
 * lists). */
KF_API bool kf_tokenizer_is_end(const kf_tokenizer *tokenizer, uint32_t id);

/**
 * What to tell the user about how the tokenizer was read: a GGUF that names no pre-tokenizer, whose
 * text may then be split in another way than the model's. One line; NULL where there is nothing.
 */
KF_API const char *kf_tokenizer_warning(const kf_tokenizer *tokenizer);

/**
 * The token that starts every sequence: the BOS where the tokenizer adds it, else the first token
 * of the rendered chat template, else the BOS id; KF_NO_TOKEN when there is none of these.
 */
KF_API uint32_t kf_tokenizer_start(const kf_tokenizer *tokenizer);

/** A streaming detokenizer: bytes come out only as whole UTF-8 characters. */
typedef struct kf_detokenizer {
    const kf_tokenizer *tokenizer; /**< Borrowed. */
    bool first;               /**< Nothing written yet (SentencePiece drops the first space). */
    unsigned char pending[4]; /**< The start of a character. */
    size_t n_pending;         /**< Its bytes so far. */
} kf_detokenizer;

/** Prepares a detokenizer for a new text; with `first` set to false behind it, for the continuation
 * of one. */
KF_API void kf_detokenizer_init(kf_detokenizer *detokenizer, const kf_tokenizer *tokenizer);

/**
 * Appends one id.
 *
 * @param      detokenizer  remembers an unfinished character
 * @param      id      the next id
 * @param[out] text    room for @p text_n bytes; complete characters, no NUL
 * @param      text_n  at least 4 + the length of the id's piece (kf_tokenizer_piece()) times 3
 * @return bytes written; invalid bytes come out as U+FFFD
 */
KF_API size_t kf_detokenizer_push(kf_detokenizer *detokenizer, uint32_t id, char *text,
                                  size_t text_n);

/** Writes what is pending at the end of a text (an incomplete character as U+FFFD); room for 12
 * bytes. */
KF_API size_t kf_detokenizer_finish(kf_detokenizer *detokenizer, char *text, size_t text_n);

/** One message of a conversation; strings borrowed. */
typedef struct kf_chat_message {
    const char *role;    /**< "system", "user", "assistant". */
    const char *content; /**< What was said. */
} kf_chat_message;

/** True where the model has a chat template that is understood. */
KF_API bool kf_tokenizer_has_chat(const kf_tokenizer *tokenizer);

/**
 * Renders a conversation with the model's own chat template (a subset of Jinja).
 *
 * @param[out] text       NUL-terminated, returned owned; free with kf_tokenizer_free_text()
 * @param      tokenizer  borrowed
 * @param[in]  messages   conversation so far, borrowed
 * @param      n          number of messages
 * @param      add_generation_prompt  end with the header of the assistant's turn
 * @param[out] err        failure report, or NULL
 *
 * @retval KF_OK           rendered
 * @retval KF_UNSUPPORTED  no template, or one that uses what is not implemented, named
 * @retval KF_FORMAT       the template fails on this conversation, with its own message
 * @retval KF_RANGE        the result or the work is beyond the limits (hostile template)
 * @retval KF_NOMEM        no memory
 */
KF_API KF_NODISCARD kf_status kf_tokenizer_render_chat(char **text, const kf_tokenizer *tokenizer,
                                                       const kf_chat_message *messages, size_t n,
                                                       bool add_generation_prompt, kf_error *err);
/** Frees what kf_tokenizer_render_chat() returned; NULL is fine. */
KF_API void kf_tokenizer_free_text(const kf_tokenizer *tokenizer, char *text);

/**
 * Writes tokenizer.json, tokenizer_config.json (with the chat template), special_tokens_map.json
 * and generation_config.json into a directory: copied from a source directory, made from the
 * metadata of a GGUF; PyPI `tokenizers` loads it with equal ids. The terms of use come along:
 * LICENSE*, NOTICE* and USE_POLICY* of a source directory; what the metadata of a GGUF says about
 * its licence, as a file NOTICE.
 *
 * @param tokenizer  open tokenizer
 * @param directory  existing directory, borrowed
 * @param err        failure report, or NULL
 *
 * @retval KF_OK     written
 * @retval KF_IO     disk full or not writable
 * @retval KF_NOMEM  no memory
 * @retval KF_INPUT  the source is gone
 */
KF_API KF_NODISCARD kf_status kf_tokenizer_save(const kf_tokenizer *tokenizer,
                                                const char *directory, kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_TOKENIZER_H */
