/* tokenizer_json.c - Hugging Face's tokenizer.json with a BPE model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/tokenizer_json.h"

#include <string.h>

#include "base/fail.h"
#include "base/file.h"

/* The largest published files have some 35 MB. */
#define MAX_FILE ((size_t)256 << 20)

kf_status kfi_tokenizer_json_bool(bool *dst, const kfi_json *object, const char *key,
                                  bool otherwise, kf_error *err)
{
    const kfi_json *member = kfi_json_get(object, key);
    *dst = otherwise;
    if (member == NULL || kfi_json_is_null(member)) {
        return KF_OK;
    }
    if (!kfi_json_is_bool(member)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'%s' is not true or false", key);
    }
    *dst = kfi_json_bool(member);
    return KF_OK;
}

const char *kfi_tokenizer_json_type(const kfi_json *object)
{
    const kfi_json *type = kfi_json_get(object, "type");
    return type != NULL && kfi_json_is_string(type) ? kfi_json_string(type, NULL) : "";
}

uint32_t kfi_tokenizer_find_text(const kf_tokenizer *tokenizer, const char *text, size_t n)
{
    const uint32_t added = kfi_vocabulary_find_added(&tokenizer->vocabulary, text, n);
    return added != KF_NO_TOKEN ? added : kfi_vocabulary_find(&tokenizer->vocabulary, text, n);
}

/* The id of a token as JSON has it. */
static kf_status read_id(size_t *id, const kfi_json *value, const char *text, kf_error *err)
{
    if (value == NULL || !kfi_json_is_integer(value) || kfi_json_integer(value) < 0 ||
        kfi_json_integer(value) >= (int64_t)UINT32_MAX) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "token '%.60s' has no valid id", text);
    }
    *id = (size_t)kfi_json_integer(value);
    return KF_OK;
}

/* ---- the number of ids ---- */

static kf_status visit_largest(void *ctx, const char *text, const kfi_json *value, kf_error *err)
{
    size_t *n = ctx;
    size_t id = 0;
    KFI_TRY(read_id(&id, value, text, err));
    *n = id >= *n ? id + 1 : *n;
    return KF_OK;
}

static const char *content_of(const kfi_json *added, size_t *n)
{
    const kfi_json *content = kfi_json_get(added, "content");
    return content != NULL && kfi_json_is_string(content) ? kfi_json_string(content, n) : NULL;
}

static kf_status count_ids(size_t *n, const kfi_json *vocab, const kfi_json *added, kf_error *err)
{
    *n = 0;
    KFI_TRY(kfi_json_each(vocab, visit_largest, n, err));
    for (size_t i = 0; i < kfi_json_size(added); i++) {
        const kfi_json *token = kfi_json_at(added, i);
        const char *content = content_of(token, NULL);
        if (content == NULL) {
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "added token %zu has no content", i);
        }
        KFI_TRY(visit_largest(n, content, kfi_json_get(token, "id"), err));
    }
    /* Some holes are usual; a few tokens with huge ids would cost memory for nothing. */
    const size_t n_named = kfi_json_size(vocab) + kfi_json_size(added);
    if (*n > 2 * n_named + 1024) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "%zu ids for %zu tokens", *n, n_named);
    }
    return KF_OK;
}

/* ---- tokens ---- */

static kf_status visit_token(void *ctx, const char *text, const kfi_json *value, kf_error *err)
{
    kf_tokenizer *t = ctx;
    size_t id = 0;
    uint8_t byte = 0;
    KFI_TRY(read_id(&id, value, text, err));
    if (t->vocabulary.tokens[id].kind != KFI_TOKEN_UNUSED) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "id %zu of token '%.60s' is taken", id, text);
    }
    const size_t n = strlen(text);
    const bool is_byte = t->bpe.byte_fallback && kfi_byte_token_parse(&byte, text, n);
    return kfi_tokenizer_set_token(t, id, text, n, is_byte ? KFI_TOKEN_BYTE : KFI_TOKEN_NORMAL,
                                   err);
}

