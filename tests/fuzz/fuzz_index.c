/* fuzz_index.c - pages of package indexes: the first byte chooses HTML ('h') or JSON, the rest is
 * the page.
 *
 * What comes out is used to make requests and files, so it is checked: absolute web addresses, and
 * hashes of 64 digits. The names go on into the reader of versions, whose normal form must read
 * back equal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/pull.h"
#include "io/version.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void check_version(const char *text)
{
    kfi_version version;
    kfi_version again;
    char normal[KFI_VERSION_TEXT];
    if (kfi_version_parse(&version, text, strlen(text))) {
        kfi_version_write(normal, &version);
        require(kfi_version_parse(&again, normal, strlen(normal)));
        require(kfi_version_compare(&version, &again) == 0);
    }
}

static void check_file(const kfi_index_file *file)
{
    char url[KFI_URL_MAX];
    char name[64];
    require(kfi_url_resolve(url, NULL, file->url, NULL) == KF_OK);
    require(file->sha256 == NULL || strlen(file->sha256) == 64);
    check_version(file->name);
    const char *dash = strchr(file->name, '-');
    if (dash != NULL) {
        check_version(dash + 1);
    }
    if (kfi_index_normalize(name, sizeof name, file->name, strlen(file->name))) {
        require(kfi_is_plain_name((kfi_text){name, strlen(name)}));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_puller puller = {0};
    kfi_index index;
    kfi_buf body;
    kfi_http_answer answer = {.url = "https://index/simple/x/"};

    if (n < 2) {
        return 0;
    }
    const char *type = data[0] == 'h' ? "text/html" : "application/json";
    memcpy(answer.content_type, type, strlen(type) + 1);
    kfi_arena_init(&puller.arena, NULL, (size_t)64 << 20);
    kfi_buf_init(&body, NULL, n);
    require(kfi_buf_append(&body, data + 1, n - 1));
    if (kfi_index_parse(&puller, &index, &answer, &body, NULL) == KF_OK) {
        for (size_t i = 0; i < index.n; i++) {
            check_file(&index.files[i]);
        }
    }
    kfi_buf_deinit(&body);
    kfi_arena_deinit(&puller.arena);
    return 0;
}
