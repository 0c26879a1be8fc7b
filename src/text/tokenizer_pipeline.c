/* tokenizer_pipeline.c - what tokenizer.json does to a text before and behind BPE.
 *
 * `tokenizers` can chain normalizers and pre-tokenizers in any way; here the chains of published
 * models are recognized, and everything else is refused by name: a text that is split in a slightly
 * other way gives ids that look right and are not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "text/tokenizer_json.h"

#define MAX_STEPS 4u

static kf_status unsupported(kf_error *err, const char *part, const char *what)
{
    return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "%s '%.60s'", part,
                    what[0] == '\0' ? "without a type" : what);
}

/* The steps of a part: none, itself, or those of a Sequence. */
typedef struct steps {
    const kfi_json *items[MAX_STEPS];
    size_t n;
} steps;

static kf_status read_steps(steps *s, const kfi_json *part, const char *list, kf_error *err)
{
    *s = (steps){.n = 0};
    if (part == NULL || kfi_json_is_null(part)) {
        return KF_OK;
    }
    if (strcmp(kfi_tokenizer_json_type(part), "Sequence") != 0) {
        s->items[s->n++] = part;
        return KF_OK;
    }
    const kfi_json *items = kfi_json_get(part, list);
    if (kfi_json_size(items) > MAX_STEPS) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "a sequence of %zu %s",
                        kfi_json_size(items), list);
    }
    for (size_t i = 0; i < kfi_json_size(items); i++) {
        s->items[s->n++] = kfi_json_at(items, i);
    }
    return KF_OK;
}

/* A member that must be exactly this text. */
static bool member_is(const kfi_json *object, const char *key, const char *text)
{
    size_t n = 0;
    const kfi_json *member = kfi_json_get(object, key);
    if (member == NULL || !kfi_json_is_string(member)) {
        return false;
    }
    const char *value = kfi_json_string(member, &n);
    return n == strlen(text) && memcmp(value, text, n) == 0;
}

static kf_status read_normalizer(kf_tokenizer *t, const kfi_json *normalizer, kf_error *err)
{
    steps s;
    KFI_TRY(read_steps(&s, normalizer, "normalizers", err));
    for (size_t i = 0; i < s.n; i++) {
        const char *type = kfi_tokenizer_json_type(s.items[i]);
        if (strcmp(type, "NFC") == 0 && s.n == 1) {
            t->nfc = true;
        } else if (strcmp(type, "Prepend") == 0 && member_is(s.items[i], "prepend", KFI_SPACE) &&
                   !t->spaces.escape) {
            t->spaces.prefix = KFI_SPACE_PREFIX_ALWAYS;
        } else if (strcmp(type, "Replace") == 0 &&
                   member_is(kfi_json_get(s.items[i], "pattern"), "String", " ") &&
                   member_is(s.items[i], "content", KFI_SPACE)) {
            t->spaces.escape = true;
        } else {
            return unsupported(err, "normalizer", type);
        }
    }
    return KF_OK;
}

static kf_status read_metaspace(kf_tokenizer *t, const kfi_json *step, kf_error *err)
{
    bool prefix = true;
    bool split = true;
    const kfi_json *replacement = kfi_json_get(step, "replacement");
    if (replacement != NULL && !member_is(step, "replacement", KFI_SPACE)) {
        return unsupported(err, "Metaspace", "with another replacement");
    }
    KFI_TRY(kfi_tokenizer_json_bool(&prefix, step, "add_prefix_space", true, err));
    KFI_TRY(kfi_tokenizer_json_bool(&split, step, "split", true, err));
    t->spaces.escape = true;
    t->spaces.prefix_once = true;
    t->spaces.split_each = split;
    t->spaces.prefix = prefix ? KFI_SPACE_PREFIX_ALWAYS : KFI_SPACE_PREFIX_NEVER;
    if (member_is(step, "prepend_scheme", "never")) {
        t->spaces.prefix = KFI_SPACE_PREFIX_NEVER;
    } else if (member_is(step, "prepend_scheme", "first")) {
        t->spaces.prefix = KFI_SPACE_PREFIX_FIRST;
    }
    return KF_OK;
}

/* Split by a published pattern. */
static kf_status read_split(kf_tokenizer *t, const kfi_json *step, kf_error *err)
{
    size_t n = 0;
    bool invert = false;
    const kfi_json *pattern = kfi_json_get(kfi_json_get(step, "pattern"), "Regex");
    KFI_TRY(kfi_tokenizer_json_bool(&invert, step, "invert", false, err));
    if (pattern == NULL || !kfi_json_is_string(pattern) || invert ||
        !member_is(step, "behavior", "Isolated")) {
        return unsupported(err, "pre-tokenizer", "Split in this form");
    }
    const char *text = kfi_json_string(pattern, &n);
    return kfi_pretokenizer_by_pattern(&t->pretokenizer, text, n)
               ? KF_OK
               : kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "pre-tokenizer pattern '%.120s'",
                          text);
}

