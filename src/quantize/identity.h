/* identity.h - what a checkpoint was made from: in kerf.json, and in resume.json while working.
 *
 * Two runs with the same identity give the same bytes. It holds no time, host or path.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_IDENTITY_H
#define KFI_QUANTIZE_IDENTITY_H

#include "io/json.h"
#include "io/sha256.h"
#include "kerf/quantize.h"

#define KFI_FILE_KERF   "kerf.json"
#define KFI_FILE_RESUME "resume.json"

/* Bytes of a document: kerf.json, resume.json, config.json, the index. */
#define KFI_DOCUMENT_MAX (256u << 20)

/* The end of kerf.json: a checksum of all bytes in front of it. */
#define KFI_KERF_TAIL_BEGIN ",\n  \"sha256\": \""
#define KFI_KERF_TAIL_END   "\"\n}\n"

/* What became of the recipe's prefix. */
typedef struct kfi_prefix_choice {
    const char *kind;    /* "none", "start" or "text"; static */
    const uint32_t *ids; /* [n], borrowed */
    size_t n;
    double loss[2]; /* without and with the start token, nats a token; NaN where not measured */
} kfi_prefix_choice;

typedef struct kfi_identity {
    const kf_recipe *recipe;               /* borrowed */
    char recipe_hash[KFI_SHA256_HEX];      /* of its name and its resolved text */
    const char *source;                    /* in words, borrowed */
    char source_hash[KFI_SHA256_HEX];      /* of its content */
    char calibration_hash[KFI_SHA256_HEX]; /* of the token ids; "" when none were used */
    size_t n_calibration;
    char prefix_hash[KFI_SHA256_HEX]; /* of the ids that the caller offers; "" when none */
    uint64_t seed;
    kfi_prefix_choice prefix; /* decided, or read back */
} kfi_identity;

/* Hashes source, recipe, calibration and prefix. Reads the whole source. */
KF_NODISCARD kf_status kfi_identity_init(kfi_identity *identity, kf_model *source,
                                         const kf_recipe *recipe,
                                         const kf_quantize_options *options, kf_error *err);

/* Members of an open object. */
void kfi_identity_put(kfi_json_writer *writer, const kfi_identity *identity);

/* Compares with the document of an earlier run and takes its decision about the prefix.
 * KF_INPUT: made from something else, the message says from what; KF_FORMAT: not such a document.
 */
KF_NODISCARD kf_status kfi_identity_match(kfi_identity *identity, const kfi_json *document,
                                          const kf_quantize_options *options, kf_error *err);

#endif /* KFI_QUANTIZE_IDENTITY_H */
