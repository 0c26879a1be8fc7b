/* fuzz_json.c - JSON text: what was read is written, read again and written again, equal.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "io/json.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void write_document(kfi_buf *buf, const kfi_json *root, int indent)
{
    kfi_json_writer writer;
    kfi_buf_init(buf, NULL, (size_t)256 << 20);
    kfi_json_writer_init(&writer, buf, indent);
    kfi_json_put_value(&writer, root);
    require(!buf->failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_json *root = NULL;
    kfi_json *again = NULL;
    kfi_buf first;
    kfi_buf second;
    kf_error err = {0};
    if (kfi_json_parse(&root, (const char *)data, n, &err) != KF_OK) {
        require(err.code != KF_OK && err.msg[0] != '\0');
        return 0;
    }
    write_document(&first, root, 0);
    require(kfi_json_parse(&again, first.data, first.n, &err) == KF_OK);
    write_document(&second, again, 0);
    require(first.n == second.n && memcmp(first.data, second.data, first.n) == 0);
    kfi_json_free(again);
    kfi_buf_deinit(&second);
    write_document(&second, root, 2);
    require(kfi_json_parse(&again, second.data, second.n, &err) == KF_OK);
    kfi_json_free(again);
    kfi_json_free(root);
    kfi_buf_deinit(&first);
    kfi_buf_deinit(&second);
    return 0;
}
