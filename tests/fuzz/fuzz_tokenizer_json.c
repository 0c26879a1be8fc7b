/* fuzz_tokenizer_json.c - any bytes as tokenizer.json; one that is taken must encode and be saved.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check_tokenizer.h"
#include "text/tokenizer_json.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kf_tokenizer *t = NULL;
    kf_error err = {0};
    const kf_status st = kfi_tokenizer_parse_json(&t, (const char *)data, n, NULL, &err);
    if (st == KF_OK) {
        require(works(t));
    } else {
        require(t == NULL && err.code == st && err.msg[0] != '\0' && st != KF_INTERNAL);
    }
    kf_tokenizer_free(t);
    return 0;
}
