/* output.c - the life of OUT.partial.
 *
 * resume.json is there from the beginning until kerf.json is; so a directory with either says what
 * it is being made from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/output.h"

#include <string.h>

#include "base/fail.h"
#include "base/file.h"

void kfi_output_deinit(kfi_output *output)
{
    kfi_free_text(output->alloc, output->path);
    kfi_free_text(output->alloc, output->partial);
    kfi_free_text(output->alloc, output->old);
    kfi_file_unlock(output->lock);
    *output = (kfi_output){.lock = -1};
}

/* ".", ".." and "/" cannot be renamed to. */
static bool is_name(const char *path, size_t n)
{
    size_t begin = n;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    const char *last = path + begin;
    const size_t n_last = n - begin;
    return n_last > 0 && !(n_last <= 2 && strncmp(last, "..", n_last) == 0);
}

kf_status kfi_output_init(kfi_output *output, const char *path, const char *source,
                          const kf_allocator *alloc, kf_error *err)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    if (!is_name(path, n)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "output '%s', expected the name of the directory to make", path);
    }
    *output = (kfi_output){.alloc = alloc,
                           .source = source,
                           .lock = -1,
                           .path = kfi_strndup(alloc, path, n),
                           .partial = kfi_concat(alloc, path, n, ".partial"),
                           .old = kfi_concat(alloc, path, n, ".replaced")};
    if (output->path == NULL || output->partial == NULL || output->old == NULL) {
        kfi_output_deinit(output);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "the output's path");
    }
    return KF_OK;
}

kf_status kfi_output_lock(kfi_output *output, kf_error *err)
{
    const bool is_ours = output->lock >= 0;
    return is_ours || !kfi_file_is_directory(output->partial)
               ? KF_OK
               : kfi_file_lock_directory(&output->lock, output->partial, err);
}

kf_status kfi_output_recover(const kfi_output *output, kf_error *err)
{
    const bool is_between = !kfi_output_is_there(output->path) &&
                            kfi_output_is_checkpoint(output, output->partial) &&
                            kfi_output_is_checkpoint(output, output->old);
    return is_between ? kfi_file_rename(output->old, output->path, err) : KF_OK;
}

/* OUT goes to OUT.replaced, which must be free or free to go itself. */
static kf_status check_replaced(const kfi_output *output, kf_error *err)
{
    KFI_TRY(kfi_output_check_replaced(output, output->path, err));
    return kfi_output_check_replaced(output, output->old, err);
}

kf_status kfi_output_check(kfi_output *output, const kf_quantize_options *options, kf_error *err)
{
    const bool exists = kfi_output_is_there(output->path);
    const bool is_partial = kfi_output_is_there(output->partial);
    output->replace = options->force;
    KFI_TRY(kfi_output_check_partial(output, err));
    if (exists && !options->force && !(options->resume && !is_partial)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "'%s' exists; --force replaces it",
                        output->path);
    }
    if (is_partial && !options->resume && !options->force) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "'%s' is there from a run that was interrupted: the same command with "
                        "--resume goes on, with --force starts over",
                        output->partial);
    }
    if (exists && options->force) {
        KFI_TRY(check_replaced(output, err));
    }
    return KF_OK;
}

/* Reads DIRECTORY/name; *root is NULL where there is none. */
static kf_status read_document(kfi_json **root, const kfi_output *output, const char *directory,
                               const char *name, kf_error *err)
{
    *root = NULL;
    char *path = kfi_path_join(output->alloc, directory, name);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
    }
    kf_status st = KF_OK;
    if (kfi_file_exists(path)) {
        st = kfi_json_read(root, path, KFI_DOCUMENT_MAX, err);
    }
    kfi_free_text(output->alloc, path);
    return st;
}

/* *found: the directory holds work of this identity. */
static kf_status match_directory(bool *found, const kfi_output *output, const char *directory,
                                 kfi_identity *identity, const kf_quantize_options *options,
                                 kf_error *err)
{
    kfi_json *root = NULL;
    KFI_TRY(read_document(&root, output, directory, KFI_FILE_KERF, err));
    if (root == NULL) {
        KFI_TRY(read_document(&root, output, directory, KFI_FILE_RESUME, err));
    }
    *found = root != NULL;
    if (root == NULL) {
        return KF_OK;
    }
    const kf_status st = kfi_identity_match(identity, root, options, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "'%s': ", directory);
    }
    kfi_json_free(root);
    return st;
}

