/* json_scan.c - limits of JSON text, checked before it is parsed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/json_scan.h"

#include "base/fail.h"

/* The byte behind a string whose opening quote is at i, or n. */
static size_t skip_string(const char *text, size_t n, size_t i)
{
    for (i++; i < n; i++) {
        if (text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            return i + 1;
        }
    }
    return n;
}

kf_status kfi_json_scan(const char *text, size_t n, kf_error *err)
{
    size_t depth = 0;
    size_t n_values = 1;
    size_t i = 0;
    while (i < n) {
        const char c = text[i];
        if (c == '"') {
            i = skip_string(text, n, i);
            continue;
        }
        if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
        n_values += c == '[' || c == '{' || c == ',';
        if (depth > KFI_JSON_MAX_DEPTH) {
            return kfi_fail(err, KF_FORMAT, i, "nested deeper than %u levels", KFI_JSON_MAX_DEPTH);
        }
        if (n_values > KFI_JSON_MAX_VALUES) {
            return kfi_fail(err, KF_FORMAT, i, "more than %zu values", KFI_JSON_MAX_VALUES);
        }
        i++;
    }
    return KF_OK;
}

size_t kfi_json_find_minus(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n) {
        if (text[i] == '"') {
            i = skip_string(text, n, i);
            continue;
        }
        if (text[i] == '-') {
            return i;
        }
        i++;
    }
    return n;
}
