/* tokenizer_gguf.c - the tokenizer in the metadata of a GGUF file.
 *
 * Everything is checked before it is used: element types and lengths of the arrays, kinds, ids.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "io/gguf.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#define KEY(name)   "tokenizer.ggml." name
#define NOTICE_HEAD "The metadata of the source model says about its licence:\n"

static bool text_is(kfi_text text, const char *name)
{
    return text.n == strlen(name) && memcmp(text.data, name, text.n) == 0;
}

/* Part of a hostile text that fits a message. */
static int shown(kfi_text text)
{
    return (int)(text.n < 60 ? text.n : 60);
}

/* An array of metadata; with n given it must have exactly n elements. NULL in *value where it is
 * missing and not required. */
static kf_status find_array(const kfi_gguf_value **value, const kfi_gguf *gguf, const char *key,
                            bool required, size_t n, kf_error *err)
{
    *value = kfi_gguf_find(gguf, key);
    if (*value == NULL) {
        return required
                   ? kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "metadata key '%s' is missing", key)
                   : KF_OK;
    }
    if ((*value)->type != KFI_GGUF_ARRAY) {
        return kfi_fail(err, KF_FORMAT, (*value)->offset, "metadata key '%s' is not an array", key);
    }
    if (n > 0 && (*value)->n != n) {
        return kfi_fail(err, KF_FORMAT, (*value)->offset,
                        "'%s' has %" PRIu64 " elements, expected one for each of %zu tokens", key,
                        (*value)->n, n);
    }
    return KF_OK;
}

static kf_status require_texts(const kfi_gguf_value *value, const char *key, kf_error *err)
{
    return value->element == KFI_GGUF_STRING
               ? KF_OK
               : kfi_fail(err, KF_FORMAT, value->offset,
                          "'%s' has elements of type %d, expected strings", key,
                          (int)value->element);
}

static bool is_integer(kfi_gguf_type type)
{
    return type <= KFI_GGUF_I32 || type == KFI_GGUF_U64 || type == KFI_GGUF_I64;
}

/* The model kind: byte-level or SentencePiece BPE, and its pre-tokenizer. */
static kf_status read_kind(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    kfi_text model = {0};
    KFI_TRY(kfi_gguf_text(&model, gguf, KEY("model"), err));
    if (text_is(model, "llama")) {
        t->spaces.escape = true;
        t->spaces.prefix = KFI_SPACE_PREFIX_ALWAYS;
        t->bpe.byte_fallback = true;
        t->bpe.fuse_unknown = true;
        t->adds_bos = true;
        return KF_OK;
    }
    if (!text_is(model, "gpt2")) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "tokenizer '%.*s', expected 'gpt2' (byte-level BPE) or 'llama' "
                        "(SentencePiece BPE)",
                        shown(model), model.data);
    }
    kfi_text pre = {"default", 7};
    if (kfi_gguf_find(gguf, KEY("pre")) != NULL) {
        KFI_TRY(kfi_gguf_text(&pre, gguf, KEY("pre"), err));
    } else {
        t->warning = "the file names no pre-tokenizer (tokenizer.ggml.pre): text is split as "
                     "GPT-2 does it, and ids may differ from the model's own";
    }
    if (!kfi_pretokenizer_by_name(&t->pretokenizer, pre.data, pre.n)) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "pre-tokenizer '%.*s', expected gpt-2, smollm, llama-bpe or qwen2",
                        shown(pre), pre.data);
    }
    t->bpe.byte_level = true;
    t->bpe.whole_words_first = t->pretokenizer == KFI_PRETOKENIZER_LLAMA3;
    t->adds_bos = t->pretokenizer == KFI_PRETOKENIZER_LLAMA3;
    t->nfc = t->pretokenizer == KFI_PRETOKENIZER_QWEN2;
    return KF_OK;
}

static kf_status kind_of_token(kfi_token_kind *kind, const kf_tokenizer *t, kfi_text text,
                               const kfi_gguf_value *kinds, size_t i, kf_error *err)
{
    uint8_t byte = 0;
    if (kinds == NULL) {
        const bool is_byte = !t->bpe.byte_level && kfi_byte_token_parse(&byte, text.data, text.n);
        *kind = is_byte ? KFI_TOKEN_BYTE : KFI_TOKEN_NORMAL;
        return KF_OK;
    }
    const int64_t value = kfi_gguf_element_i64(kinds, i);
    if (value < KFI_TOKEN_NORMAL || value > KFI_TOKEN_BYTE) {
        return kfi_fail(err, KF_FORMAT, kinds->offset,
                        "token %zu is of type %" PRId64 ", expected 1 to 6", i, value);
    }
    *kind = (kfi_token_kind)value;
    return KF_OK;
}