static kf_status read_digits(kf_tokenizer *t, const kfi_json *step, kf_error *err)
{
    bool individual = false;
    KFI_TRY(kfi_tokenizer_json_bool(&individual, step, "individual_digits", false, err));
    t->pretokenizer = KFI_PRETOKENIZER_SMOLLM;
    return individual ? KF_OK
                      : unsupported(err, "pre-tokenizer", "Digits without individual_digits");
}

/* The last step of a byte-level model; its own pattern (GPT-2's) comes behind Digits only. */
static kf_status read_byte_level(kf_tokenizer *t, const kfi_json *step, kf_error *err)
{
    bool prefix = false;
    bool pattern = true;
    KFI_TRY(kfi_tokenizer_json_bool(&prefix, step, "add_prefix_space", true, err));
    KFI_TRY(kfi_tokenizer_json_bool(&pattern, step, "use_regex", true, err));
    if (prefix) {
        return unsupported(err, "pre-tokenizer", "ByteLevel with add_prefix_space");
    }
    t->bpe.byte_level = true;
    if (pattern && t->pretokenizer == KFI_PRETOKENIZER_NONE) {
        t->pretokenizer = KFI_PRETOKENIZER_GPT2;
        return KF_OK;
    }
    return pattern == (t->pretokenizer == KFI_PRETOKENIZER_SMOLLM)
               ? KF_OK
               : unsupported(err, "pre-tokenizer", "ByteLevel with this use_regex");
}

static kf_status read_pretokenizer(kf_tokenizer *t, const kfi_json *pre, kf_error *err)
{
    steps s;
    KFI_TRY(read_steps(&s, pre, "pretokenizers", err));
    for (size_t i = 0; i < s.n; i++) {
        const char *type = kfi_tokenizer_json_type(s.items[i]);
        const bool first = i == 0;
        const bool last = i + 1 == s.n;
        if (strcmp(type, "Metaspace") == 0 && s.n == 1 && !t->spaces.escape) {
            KFI_TRY(read_metaspace(t, s.items[i], err));
        } else if (strcmp(type, "Split") == 0 && first) {
            KFI_TRY(read_split(t, s.items[i], err));
        } else if (strcmp(type, "Digits") == 0 && first) {
            KFI_TRY(read_digits(t, s.items[i], err));
        } else if (strcmp(type, "ByteLevel") == 0 && last) {
            KFI_TRY(read_byte_level(t, s.items[i], err));
        } else {
            return unsupported(err, "pre-tokenizer", type);
        }
    }
    return KF_OK;
}

kf_status kfi_tokenizer_read_pipeline(kf_tokenizer *tokenizer, const kfi_json *root, kf_error *err)
{
    KFI_TRY(read_normalizer(tokenizer, kfi_json_get(root, "normalizer"), err));
    KFI_TRY(read_pretokenizer(tokenizer, kfi_json_get(root, "pre_tokenizer"), err));
    const bool bytes = tokenizer->bpe.byte_level;
    if (bytes == tokenizer->spaces.escape) {
        return unsupported(err, "a tokenizer",
                           bytes ? "with both ByteLevel and U+2581"
                                 : "with neither ByteLevel nor U+2581 for spaces");
    }
    if (bytes ? tokenizer->spaces.prefix != KFI_SPACE_PREFIX_NEVER : tokenizer->nfc) {
        return unsupported(err, "normalizer",
                           bytes ? "Prepend with ByteLevel" : "NFC without ByteLevel");
    }
    return bytes || tokenizer->pretokenizer == KFI_PRETOKENIZER_NONE
               ? KF_OK
               : unsupported(err, "pre-tokenizer", "Split or Digits without ByteLevel");
}

/* The first step of a TemplateProcessing for a single text. */
static kf_status read_template(kf_tokenizer *t, const kfi_json *processor, kf_error *err)
{
    const kfi_json *first = kfi_json_at(kfi_json_get(processor, "single"), 0);
    const kfi_json *special = kfi_json_get(first, "SpecialToken");
    const kfi_json *id = kfi_json_get(special, "id");
    if (id == NULL || !kfi_json_is_string(id)) {
        return KF_OK; /* the text itself comes first */
    }
    size_t n = 0;
    const char *text = kfi_json_string(id, &n);
    t->bos = kfi_tokenizer_find_text(t, text, n);
    t->adds_bos = t->bos != KF_NO_TOKEN;
    return t->adds_bos ? KF_OK
                       : kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                                  "post_processor puts '%.60s' in front, which is no token", text);
}

kf_status kfi_tokenizer_read_processor(kf_tokenizer *tokenizer, const kfi_json *processor,
                                       kf_error *err)
{
    steps s;
    KFI_TRY(read_steps(&s, processor, "processors", err));
    for (size_t i = 0; i < s.n; i++) {
        const char *type = kfi_tokenizer_json_type(s.items[i]);
        if (strcmp(type, "TemplateProcessing") == 0) {
            KFI_TRY(read_template(tokenizer, s.items[i], err));
        } else if (strcmp(type, "ByteLevel") != 0) { /* which only moves offsets */
            return unsupported(err, "post-processor", type);
        }
    }
    return KF_OK;
}
