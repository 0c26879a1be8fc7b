/* fuzz_tokenizer_gguf.c - any bytes as the metadata of a GGUF; a tokenizer that is taken must work.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check_tokenizer.h"
#include "io/gguf.h"
#include "text/tokenizer.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_gguf *gguf = NULL;
    kf_tokenizer *t = NULL;
    kf_error err = {0};
    if (kfi_gguf_parse(&gguf, data, n, NULL, &err) != KF_OK) {
        return 0; /* fuzz_gguf.c is about that */
    }
    const kf_status st = kfi_tokenizer_from_gguf(&t, gguf, NULL, &err);
    if (st == KF_OK) {
        require(works(t));
    } else {
        require(t == NULL && err.code == st && err.msg[0] != '\0' && st != KF_INTERNAL);
    }
    kf_tokenizer_free(t);
    kfi_gguf_close(gguf);
    return 0;
}