static kf_status read_tokens(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    const kfi_gguf_value *tokens = NULL;
    const kfi_gguf_value *kinds = NULL;
    KFI_TRY(find_array(&tokens, gguf, KEY("tokens"), true, 0, err));
    KFI_TRY(require_texts(tokens, KEY("tokens"), err));
    KFI_TRY(kfi_vocabulary_init(&t->vocabulary, tokens->n, t->alloc, err));
    KFI_TRY(find_array(&kinds, gguf, KEY("token_type"), false, tokens->n, err));
    if (kinds != NULL && !is_integer(kinds->element)) {
        return kfi_fail(err, KF_FORMAT, kinds->offset,
                        "'" KEY("token_type") "' has elements of type %d, expected integers",
                        (int)kinds->element);
    }
    for (size_t i = 0; i < tokens->n; i++) {
        kfi_token_kind kind = KFI_TOKEN_NORMAL;
        const kfi_text text = tokens->texts[i];
        KFI_TRY(kind_of_token(&kind, t, text, kinds, i, err));
        KFI_TRY(kfi_tokenizer_set_token(t, i, text.data, text.n, kind, err));
    }
    return kfi_vocabulary_finish(&t->vocabulary, err);
}

static kf_status read_merges(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    const kfi_gguf_value *merges = NULL;
    KFI_TRY(find_array(&merges, gguf, KEY("merges"), true, 0, err));
    KFI_TRY(require_texts(merges, KEY("merges"), err));
    KFI_TRY(kfi_merges_init(&t->bpe.merges, merges->n, t->alloc, err));
    for (size_t i = 0; i < merges->n; i++) {
        const kfi_text text = merges->texts[i];
        const char *space = text.n < 3 ? NULL : memchr(text.data + 1, ' ', text.n - 1);
        if (space == NULL) {
            return kfi_fail(err, KF_FORMAT, merges->offset,
                            "merge %zu is '%.*s', expected two pieces with a space between", i,
                            shown(text), text.data);
        }
        const size_t n_left = (size_t)(space - text.data);
        KFI_TRY(kfi_tokenizer_put_merge(t, text.data, n_left, space + 1, text.n - n_left - 1,
                                        (uint32_t)i, err));
    }
    return KF_OK;
}

static kf_status read_scores(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    const kfi_gguf_value *values = NULL;
    const size_t n = t->vocabulary.n;
    KFI_TRY(find_array(&values, gguf, KEY("scores"), true, n, err));
    if (values->element != KFI_GGUF_F32) {
        return kfi_fail(err, KF_FORMAT, values->offset,
                        "'" KEY("scores") "' has elements of type %d, expected float32",
                        (int)values->element);
    }
    float *scores = kfi_calloc(t->alloc, n, sizeof *scores);
    if (scores == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "scores of %zu tokens", n);
    }
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && i < n; i++) {
        scores[i] = (float)kfi_gguf_element_f64(values, i);
        if (isnan(scores[i])) {
            st = kfi_fail(err, KF_FORMAT, values->offset, "score of token %zu is not a number", i);
        }
    }
    if (st == KF_OK) {
        st = kfi_merges_from_scores(&t->bpe.merges, &t->vocabulary, scores, t->alloc, err);
    }
    kfi_free(t->alloc, scores, n * sizeof *scores);
    return st;
}

/* A special token's id, KF_NO_TOKEN where the key is missing. */
static kf_status read_role(uint32_t *id, const kf_tokenizer *t, const kfi_gguf *gguf,
                           const char *key, kf_error *err)
{
    uint64_t value = 0;
    *id = KF_NO_TOKEN;
    if (kfi_gguf_find(gguf, key) == NULL) {
        return KF_OK;
    }
    KFI_TRY(kfi_gguf_u64(&value, gguf, key, err));
    if (value >= t->vocabulary.n) {
        return kfi_fail(err, KF_FORMAT, kfi_gguf_find(gguf, key)->offset,
                        "'%s' is %" PRIu64 ", expected a token below %zu", key, value,
                        t->vocabulary.n);
    }
    *id = (uint32_t)value;
    return KF_OK;
}

