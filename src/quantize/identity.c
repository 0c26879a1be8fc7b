/* identity.c - what a checkpoint was made from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/identity.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "kerf/version.h"
#include "model/checkpoint_names.h"

static kf_status hash_recipe(char hex[KFI_SHA256_HEX], const kf_recipe *recipe, kf_error *err)
{
    const char *name = kf_recipe_name(recipe);
    const char *json = kf_recipe_json(recipe);
    kfi_sha256 sha;
    KFI_TRY(kfi_sha256_init(&sha, err));
    kfi_sha256_update(&sha, name, strlen(name) + 1);
    kfi_sha256_update(&sha, json, strlen(json));
    return kfi_sha256_finish(&sha, hex, err);
}

/* Ids as little-endian numbers of 32 bits, which is how they lie in memory. */
static kf_status hash_ids(char hex[KFI_SHA256_HEX], const uint32_t *ids, size_t n, kf_error *err)
{
    hex[0] = '\0';
    return n > 0 ? kfi_sha256_bytes(hex, ids, n * sizeof *ids, err) : KF_OK;
}

kf_status kfi_identity_init(kfi_identity *identity, kf_model *source, const kf_recipe *recipe,
                            const kf_quantize_options *options, kf_error *err)
{
    kf_model_info info;
    kf_model_get_info(source, &info);
    *identity = (kfi_identity){.recipe = recipe,
                               .source = info.source,
                               .n_calibration = options->n_calibration,
                               .seed = options->seed,
                               .prefix = {.kind = "none", .loss = {(double)NAN, (double)NAN}}};
    KFI_TRY(hash_recipe(identity->recipe_hash, recipe, err));
    KFI_TRY(
        hash_ids(identity->calibration_hash, options->calibration, options->n_calibration, err));
    KFI_TRY(hash_ids(identity->prefix_hash, options->prefix, options->n_prefix, err));
    return kfi_model_source_hash(source, identity->source_hash, err);
}

static void put_recipe(kfi_json_writer *writer, const kfi_identity *identity)
{
    kfi_json *root = NULL;
    const char *json = kf_recipe_json(identity->recipe);
    kfi_json_member_text(writer, "recipe_name", kf_recipe_name(identity->recipe));
    kfi_json_member_text(writer, "recipe_sha256", identity->recipe_hash);
    kfi_json_key(writer, "recipe");
    if (kfi_json_parse(&root, json, strlen(json), NULL) == KF_OK) { /* fails without memory only */
        kfi_json_put_value(writer, root);
        kfi_json_free(root);
    } else {
        writer->buf->failed = true;
    }
}

static void put_prefix(kfi_json_writer *writer, const kfi_identity *identity)
{
    const kfi_prefix_choice *choice = &identity->prefix;
    kfi_json_key(writer, "prefix");
    kfi_json_begin_object(writer);
    kfi_json_member_text(writer, "kind", choice->kind);
    kfi_json_member_text(writer, "offered_sha256", identity->prefix_hash);
    kfi_json_key(writer, "ids");
    kfi_json_begin_array(writer);
    for (size_t i = 0; i < choice->n; i++) {
        kfi_json_put_integer(writer, choice->ids[i]);
    }
    kfi_json_end_array(writer);
    kfi_json_member_number(writer, "loss_without", choice->loss[0]);
    kfi_json_member_number(writer, "loss_with", choice->loss[1]);
    kfi_json_end_object(writer);
}

void kfi_identity_put(kfi_json_writer *writer, const kfi_identity *identity)
{
    kfi_json_member_integer(writer, "format_version", (int64_t)KFI_CHECKPOINT_VERSION);
    kfi_json_member_text(writer, "kerf_version", kf_version());
    put_recipe(writer, identity);
    kfi_json_member_text(writer, "source", identity->source);
    kfi_json_member_text(writer, "source_sha256", identity->source_hash);
    kfi_json_member_text(writer, "calibration_sha256", identity->calibration_hash);
    kfi_json_member_integer(writer, "calibration_tokens", (int64_t)identity->n_calibration);
    /* As text: a seed of 64 bits does not fit a JSON number of every reader. */
    char seed[24];
    (void)snprintf(seed, sizeof seed, "%" PRIu64, identity->seed);
    kfi_json_member_text(writer, "seed", seed);
    put_prefix(writer, identity);
}

static kf_status compare(const kfi_json *document, const char *key, const char *expected,
                         const char *what, kf_error *err)
{
    const kfi_json *member = kfi_json_get(document, key);
    if (!kfi_json_is_string(member)) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "\"%s\" is missing", key);
    }
    if (strcmp(kfi_json_string(member, NULL), expected) != 0) {
        return kfi_fail(err, KF_INPUT, KF_NO_OFFSET,
                        "was made with another %s: resume with the same one, or start over with "
                        "--force",
                        what);
    }
    return KF_OK;
}

static kf_status take_choice(kfi_identity *identity, const kfi_json *document,
                             const kf_quantize_options *options, kf_error *err)
{
    static const char *const kinds[] = {"none", "start", "text"};
    const kfi_json *prefix = kfi_json_get(document, "prefix");
    const kfi_json *kind = kfi_json_get(prefix, "kind");
    KFI_TRY(compare(prefix, "offered_sha256", identity->prefix_hash, "start token or prefix", err));
    const size_t n = kfi_json_size(kfi_json_get(prefix, "ids"));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && kfi_json_is_string(kind); i++) {
        if (strcmp(kfi_json_string(kind, NULL), kinds[i]) == 0 && (i == 0) == (n == 0) &&
            n <= options->n_prefix) {
            identity->prefix.kind = kinds[i];
            identity->prefix.ids = options->prefix;
            identity->prefix.n = n;
            identity->prefix.loss[0] = kfi_json_get_number(prefix, "loss_without", (double)NAN);
            identity->prefix.loss[1] = kfi_json_get_number(prefix, "loss_with", (double)NAN);
            return KF_OK;
        }
    }
    return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "\"prefix\" is malformed");
}

kf_status kfi_identity_match(kfi_identity *identity, const kfi_json *document,
                             const kf_quantize_options *options, kf_error *err)
{
    char seed[24];
    (void)snprintf(seed, sizeof seed, "%" PRIu64, identity->seed);
    KFI_TRY(compare(document, "kerf_version", kf_version(), "version of Kerf", err));
    KFI_TRY(compare(document, "recipe_sha256", identity->recipe_hash, "recipe", err));
    KFI_TRY(compare(document, "source_sha256", identity->source_hash, "source", err));
    KFI_TRY(compare(document, "calibration_sha256", identity->calibration_hash, "calibration text",
                    err));
    KFI_TRY(compare(document, "seed", seed, "seed", err));
    return take_choice(identity, document, options, err);
}