static kf_status read_added_token(kf_tokenizer *t, const kfi_json *added, kf_error *err)
{
    size_t n = 0;
    size_t id = 0;
    bool special = false;
    bool left = false;
    bool right = false;
    bool word = false;
    const char *content = content_of(added, &n);
    KFI_TRY(read_id(&id, kfi_json_get(added, "id"), content, err));
    KFI_TRY(kfi_tokenizer_json_bool(&special, added, "special", false, err));
    KFI_TRY(kfi_tokenizer_json_bool(&left, added, "lstrip", false, err));
    KFI_TRY(kfi_tokenizer_json_bool(&right, added, "rstrip", false, err));
    KFI_TRY(kfi_tokenizer_json_bool(&word, added, "single_word", false, err));
    if (word) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "added token '%.60s' with single_word",
                        content);
    }
    KFI_TRY(kfi_tokenizer_set_token(t, id, content, n, special ? KFI_TOKEN_CONTROL : KFI_TOKEN_USER,
                                    err));
    t->vocabulary.tokens[id].flags |=
        (uint8_t)((left ? KFI_TOKEN_STRIPS_LEFT : 0u) | (right ? KFI_TOKEN_STRIPS_RIGHT : 0u));
    return KF_OK;
}

static kf_status read_tokens(kf_tokenizer *t, const kfi_json *root, kf_error *err)
{
    const kfi_json *vocab = kfi_json_get(kfi_json_get(root, "model"), "vocab");
    const kfi_json *added = kfi_json_get(root, "added_tokens");
    size_t n = 0;
    if (!kfi_json_is_object(vocab)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'vocab' is not an object");
    }
    KFI_TRY(count_ids(&n, vocab, added, err));
    KFI_TRY(kfi_vocabulary_init(&t->vocabulary, n, t->alloc, err));
    KFI_TRY(kfi_json_each(vocab, visit_token, t, err));
    for (size_t i = 0; i < kfi_json_size(added); i++) {
        KFI_TRY(read_added_token(t, kfi_json_at(added, i), err));
    }
    return kfi_vocabulary_finish(&t->vocabulary, err);
}

/* ---- merges ---- */

/* The two sides of a merge: "left right" or ["left", "right"]. */
typedef struct sides {
    const char *left, *right;
    size_t n_left, n_right;
} sides;

static bool read_sides(sides *s, const kfi_json *merge)
{
    if (kfi_json_is_string(merge)) {
        size_t n = 0;
        s->left = kfi_json_string(merge, &n);
        const char *space = n < 3 ? NULL : memchr(s->left + 1, ' ', n - 1);
        if (space == NULL) {
            return false;
        }
        s->n_left = (size_t)(space - s->left);
        s->right = space + 1;
        s->n_right = n - s->n_left - 1;
        return true;
    }
    const kfi_json *left = kfi_json_at(merge, 0);
    const kfi_json *right = kfi_json_at(merge, 1);
    if (kfi_json_size(merge) != 2 || !kfi_json_is_string(left) || !kfi_json_is_string(right)) {
        return false;
    }
    s->left = kfi_json_string(left, &s->n_left);
    s->right = kfi_json_string(right, &s->n_right);
    return true;
}

static kf_status read_merges(kf_tokenizer *t, const kfi_json *merges, kf_error *err)
{
    if (!kfi_json_is_array(merges)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'merges' is not an array");
    }
    const size_t n = kfi_json_size(merges);
    KFI_TRY(kfi_merges_init(&t->bpe.merges, n, t->alloc, err));
    for (size_t i = 0; i < n; i++) {
        sides s;
        const kfi_json *merge = kfi_json_at(merges, i);
        if (!(kfi_json_is_string(merge) || kfi_json_is_array(merge)) || !read_sides(&s, merge)) {
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "merge %zu does not name two pieces", i);
        }
        KFI_TRY(kfi_tokenizer_put_merge(t, s.left, s.n_left, s.right, s.n_right, (uint32_t)i, err));
    }
    return KF_OK;
}

/* ---- the model ---- */

