/* json_scan.h - limits of JSON text, checked before it is parsed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_JSON_SCAN_H
#define KFI_IO_JSON_SCAN_H

#include <stddef.h>

#include "kerf/error.h"

#define KFI_JSON_MAX_DEPTH  16u
#define KFI_JSON_MAX_VALUES ((size_t)1 << 22)

/* Counts nesting and values without building anything: a parser spends up to 128 bytes on two
 * characters of text. KF_FORMAT with the byte where a limit is passed; other errors are left to the
 * parser. */
KF_NODISCARD kf_status kfi_json_scan(const char *text, size_t n, kf_error *err);

/* The first '-' outside of strings, or n: where only counts are allowed. */
size_t kfi_json_find_minus(const char *text, size_t n);

#endif /* KFI_IO_JSON_SCAN_H */
