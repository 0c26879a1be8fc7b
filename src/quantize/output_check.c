/* output_check.c - what --force may remove.
 *
 * A command line is typed in a hurry; so a directory goes only where a document of Kerf's in it
 * says that Kerf made it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "quantize/output.h"

bool kfi_output_is_cut_off(const char *name)
{
    static const char suffix[] = ".tmp";
    const size_t n = strlen(name);
    return n >= sizeof suffix && strcmp(name + n - (sizeof suffix - 1), suffix) == 0;
}

/* Whether DIRECTORY/name is a document that Kerf wrote; without memory it is none. */
static bool holds_document(const kfi_output *output, const char *directory, const char *name)
{
    kfi_json *root = NULL;
    char *path = kfi_path_join(output->alloc, directory, name);
    const bool holds = path != NULL &&
                       kfi_json_read(&root, path, KFI_DOCUMENT_MAX, NULL) == KF_OK &&
                       kfi_json_is_string(kfi_json_get(root, "kerf_version"));
    kfi_json_free(root);
    kfi_free_text(output->alloc, path);
    return holds;
}

bool kfi_output_is_checkpoint(const kfi_output *output, const char *directory)
{
    return kfi_file_is_directory(directory) && holds_document(output, directory, KFI_FILE_KERF);
}

/* What a visitor of names is told. */
typedef struct place {
    const char *path;
} place;

static kf_status refuse_name(void *ctx, const char *name, kf_error *err)
{
    return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                    "'%s' holds '%.60s' and no " KFI_FILE_KERF " of Kerf's: it is not replaced, "
                    "remove it yourself or name another output",
                    ((const place *)ctx)->path, name);
}

static kf_status refuse_links_and_source(const kfi_output *output, const char *path, kf_error *err)
{
    if (kfi_file_is_link(path) || !kfi_file_is_directory(path)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "'%s' is %s, expected a directory: it is not replaced", path,
                        kfi_file_is_link(path) ? "a symbolic link" : "a file");
    }
    if (output->source != NULL && kfi_path_contains(path, output->source)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "'%s' holds the model that is read: it is not replaced", path);
    }
    return KF_OK;
}

bool kfi_output_is_there(const char *path)
{
    return kfi_file_exists(path) || kfi_file_is_link(path);
}

kf_status kfi_output_check_replaced(const kfi_output *output, const char *path, kf_error *err)
{
    if (!kfi_output_is_there(path)) {
        return KF_OK;
    }
    KFI_TRY(refuse_links_and_source(output, path, err));
    place here = {path};
    return holds_document(output, path, KFI_FILE_KERF)
               ? KF_OK
               : kfi_file_list(path, refuse_name, &here, err);
}

static kf_status refuse_foreign(void *ctx, const char *name, kf_error *err)
{
    if (kfi_output_is_cut_off(name)) {
        return KF_OK;
    }
    return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                    "'%s' holds '%.60s' but no " KFI_FILE_RESUME ": it is not an interrupted run; "
                    "remove it yourself or name another output",
                    ((const place *)ctx)->path, name);
}

kf_status kfi_output_check_partial(const kfi_output *output, kf_error *err)
{
    const char *path = output->partial;
    place here = {path};
    if (!kfi_output_is_there(path)) {
        return KF_OK;
    }
    KFI_TRY(refuse_links_and_source(output, path, err));
    if (holds_document(output, path, KFI_FILE_RESUME) ||
        holds_document(output, path, KFI_FILE_KERF)) {
        return KF_OK;
    }
    return kfi_file_list(path, refuse_foreign, &here, err);
}
