/* fuzz_bzip2.c - bytes that should be bzip2's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/bzip2.h"
#include "walk_tensors.h"

/* Enough for every seed, little enough to be quick on a bomb. */
#define MAX_UNPACKED ((size_t)1 << 16)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_buf text;
    kf_error err = {0};
    kfi_buf_init(&text, NULL, MAX_UNPACKED);
    const kf_status st = kfi_bzip2_unpack(&text, data, n, &err);
    require(text.n <= MAX_UNPACKED);
    require(st == KF_OK || (err.code == st && err.msg[0] != '\0'));
    kfi_buf_deinit(&text);
    return 0;
}