static kf_status read_roles(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    static const char *const ends[] = {KEY("eos_token_id"), KEY("eot_token_id"),
                                       KEY("eom_token_id")};
    uint32_t id = KF_NO_TOKEN;
    KFI_TRY(read_role(&t->bos, t, gguf, KEY("bos_token_id"), err));
    KFI_TRY(read_role(&t->eos, t, gguf, KEY("eos_token_id"), err));
    KFI_TRY(read_role(&t->padding, t, gguf, KEY("padding_token_id"), err));
    KFI_TRY(read_role(&id, t, gguf, KEY("unknown_token_id"), err));
    if (!t->bpe.byte_level) {
        t->bpe.unknown = id;
    }
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        KFI_TRY(read_role(&id, t, gguf, ends[i], err));
        kfi_tokenizer_mark_end(t, id);
    }
    kfi_tokenizer_mark_known_ends(t);
    return KF_OK;
}

static kf_status read_bool(bool *dst, const kfi_gguf *gguf, const char *key, kf_error *err)
{
    return kfi_gguf_find(gguf, key) == NULL ? KF_OK : kfi_gguf_bool(dst, gguf, key, err);
}

static kf_status read_settings(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    bool prefix = t->spaces.prefix == KFI_SPACE_PREFIX_ALWAYS;
    kfi_text chat = {0};
    KFI_TRY(read_bool(&t->adds_bos, gguf, KEY("add_bos_token"), err));
    KFI_TRY(read_bool(&prefix, gguf, KEY("add_space_prefix"), err));
    if (t->spaces.escape) {
        t->spaces.prefix = prefix ? KFI_SPACE_PREFIX_ALWAYS : KFI_SPACE_PREFIX_NEVER;
    }
    t->adds_bos = t->adds_bos && t->bos != KF_NO_TOKEN;
    if (kfi_gguf_find(gguf, "tokenizer.chat_template") == NULL) {
        return KF_OK;
    }
    KFI_TRY(kfi_gguf_text(&chat, gguf, "tokenizer.chat_template", err));
    t->chat_template = kfi_arena_strndup(&t->arena, chat.data, chat.n);
    return t->chat_template != NULL
               ? KF_OK
               : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "chat template of %zu bytes", chat.n);
}

/* What the metadata says about the model's licence, as text; NULL where it says nothing. */
static kf_status read_notice(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    static const char *const keys[] = {"general.license", "general.license.name",
                                       "general.license.link"};
    kf_status st = KF_OK;
    kfi_buf notice;
    kfi_buf_init(&notice, t->alloc, SIZE_MAX / 2);
    for (size_t i = 0; st == KF_OK && i < sizeof keys / sizeof keys[0]; i++) {
        kfi_text value = {0};
        if (kfi_gguf_find(gguf, keys[i]) == NULL) {
            continue;
        }
        st = kfi_gguf_text(&value, gguf, keys[i], err);
        if (st == KF_OK) {
            (void)kfi_buf_printf(&notice, "%s%s: ", notice.n == 0 ? NOTICE_HEAD : "", keys[i]);
            kfi_utf8_append_valid(&notice, value.data, value.n);
            (void)kfi_buf_append_byte(&notice, '\n');
        }
    }
    if (st == KF_OK && (notice.n > 0 || notice.failed)) {
        t->notice = notice.failed ? NULL : kfi_arena_strndup(&t->arena, notice.data, notice.n);
        st = t->notice != NULL ? KF_OK
                               : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of the licence");
    }
    kfi_buf_deinit(&notice);
    return st;
}

static kf_status fill(kf_tokenizer *t, const kfi_gguf *gguf, kf_error *err)
{
    KFI_TRY(read_kind(t, gguf, err));
    KFI_TRY(read_tokens(t, gguf, err));
    KFI_TRY(t->bpe.byte_level ? read_merges(t, gguf, err) : read_scores(t, gguf, err));
    KFI_TRY(read_roles(t, gguf, err));
    KFI_TRY(read_settings(t, gguf, err));
    KFI_TRY(read_notice(t, gguf, err));
    return kfi_tokenizer_finish(t, err);
}

kf_status kfi_tokenizer_from_gguf(kf_tokenizer **tokenizer, const kfi_gguf *gguf,
                                  const kf_allocator *alloc, kf_error *err)
{
    kf_tokenizer *t = NULL;
    *tokenizer = NULL;
    KFI_TRY(kfi_tokenizer_new(&t, alloc, err));
    const kf_status st = fill(t, gguf, err);
    if (st != KF_OK) {
        kf_tokenizer_free(t);
        return st;
    }
    *tokenizer = t;
    return KF_OK;
}
