/* fuzz_llama2c.c - llama2.c model files, and tokenizer files of one to eight tokens.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "io/llama2c.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_model(const uint8_t *data, size_t n)
{
    kfi_llama2c *file = NULL;
    kf_error err = {0};
    if (kfi_llama2c_parse(&file, data, n, NULL, &err) != KF_OK) {
        require(err.code != KF_OK && err.msg[0] != '\0');
        return;
    }
    const kfi_tensor_table *table = kfi_llama2c_tensors(file);
    for (size_t i = 0; i < table->n; i++) {
        walk_tensor(table, &table->tensors[i], kfi_llama2c_map(file));
    }
    kfi_llama2c_close(file);
}

static void read_vocabulary(const uint8_t *data, size_t n)
{
    kfi_llama2c_vocabulary vocabulary;
    const size_t vocab_size = n == 0 ? 1 : data[0] % 8 + 1;
    if (kfi_llama2c_vocabulary_parse(&vocabulary, data, n, vocab_size, NULL, NULL) != KF_OK) {
        return;
    }
    require(vocabulary.n == vocab_size);
    for (size_t i = 0; i < vocabulary.n; i++) {
        require(strlen(vocabulary.pieces[i]) <= vocabulary.lengths[i]);
    }
    kfi_llama2c_vocabulary_deinit(&vocabulary);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    read_model(data, n);
    read_vocabulary(data, n);
    return 0;
}
