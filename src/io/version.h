/* version.h - version numbers of Python packages (PEP 440): reading, writing and order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_VERSION_H
#define KFI_IO_VERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KFI_VERSION_PARTS 12u  /* numbers in the release: 2024.1.0 has three */
#define KFI_VERSION_TEXT  256u /* the longest normal form, and a NUL */

/* [EPOCH!]N(.N)*[{a|b|rc}N][.postN][.devN][+LOCAL], in normal form. */
typedef struct kfi_version {
    uint32_t epoch;
    uint32_t n_parts;
    uint32_t parts[KFI_VERSION_PARTS]; /* 0 beyond n_parts */
    char pre;                          /* 'a', 'b', 'r' (candidate), or 0 where there is none */
    uint32_t pre_number;
    bool has_post, has_dev;
    uint32_t post, dev;
    char local[32]; /* lower case, segments joined by dots; "" = none */
} kfi_version;

/* Reads all spellings that PEP 440 allows ("v1.0-RC.1" is 1.0rc1). False: not a version, or beyond
 * the limits above. */
bool kfi_version_parse(kfi_version *version, const char *text, size_t n);

/* <0, 0, >0 by the order of PEP 440: 1.0.dev1 < 1.0a1 < 1.0rc1 < 1.0 = 1.0.0 < 1.0+local <
 * 1.0.post1. Local parts are compared as text. */
int kfi_version_compare(const kfi_version *a, const kfi_version *b);

/* As "==" of a requirement: a wanted version without a local part takes any local part. */
bool kfi_version_matches(const kfi_version *version, const kfi_version *wanted);

/* Pre-releases and development releases: chosen only where asked for, or where nothing else is. */
bool kfi_version_is_prerelease(const kfi_version *version);

/* The normal form without trailing zeros of the release, so that equal versions give equal text. */
void kfi_version_write(char dst[KFI_VERSION_TEXT], const kfi_version *version);

#endif /* KFI_IO_VERSION_H */
