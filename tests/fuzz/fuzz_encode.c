/* fuzz_encode.c - any bytes as text: ids exist, chunks are UTF-8, the text comes back.
 *
 * The first byte chooses the tokenizer.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "build_tokenizer.h"
#include "check_tokenizer.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define N_MODELS 5

/* gpt-2, smollm, llama-bpe, qwen2, SentencePiece. */
static kf_tokenizer *open_model(size_t i)
{
    static const char *const pre[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    static const char *const pieces[] = {"\xE2\x96\x81he", "he", "\xE2\x96\x81", "h", "e"};
    kf_error err;
    kfi_buf buf;
    kf_tokenizer *t = NULL;
    if (i == N_MODELS - 1) {
        build_spm_gguf(&buf, pieces, 5, KFI_GGUF_F32);
    } else {
        tokenizer_spec spec = small_spec();
        spec.pre = pre[i];
        build_tokenizer_gguf(&buf, &spec);
    }
    require(read_tokenizer(&t, &buf, NULL, &err) == KF_OK);
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static kf_tokenizer *models[N_MODELS];
    if (n == 0) {
        return 0;
    }
    const size_t m = data[0] % N_MODELS;
    const char *text = (const char *)data + 1;
    if (models[m] == NULL) {
        models[m] = open_model(m);
    }
    /* Qwen2 normalizes, SentencePiece takes U+2581 for a space: those texts may change. */
    const bool keeps =
        m < 3 || (m == 3 ? kfi_unicode_is_plain(text, n - 1) : memchr(text, 0xE2, n - 1) == NULL);
    require(!keeps || text_comes_back(models[m], text, n - 1));
    size_t n_ids = 0;
    uint32_t *ids =
        encode_checked(&n_ids, models[m], text, n - 1, KF_ENCODE_SPECIAL | KF_ENCODE_ADD_BOS);
    require(ids != NULL);
    free(ids);
    return 0;
}
