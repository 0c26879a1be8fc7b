/* pull_files.c - names of files that come from a server or an archive.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>
#include <strings.h>

#include "io/pull.h"

#define MAX_PATH_PARTS 8u

bool kfi_is_plain_path(kfi_text path)
{
    size_t begin = 0;
    for (size_t n_parts = 1; n_parts <= MAX_PATH_PARTS; n_parts++) {
        const char *slash = memchr(path.data + begin, '/', path.n - begin);
        const size_t end = slash != NULL ? (size_t)(slash - path.data) : path.n;
        if (!kfi_is_plain_name((kfi_text){path.data + begin, end - begin})) {
            return false;
        }
        if (slash == NULL) {
            return true;
        }
        begin = end + 1;
    }
    return false;
}

bool kfi_text_ends_with(kfi_text text, const char *suffix)
{
    const size_t n = strlen(suffix);
    return text.n >= n && strncasecmp(text.data + text.n - n, suffix, n) == 0;
}

static bool begins_with(kfi_text text, const char *prefix)
{
    const size_t n = strlen(prefix);
    return text.n >= n && strncasecmp(text.data, prefix, n) == 0;
}

bool kfi_is_licence(kfi_text name)
{
    return begins_with(name, "license") || begins_with(name, "notice") ||
           begins_with(name, "use_policy");
}

bool kfi_is_model_companion(kfi_text name)
{
    static const char *const suffixes[] = {".json", ".jinja", "tokenizer.model", "merges.txt",
                                           "vocab.txt"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (kfi_text_ends_with(name, suffixes[i])) {
            return true;
        }
    }
    return kfi_is_licence(name);
}
