/* tokenizer_config.c - the small files beside tokenizer.json: roles, ends, chat template.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "text/tokenizer_json.h"

#define MAX_CONFIGURATION ((size_t)16 << 20)

/* A role is written as a text or as an object with the text in "content". */
static uint32_t read_role(const kf_tokenizer *t, const kfi_json *root, const char *key)
{
    const kfi_json *value = kfi_json_get(root, key);
    const kfi_json *text = kfi_json_is_object(value) ? kfi_json_get(value, "content") : value;
    if (text == NULL || !kfi_json_is_string(text)) {
        return KF_NO_TOKEN;
    }
    size_t n = 0;
    const char *name = kfi_json_string(text, &n);
    return kfi_tokenizer_find_text(t, name, n);
}

static kf_status keep_template(kf_tokenizer *t, const char *text, size_t n, kf_error *err)
{
    t->chat_template = kfi_arena_strndup(&t->arena, text, n);
    return t->chat_template != NULL
               ? KF_OK
               : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "chat template of %zu bytes", n);
}

/* One template, or a list of named ones of which "default" counts. */
static kf_status read_template(kf_tokenizer *t, const kfi_json *value, kf_error *err)
{
    size_t n = 0;
    if (value != NULL && kfi_json_is_string(value)) {
        const char *text = kfi_json_string(value, &n);
        return keep_template(t, text, n, err);
    }
    for (size_t i = 0; i < kfi_json_size(value); i++) {
        const kfi_json *item = kfi_json_at(value, i);
        const kfi_json *name = kfi_json_get(item, "name");
        const kfi_json *body = kfi_json_get(item, "template");
        if (name != NULL && kfi_json_is_string(name) && body != NULL && kfi_json_is_string(body) &&
            strcmp(kfi_json_string(name, NULL), "default") == 0) {
            const char *text = kfi_json_string(body, &n);
            return keep_template(t, text, n, err);
        }
    }
    return KF_OK;
}

static kf_status read_tokenizer_config(kf_tokenizer *t, const kfi_json *root, kf_error *err)
{
    bool adds_bos = t->adds_bos;
    const uint32_t bos = read_role(t, root, "bos_token");
    t->bos = t->bos == KF_NO_TOKEN ? bos : t->bos;
    t->eos = read_role(t, root, "eos_token");
    t->padding = read_role(t, root, "pad_token");
    KFI_TRY(kfi_tokenizer_json_bool(&adds_bos, root, "add_bos_token", adds_bos, err));
    /* The post-processor of tokenizer.json decides, where it puts a token in front. */
    t->adds_bos = t->adds_bos || (adds_bos && t->bos != KF_NO_TOKEN);
    return read_template(t, kfi_json_get(root, "chat_template"), err);
}

/* Marks one id that ends an answer. */
static kf_status read_end(kf_tokenizer *t, const kfi_json *value, kf_error *err)
{
    if (!kfi_json_is_integer(value) || kfi_json_integer(value) < 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "'eos_token_id' is not a token id");
    }
    const uint64_t id = (uint64_t)kfi_json_integer(value);
    if (id < t->vocabulary.n) { /* an id beyond the tokenizer never comes out of it */
        kfi_tokenizer_mark_end(t, (uint32_t)id);
        t->eos = t->eos == KF_NO_TOKEN ? (uint32_t)id : t->eos;
    }
    return KF_OK;
}

static kf_status read_generation_config(kf_tokenizer *t, const kfi_json *root, kf_error *err)
{
    const kfi_json *ends = kfi_json_get(root, "eos_token_id");
    const kfi_json *bos = kfi_json_get(root, "bos_token_id");
    if (t->bos == KF_NO_TOKEN && bos != NULL && kfi_json_is_integer(bos) &&
        kfi_json_integer(bos) >= 0 && (uint64_t)kfi_json_integer(bos) < t->vocabulary.n) {
        t->bos = (uint32_t)kfi_json_integer(bos);
    }
    if (ends == NULL || kfi_json_is_null(ends)) {
        kfi_tokenizer_mark_known_ends(t);
        return KF_OK;
    }
    if (!kfi_json_is_array(ends)) {
        return read_end(t, ends, err);
    }
    for (size_t i = 0; i < kfi_json_size(ends); i++) {
        KFI_TRY(read_end(t, kfi_json_at(ends, i), err));
    }
    return KF_OK;
}

/* Reads one of the files where it is there; read sees NULL where not. */
static kf_status read_file(kf_tokenizer *t, const char *directory, const char *name,
                           kf_status (*read)(kf_tokenizer *, const kfi_json *, kf_error *),
                           kf_error *err)
{
    kf_status st = KF_OK;
    kfi_json *root = NULL;
    char *path = kfi_path_join(t->alloc, directory, name);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a file");
    }
    if (kfi_file_exists(path)) {
        st = kfi_json_read(&root, path, MAX_CONFIGURATION, err);
    }
    if (st == KF_OK) {
        st = read(t, root, err);
        if (st != KF_OK) {
            kfi_fail_prefix(err, "%s: ", path);
        }
    }
    kfi_json_free(root);
    kfi_free_text(t->alloc, path);
    return st;
}

/* A template in a file of its own stands above the one in tokenizer_config.json. */
static kf_status read_template_file(kf_tokenizer *t, const char *directory, kf_error *err)
{
    kf_status st = KF_OK;
    kfi_buf text;
    char *path = kfi_path_join(t->alloc, directory, "chat_template.jinja");
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a file");
    }
    kfi_buf_init(&text, t->alloc, MAX_CONFIGURATION);
    if (kfi_file_exists(path)) {
        st = kfi_file_read(&text, path, err);
        if (st == KF_OK) {
            st = keep_template(t, text.n > 0 ? text.data : "", text.n, err);
        }
    }
    kfi_buf_deinit(&text);
    kfi_free_text(t->alloc, path);
    return st;
}

kf_status kfi_tokenizer_read_configuration(kf_tokenizer *tokenizer, const char *directory,
                                           kf_error *err)
{
    KFI_TRY(read_file(tokenizer, directory, "tokenizer_config.json", read_tokenizer_config, err));
    KFI_TRY(read_template_file(tokenizer, directory, err));
    return read_file(tokenizer, directory, "generation_config.json", read_generation_config, err);
}
