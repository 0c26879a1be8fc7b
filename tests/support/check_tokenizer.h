/* check_tokenizer.h - what holds for every tokenizer and every text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_CHECK_TOKENIZER_H
#define KERF_TESTS_CHECK_TOKENIZER_H

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "kerf/tokenizer.h"
#include "text/save.h"
#include "text/unicode.h"

/* Decodes ids one by one into buf; false where a chunk is not valid UTF-8 or longer than promised.
 */
static inline bool decode_in_chunks(kfi_buf *buf, const kf_tokenizer *tokenizer,
                                    const uint32_t *ids, size_t n)
{
    kf_detokenizer d;
    kf_detokenizer_init(&d, tokenizer);
    for (size_t i = 0; i <= n; i++) {
        size_t n_piece = 4;
        if (i < n) {
            (void)kf_tokenizer_piece(tokenizer, ids[i], &n_piece);
        }
        const size_t room = 4 + 3 * n_piece;
        const size_t start = buf->n;
        if (!kfi_buf_reserve(buf, room)) {
            return false;
        }
        const size_t n_chunk = i < n ? kf_detokenizer_push(&d, ids[i], buf->data + start, room)
                                     : kf_detokenizer_finish(&d, buf->data + start, room);
        buf->n += n_chunk;
        if (n_chunk > room || !kfi_utf8_is_valid(buf->data + start, n_chunk)) {
            return false;
        }
    }
    return true;
}

/* Encodes a text, twice (counting, writing), into ids that the caller frees with free(). NULL where
 * the two disagree or an id does not exist. */
static inline uint32_t *encode_checked(size_t *n, const kf_tokenizer *tokenizer, const char *text,
                                       size_t n_text, uint32_t flags)
{
    size_t counted = 0;
    kf_error err;
    if (kf_tokenizer_encode(NULL, 0, &counted, tokenizer, text, n_text, flags, &err) != KF_OK) {
        return NULL;
    }
    uint32_t *ids = calloc(counted + 1, sizeof *ids);
    bool good = ids != NULL &&
                kf_tokenizer_encode(ids, counted, n, tokenizer, text, n_text, flags, &err) == KF_OK;
    good = good && *n == counted;
    for (size_t i = 0; good && i < *n; i++) {
        good = ids[i] < kf_tokenizer_count(tokenizer);
    }
    if (!good) {
        free(ids);
        return NULL;
    }
    return ids;
}

/* Encodes and decodes; true where the text comes back with its invalid bytes replaced. */
static inline bool text_comes_back(const kf_tokenizer *tokenizer, const char *text, size_t n_text)
{
    kfi_buf valid;
    kfi_buf back;
    size_t n = 0;
    uint32_t *ids = encode_checked(&n, tokenizer, text, n_text, 0);
    kfi_buf_init(&valid, NULL, SIZE_MAX / 2);
    kfi_buf_init(&back, NULL, SIZE_MAX / 2);
    kfi_utf8_append_valid(&valid, text, n_text);
    const bool same = ids != NULL && decode_in_chunks(&back, tokenizer, ids, n) &&
                      back.n == valid.n &&
                      (back.n == 0 || memcmp(back.data, valid.data, back.n) == 0);
    kfi_buf_deinit(&valid);
    kfi_buf_deinit(&back);
    free(ids);
    return same;
}

/* Uses a tokenizer that a reader made of hostile input in every way; true where all of it holds. */
static inline bool works(const kf_tokenizer *tokenizer)
{
    static const char text[] = "ab <s> 1\xC2\xBD\xFF  e\xCC\x81\n\xE2\x96\x81z";
    kfi_buf buf;
    kfi_json_writer writer;
    bool good = true;
    for (uint32_t flags = 0; good && flags < 4; flags++) {
        size_t n = 0;
        uint32_t *ids = encode_checked(&n, tokenizer, text, sizeof text - 1, flags);
        kfi_buf_init(&buf, NULL, (size_t)1 << 26);
        good = ids != NULL && decode_in_chunks(&buf, tokenizer, ids, n);
        kfi_buf_deinit(&buf);
        free(ids);
    }
    kfi_buf_init(&buf, NULL, (size_t)1 << 28);
    kfi_json_writer_init(&writer, &buf, 0);
    kfi_tokenizer_write_json(&writer, tokenizer);
    good = good && !buf.failed;
    kfi_buf_deinit(&buf);
    return good;
}

#endif /* KERF_TESTS_CHECK_TOKENIZER_H */
