/* Properties of every tokenizer, over seeded random texts and ids.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "base/rng.h"
#include "build_tokenizer.h"
#include "check_tokenizer.h"
#include "kerf/tokenizer.h"

#define N_CASES  1000
#define MAX_TEXT 200
#define N_MODELS 5
#define SEED     20260307u

static const char *const spm_pieces[] = {"\xE2\x96\x81he", "llo", "ll", "lo", "he",
                                         "\xE2\x96\x81",   "h",   "e",  "l",  "o"};

/* gpt-2, smollm, llama-bpe and SentencePiece, which keep a text, and qwen2, which normalizes it. */
static kf_tokenizer *open_model(size_t i)
{
    static const char *const pre[] = {"gpt-2", "smollm", "llama-bpe", NULL, "qwen2"};
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *t = NULL;
    if (pre[i] == NULL) {
        build_spm_gguf(&buf, spm_pieces, 10, KFI_GGUF_F32);
    } else {
        tokenizer_spec spec = small_spec();
        spec.pre = pre[i];
        build_tokenizer_gguf(&buf, &spec);
    }
    CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
    return t;
}

/* Pieces that tokenizers stumble over, glued at random, and now and then any byte. */
static size_t make_text(char *text, kfi_rng *rng)
{
    static const char *const parts[] = {"hello",
                                        " world",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r\n",
                                        "\t",
                                        "1",
                                        "2345",
                                        "'s",
                                        "'LL",
                                        "<s>",
                                        "<",
                                        "\xC2\xBD",
                                        "\xC3\xA9",
                                        "\xE4\xB8\xAD",
                                        "!?",
                                        "he",
                                        "llo",
                                        "{",
                                        "_",
                                        "\xE3\x80\x80",
                                        "\xF0\x9F\x98\x80",
                                        "<tool>"};
    const size_t most = 1 + kfi_rng_below(rng, MAX_TEXT - 8);
    size_t n = 0;
    while (n < most) {
        if (kfi_rng_below(rng, 12) == 0) {
            text[n++] = (char)kfi_rng_below(rng, 256);
            continue;
        }
        const char *part = parts[kfi_rng_below(rng, sizeof parts / sizeof parts[0])];
        memcpy(text + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

static void texts_come_back_from_their_ids(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODELS - 1; m++) {
        kf_tokenizer *t = open_model(m);
        for (uint64_t i = 0; i < N_CASES; i++) {
            kfi_rng rng;
            char text[MAX_TEXT];
            kfi_rng_init(&rng, SEED + i);
            const size_t n = make_text(text, &rng);
            if (!text_comes_back(t, text, n)) {
                fail_msg("model %zu, case %u: '%.*s'", m, (unsigned)i, (int)n, text);
            }
        }
        kf_tokenizer_free(t);
    }
}

static void chunks_of_random_ids_are_whole_characters(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_MODELS; m++) {
        kf_tokenizer *t = open_model(m);
        for (uint64_t i = 0; i < N_CASES; i++) {
            kfi_rng rng;
            kfi_buf text;
            uint32_t ids[50];
            kfi_rng_init(&rng, SEED + i);
            for (size_t k = 0; k < 50; k++) {
                ids[k] = (uint32_t)kfi_rng_below(&rng, kf_tokenizer_count(t) + 3);
            }
            kfi_buf_init(&text, NULL, 100000);
            if (!decode_in_chunks(&text, t, ids, 50)) {
                fail_msg("model %zu, case %u", m, (unsigned)i);
            }
            kfi_buf_deinit(&text);
        }
        kf_tokenizer_free(t);
    }
}

/* All bytes that were pushed are in the chunks: as many characters as the joined pieces have. */
static void chunks_together_are_the_joined_pieces(void **state)
{
    (void)state;
    kf_tokenizer *t = open_model(0);
    for (uint64_t i = 0; i < N_CASES; i++) {
        kfi_rng rng;
        kfi_buf chunks;
        kfi_buf joined;
        kfi_buf valid;
        uint32_t ids[50];
        kfi_rng_init(&rng, SEED + i);
        kfi_buf_init(&chunks, NULL, 100000);
        kfi_buf_init(&joined, NULL, 100000);
        kfi_buf_init(&valid, NULL, 100000);
        for (size_t k = 0; k < 50; k++) {
            size_t n = 0;
            ids[k] = (uint32_t)kfi_rng_below(&rng, kf_tokenizer_count(t));
            const char *piece = kf_tokenizer_piece(t, ids[k], &n);
            (void)kfi_buf_append(&joined, piece, n);
        }
        kfi_utf8_append_valid(&valid, joined.data, joined.n);
        assert_true(decode_in_chunks(&chunks, t, ids, 50));
        assert_int_equal(chunks.n, valid.n);
        assert_memory_equal(chunks.data, valid.data, valid.n);
        kfi_buf_deinit(&chunks);
        kfi_buf_deinit(&joined);
        kfi_buf_deinit(&valid);
    }
    kf_tokenizer_free(t);
}

/* A word has the same ids in whatever company it is: a text cut where a word certainly ends,
 * between a full stop and a letter, has the ids of its two parts. */
static void words_encode_by_themselves(void **state)
{
    (void)state;
    kf_tokenizer *t = open_model(0);
    for (uint64_t i = 0; i < N_CASES; i++) {
        kfi_rng rng;
        char text[2 * MAX_TEXT];
        size_t n = 0;
        size_t n_first = 0;
        size_t n_second = 0;
        kfi_rng_init(&rng, SEED + i);
        size_t n_text = make_text(text, &rng);
        text[n_text - 1] = '.';
        text[n_text++] = 'a';
        const size_t cut = n_text - 1;
        n_text += make_text(text + n_text, &rng);
        uint32_t *ids = encode_checked(&n, t, text, n_text, 0);
        uint32_t *first = encode_checked(&n_first, t, text, cut, 0);
        uint32_t *second = encode_checked(&n_second, t, text + cut, n_text - cut, 0);
        assert_non_null(ids);
        assert_non_null(first);
        assert_non_null(second);
        assert_int_equal(n, n_first + n_second);
        assert_memory_equal(ids, first, n_first * sizeof *ids);
        assert_memory_equal(ids + n_first, second, n_second * sizeof *ids);
        free(ids);
        free(first);
        free(second);
    }
    kf_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_come_back_from_their_ids),
        cmocka_unit_test(chunks_of_random_ids_are_whole_characters),
        cmocka_unit_test(chunks_together_are_the_joined_pieces),
        cmocka_unit_test(words_encode_by_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
