/* save.c - writing a tokenizer as the files that Hugging Face's loaders read.
 *
 * A tokenizer that came from a directory is copied file by file, and with it the files that say on
 * which terms the model may be used. One from a GGUF or llama2.c file is written anew (save_json.c,
 * save_config.c), with a NOTICE of what the metadata says about the licence. The same tokenizer
 * gives the same bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "io/pull.h"
#include "text/save.h"

#define MAX_FILE ((size_t)1 << 30)

static const char *const file_names[] = {"tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "generation_config.json",
                                         "chat_template.jinja"};

static kf_status copy_file(const char *from, const char *to, const kf_allocator *alloc,
                           kf_error *err)
{
    kfi_buf content;
    kfi_buf_init(&content, alloc, MAX_FILE);
    kf_status st = kfi_file_read(&content, from, err);
    if (st == KF_OK) {
        st = kfi_file_write(to, content.data, content.n, err);
    }
    kfi_buf_deinit(&content);
    return st;
}

/* Copies one file where the source has it; tokenizer.json it must have. */
static kf_status copy_named(const kf_tokenizer *t, const char *directory, const char *name,
                            bool required, kf_error *err)
{
    kf_status st = KF_OK;
    char *from = kfi_path_join(t->alloc, t->source, name);
    char *to = kfi_path_join(t->alloc, directory, name);
    if (from == NULL || to == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a file");
    } else if (required || (kfi_file_exists(from) && !kfi_file_is_directory(from))) {
        st = copy_file(from, to, t->alloc, err);
    }
    kfi_free_text(t->alloc, from);
    kfi_free_text(t->alloc, to);
    return st;
}

/* A directory that is being saved into. */
typedef struct target {
    const kf_tokenizer *tokenizer;
    const char *directory;
} target;

static kf_status copy_licence(void *ctx, const char *name, kf_error *err)
{
    const target *to = ctx;
    const kfi_text text = {name, strlen(name)};
    return kfi_is_licence(text) && kfi_is_plain_name(text)
               ? copy_named(to->tokenizer, to->directory, name, false, err)
               : KF_OK;
}

static kf_status copy_all(const kf_tokenizer *t, const char *directory, kf_error *err)
{
    target to = {t, directory};
    for (size_t i = 0; i < sizeof file_names / sizeof file_names[0]; i++) {
        KFI_TRY(copy_named(t, directory, file_names[i], i == 0, err));
    }
    return kfi_file_list(t->source, copy_licence, &to, err);
}

typedef void writer_of_file(kfi_json_writer *writer, const kf_tokenizer *tokenizer);

static kf_status write_named(const kf_tokenizer *t, const char *directory, const char *name,
                             writer_of_file *write, kf_error *err)
{
    kf_status st = KF_OK;
    kfi_buf text;
    kfi_json_writer writer;
    char *path = kfi_path_join(t->alloc, directory, name);
    kfi_buf_init(&text, t->alloc, MAX_FILE);
    kfi_json_writer_init(&writer, &text, 2);
    write(&writer, t);
    (void)kfi_buf_append_byte(&text, '\n');
    if (path == NULL || text.failed) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of %s", name);
    } else {
        st = kfi_file_write(path, text.data, text.n, err);
    }
    kfi_buf_deinit(&text);
    kfi_free_text(t->alloc, path);
    return st;
}

static kf_status write_notice(const kf_tokenizer *t, const char *directory, kf_error *err)
{
    if (t->notice == NULL) {
        return KF_OK;
    }
    char *path = kfi_path_join(t->alloc, directory, "NOTICE");
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a file");
    }
    const kf_status st = kfi_file_write(path, t->notice, strlen(t->notice), err);
    kfi_free_text(t->alloc, path);
    return st;
}

kf_status kf_tokenizer_save(const kf_tokenizer *tokenizer, const char *directory, kf_error *err)
{
    static writer_of_file *const writers[] = {kfi_tokenizer_write_json, kfi_tokenizer_write_config,
                                              kfi_tokenizer_write_special_tokens,
                                              kfi_tokenizer_write_generation_config};
    if (tokenizer->source != NULL) {
        return copy_all(tokenizer, directory, err);
    }
    for (size_t i = 0; i < sizeof writers / sizeof writers[0]; i++) {
        KFI_TRY(write_named(tokenizer, directory, file_names[i], writers[i], err));
    }
    return write_notice(tokenizer, directory, err);
}
