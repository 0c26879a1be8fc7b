/* fuzz_config.c - config.json: a shape that was taken is within every ceiling, and written it reads
 * back as itself.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "model/config.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void write_config(kfi_buf *buf, const kfi_config *config)
{
    kfi_json_writer writer;
    kfi_buf_init(buf, NULL, (size_t)1 << 16);
    kfi_json_writer_init(&writer, buf, 0);
    kfi_json_begin_object(&writer);
    kfi_config_write_json(&writer, config);
    kfi_json_end_object(&writer);
    require(!buf->failed);
}

static void check_written(const kfi_config *config)
{
    kfi_buf first;
    kfi_buf second;
    kfi_config again;
    kfi_json *root = NULL;
    write_config(&first, config);
    require(kfi_json_parse(&root, first.data, first.n, NULL) == KF_OK);
    require(kfi_config_from_json(&again, root, NULL) == KF_OK);
    write_config(&second, &again);
    require(first.n == second.n && memcmp(first.data, second.data, first.n) == 0);
    kfi_json_free(root);
    kfi_buf_deinit(&first);
    kfi_buf_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_config config;
    kfi_json *root = NULL;
    kf_error err = {0};
    if (kfi_json_parse(&root, (const char *)data, n, &err) != KF_OK) {
        return 0; /* fuzz_json.c is about that */
    }
    const kf_status st = kfi_config_from_json(&config, root, &err);
    if (st == KF_OK) {
        require(kfi_config_check(&config, NULL) == KF_OK);
        check_written(&config);
    } else {
        require((st == KF_FORMAT || st == KF_UNSUPPORTED) && err.code == st && err.msg[0] != '\0');
    }
    kfi_json_free(root);
    return 0;
}