/* Members that change the model and must be absent, null, or empty text. */
static kf_status refuse_extras(const kfi_json *model, kf_error *err)
{
    static const char *const keys[] = {"dropout", "continuing_subword_prefix",
                                       "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const kfi_json *value = kfi_json_get(model, keys[i]);
        size_t n = 1;
        if (value != NULL && kfi_json_is_string(value)) {
            (void)kfi_json_string(value, &n);
        }
        if (value != NULL && !kfi_json_is_null(value) && n > 0) {
            return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "a BPE model with '%s'", keys[i]);
        }
    }
    return KF_OK;
}

static kf_status read_model(kf_tokenizer *t, const kfi_json *root, kf_error *err)
{
    const kfi_json *model = kfi_json_get(root, "model");
    const char *type = kfi_tokenizer_json_type(model);
    if (!kfi_json_is_object(model)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "there is no 'model'");
    }
    if (strcmp(type, "BPE") != 0 && type[0] != '\0') {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "model '%.60s', expected BPE", type);
    }
    KFI_TRY(refuse_extras(model, err));
    KFI_TRY(kfi_tokenizer_json_bool(&t->bpe.byte_fallback, model, "byte_fallback", false, err));
    KFI_TRY(kfi_tokenizer_json_bool(&t->bpe.fuse_unknown, model, "fuse_unk", false, err));
    KFI_TRY(kfi_tokenizer_json_bool(&t->bpe.whole_words_first, model, "ignore_merges", false, err));
    KFI_TRY(kfi_tokenizer_read_pipeline(t, root, err));
    KFI_TRY(read_tokens(t, root, err));
    KFI_TRY(read_merges(t, kfi_json_get(model, "merges"), err));
    const kfi_json *unknown = kfi_json_get(model, "unk_token");
    if (unknown != NULL && kfi_json_is_string(unknown)) {
        size_t n = 0;
        const char *text = kfi_json_string(unknown, &n);
        t->bpe.unknown = kfi_tokenizer_find_text(t, text, n);
    }
    return kfi_tokenizer_read_processor(t, kfi_json_get(root, "post_processor"), err);
}

kf_status kfi_tokenizer_parse_json(kf_tokenizer **tokenizer, const char *text, size_t n,
                                   const kf_allocator *alloc, kf_error *err)
{
    kfi_json *root = NULL;
    kf_tokenizer *t = NULL;
    *tokenizer = NULL;
    kf_status st = kfi_json_parse(&root, text, n, err);
    if (st == KF_OK) {
        st = kfi_tokenizer_new(&t, alloc, err);
    }
    if (st == KF_OK) {
        st = read_model(t, root, err);
    }
    if (st == KF_OK) {
        st = kfi_tokenizer_finish(t, err);
    }
    kfi_json_free(root);
    if (st != KF_OK) {
        kf_tokenizer_free(t);
        return st;
    }
    *tokenizer = t;
    return KF_OK;
}

static kf_status fill(kf_tokenizer *t, const char *directory, const kfi_json *root,
                      const char *path, kf_error *err)
{
    const kf_status st = read_model(t, root, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", path);
        return st;
    }
    t->source = kfi_arena_strndup(&t->arena, directory, strlen(directory));
    if (t->source == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a directory");
    }
    KFI_TRY(kfi_tokenizer_read_configuration(t, directory, err));
    return kfi_tokenizer_finish(t, err);
}

kf_status kfi_tokenizer_from_directory(kf_tokenizer **tokenizer, const char *path,
                                       const kf_allocator *alloc, kf_error *err)
{
    kf_status st = KF_OK;
    kf_tokenizer *t = NULL;
    kfi_json *root = NULL;
    char *file = kfi_path_join(alloc, path, "tokenizer.json");

    *tokenizer = NULL;
    if (file == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a file");
    }
    st = kfi_json_read(&root, file, MAX_FILE, err);
    if (st == KF_OK) {
        st = kfi_tokenizer_new(&t, alloc, err);
    }
    if (st == KF_OK) {
        st = fill(t, path, root, file, err);
    }
    if (st == KF_OK) {
        *tokenizer = t;
        t = NULL; /* ownership moved to the caller */
    }
    kf_tokenizer_free(t);
    kfi_json_free(root);
    kfi_free_text(alloc, file);
    return st;
}
