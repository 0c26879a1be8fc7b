/* fuzz_gguf.c - GGUF files. What was accepted must be readable to its last byte: every value of the
 * metadata, every tensor.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "io/gguf.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Sums what is read, so that no read is optimised away. */
static volatile uint64_t sum;

static void walk_text(kfi_text text)
{
    for (size_t i = 0; i < text.n; i++) {
        sum += (unsigned char)text.data[i];
    }
}

static void walk_value(const kfi_gguf *gguf, const kfi_gguf_value *value)
{
    char key[64];
    uint64_t count = 0;
    double number = 0.0;
    bool flag = false;
    kfi_text text = {NULL, 0};
    for (uint64_t i = 0; i < value->n; i++) {
        if (value->texts != NULL) {
            walk_text(value->texts[i]);
        } else if (value->type != KFI_GGUF_STRING) {
            sum += (uint64_t)kfi_gguf_element_i64(value, i);
            sum += kfi_gguf_element_f64(value, i) > 0.0;
        }
    }
    if (value->key.n >= sizeof key || memchr(value->key.data, 0, value->key.n) != NULL) {
        return;
    }
    memcpy(key, value->key.data, value->key.n);
    key[value->key.n] = '\0';
    require(kfi_gguf_find(gguf, key) == value);
    sum += kfi_gguf_u64(&count, gguf, key, NULL) == KF_OK;
    sum += kfi_gguf_f64(&number, gguf, key, NULL) == KF_OK;
    sum += kfi_gguf_bool(&flag, gguf, key, NULL) == KF_OK;
    if (kfi_gguf_text(&text, gguf, key, NULL) == KF_OK) {
        walk_text(text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_gguf *gguf = NULL;
    kf_error err = {0};
    if (kfi_gguf_parse(&gguf, data, n, NULL, &err) != KF_OK) {
        require(err.code != KF_OK && err.msg[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < kfi_gguf_count(gguf); i++) {
        walk_value(gguf, kfi_gguf_at(gguf, i));
    }
    const kfi_tensor_table *table = kfi_gguf_tensors(gguf);
    for (size_t i = 0; i < table->n; i++) {
        walk_tensor(table, &table->tensors[i], kfi_gguf_map(gguf));
    }
    kfi_gguf_close(gguf);
    return 0;
}