kf_status kfi_output_resume(const kfi_output *output, kfi_output_state *state,
                            kfi_identity *identity, const kf_quantize_options *options,
                            kf_error *err)
{
    bool found = false;
    *state = KFI_OUTPUT_FRESH;
    if (!options->resume) {
        return KF_OK;
    }
    if (kfi_file_exists(output->partial)) {
        KFI_TRY(match_directory(&found, output, output->partial, identity, options, err));
        *state = found ? KFI_OUTPUT_PARTIAL : KFI_OUTPUT_FRESH;
        return KF_OK;
    }
    if (!kfi_output_is_there(output->path) || options->force) {
        return KF_OK;
    }
    KFI_TRY(match_directory(&found, output, output->path, identity, options, err));
    if (!found) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "'%s' exists; --force replaces it",
                        output->path);
    }
    *state = KFI_OUTPUT_COMPLETE;
    return KF_OK;
}

static kf_status remove_name(const kfi_output *output, const char *name, kf_error *err)
{
    char *path = kfi_path_join(output->alloc, output->partial, name);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a path");
    }
    const kf_status st = kfi_file_remove_tree(path, err);
    kfi_free_text(output->alloc, path);
    return st;
}

static kf_status remove_cut_off(void *ctx, const char *name, kf_error *err)
{
    return kfi_output_is_cut_off(name) ? remove_name(ctx, name, err) : KF_OK;
}

kf_status kfi_output_clean(const kfi_output *output, kf_error *err)
{
    kfi_output copy = *output; /* the visitor's context is not const */
    return kfi_file_list(output->partial, remove_cut_off, &copy, err);
}

static kf_status remove_unless_document(void *ctx, const char *name, kf_error *err)
{
    const bool is_document = strcmp(name, KFI_FILE_KERF) == 0 || strcmp(name, KFI_FILE_RESUME) == 0;
    return is_document ? KF_OK : remove_name(ctx, name, err);
}

/* What says that the directory is ours goes last, or a run that is cut off here would leave
 * something that the next one refuses. */
static kf_status empty_partial(const kfi_output *output, kf_error *err)
{
    kfi_output copy = *output; /* the visitor's context is not const */
    KFI_TRY(kfi_file_list(output->partial, remove_unless_document, &copy, err));
    KFI_TRY(remove_name(output, KFI_FILE_KERF, err));
    return remove_name(output, KFI_FILE_RESUME, err);
}

kf_status kfi_output_begin(kfi_output *output, const kfi_identity *identity, kf_error *err)
{
    kfi_buf buf;
    kfi_json_writer writer;
    KFI_TRY(kfi_output_check_partial(output, err)); /* deciding the prefix has taken its time */
    KFI_TRY(kfi_file_make_directories(output->partial, err));
    KFI_TRY(kfi_output_lock(output, err));
    KFI_TRY(empty_partial(output, err));
    char *path = kfi_path_join(output->alloc, output->partial, KFI_FILE_RESUME);
    kfi_buf_init(&buf, output->alloc, KFI_DOCUMENT_MAX);
    kfi_json_writer_init(&writer, &buf, 2);
    kfi_json_begin_object(&writer);
    kfi_identity_put(&writer, identity);
    kfi_json_end_object(&writer);
    kf_status st = KF_OK;
    if (buf.failed || path == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of " KFI_FILE_RESUME);
    } else {
        st = kfi_file_write(path, buf.data, buf.n, err);
    }
    kfi_buf_deinit(&buf);
    kfi_free_text(output->alloc, path);
    return st;
}

kf_status kfi_output_finish(const kfi_output *output, kf_error *err)
{
    KFI_TRY(remove_name(output, KFI_FILE_RESUME, err));
    const bool replaces = output->replace && kfi_output_is_there(output->path);
    if (replaces) {
        KFI_TRY(check_replaced(output, err)); /* again: hours may have gone by */
        KFI_TRY(kfi_file_remove_tree(output->old, err));
        KFI_TRY(kfi_file_rename(output->path, output->old, err));
    }
    KFI_TRY(kfi_file_rename(output->partial, output->path, err));
    return replaces ? kfi_file_remove_tree(output->old, err) : KF_OK;
}
