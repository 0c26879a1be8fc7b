/* A tokenizer that was saved and opened again gives the same ids.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "build_tokenizer.h"
#include "fixtures.h"
#include "kerf/tokenizer.h"

static const char *const files[] = {"tokenizer.json", "tokenizer_config.json",
                                    "special_tokens_map.json", "generation_config.json"};

static const char *const texts[] = {"hello world",
                                    "  Hello\n\nworld 42 \xC2\xBD, it's 1234567  ",
                                    "e\xCC\x81 \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80 <tool>",
                                    "<|im_start|>hello<|im_end|><s>",
                                    "\xFF\xC3 broken",
                                    ""};

static void assert_same_ids(const kf_tokenizer *a, const kf_tokenizer *b)
{
    kf_error err = {0};
    assert_int_equal(kf_tokenizer_bos(a), kf_tokenizer_bos(b));
    assert_int_equal(kf_tokenizer_start(a), kf_tokenizer_start(b));
    assert_int_equal(kf_tokenizer_adds_bos(a), kf_tokenizer_adds_bos(b));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint32_t ids[2][256];
        size_t n[2];
        const uint32_t flags = KF_ENCODE_ADD_BOS | (i % 2 == 1 ? KF_ENCODE_SPECIAL : 0);
        const size_t n_text = strlen(texts[i]);
        CHECK_OK(kf_tokenizer_encode(ids[0], 256, &n[0], a, texts[i], n_text, flags, &err), &err);
        CHECK_OK(kf_tokenizer_encode(ids[1], 256, &n[1], b, texts[i], n_text, flags, &err), &err);
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(ids[0], ids[1], n[0] * sizeof ids[0][0]);
    }
}

static void assert_same_pieces(const kf_tokenizer *a, const kf_tokenizer *b)
{
    for (uint32_t id = 0; id < kf_tokenizer_count(a); id++) {
        size_t n[2];
        const char *piece_a = kf_tokenizer_piece(a, id, &n[0]);
        const char *piece_b = kf_tokenizer_piece(b, id, &n[1]);
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(piece_a, piece_b, n[0]);
        assert_int_equal(kf_tokenizer_is_end(a, id), kf_tokenizer_is_end(b, id));
    }
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    kf_error err = {0};
    kfi_buf content[2];
    const char *const directories[] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        char *path = kfi_path_join(NULL, directories[i], name);
        kfi_buf_init(&content[i], NULL, (size_t)1 << 26);
        CHECK_OK(kfi_file_read(&content[i], path, &err), &err);
        kfi_free_text(NULL, path);
    }
    assert_int_equal(content[0].n, content[1].n);
    assert_memory_equal(content[0].data, content[1].data, content[0].n);
    kfi_buf_deinit(&content[0]);
    kfi_buf_deinit(&content[1]);
}

/* Saves t, opens the copy, compares, and saves the copy, whose files must be the same bytes. */
static void check_round_trip(const kf_tokenizer *t)
{
    kf_error err = {0};
    kf_tokenizer *again = NULL;
    char *first = fixture_directory_new();
    char *second = fixture_directory_new();
    CHECK_OK(kf_tokenizer_save(t, first, &err), &err);
    CHECK_OK(kf_tokenizer_open(&again, first, NULL, &err), &err);
    assert_same_ids(t, again);
    assert_same_pieces(t, again);
    CHECK_OK(kf_tokenizer_save(again, second, &err), &err);
    for (size_t i = 0; i < 4; i++) {
        assert_same_file(first, second, files[i]);
    }
    CHECK_OK(kf_tokenizer_save(t, second, &err), &err);
    for (size_t i = 0; i < 4; i++) {
        assert_same_file(first, second, files[i]);
    }
    kf_tokenizer_free(again);
    fixture_directory_free(first);
    fixture_directory_free(second);
}

static void every_pretokenizer_comes_back(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt-2", "smollm", "llama-bpe", "qwen2"};
    for (size_t i = 0; i < 4; i++) {
        kf_error err = {0};
        kfi_buf buf;
        kf_tokenizer *t = NULL;
        tokenizer_spec spec = small_spec();
        spec.pre = names[i];
        spec.chat = i % 2 == 0 ? "<|im_start|>{{ messages[0].content }} \"q\" \xC3\xA9\n" : NULL;
        spec.add_bos = i < 2;
        build_tokenizer_gguf(&buf, &spec);
        CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
        check_round_trip(t);
        kf_tokenizer_free(t);
    }
}

static void sentencepiece_comes_back(void **state)
{
    (void)state;
    static const char *const pieces[] = {("\xE2\x96\x81"
                                          "he"),
                                         "he",
                                         "llo",
                                         "ll",
                                         "lo",
                                         "\xE2\x96\x81",
                                         "h",
                                         "e",
                                         "l",
                                         "o"};
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *t = NULL;
    build_spm_gguf(&buf, pieces, 10, KFI_GGUF_F32);
    CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
    check_round_trip(t);
    kf_tokenizer_free(t);
}

/* Saves t, opens the copy and compares what it gives for text. */
static void check_ids(kf_tokenizer *t)
{
    kf_error err = {0};
    kf_tokenizer *again = NULL;
    char *directory = fixture_directory_new();
    CHECK_OK(kf_tokenizer_save(t, directory, &err), &err);
    CHECK_OK(kf_tokenizer_open(&again, directory, NULL, &err), &err);
    assert_same_ids(t, again);
    kf_tokenizer_free(again);
    kf_tokenizer_free(t);
    fixture_directory_free(directory);
}

/* A vocabulary in JSON holds a text once: the token stays that its text is encoded to. */
static void tokens_of_equal_text_give_the_same_ids(void **state)
{
    (void)state;
    static const char *const extra[] = {"<s>",   "<|im_start|>", "<|im_end|>", "<tool>",
                                        "<pad>", "hello",        "a b",        "a b",
                                        "he",    "<s>",          "<tool>",     "\xC4\xA0wor",
                                        "h",     "\xFF",         "\xFE",       "\xEF\xBF\xBD"};
    static const int kinds[] = {3, 3, 3, 4, 5, 1, 1, 1, 3, 3, 4, 4, 1, 3, 3, 3};
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *t = NULL;
    tokenizer_spec spec = small_spec();
    spec.extra = extra;
    spec.extra_kinds = kinds;
    spec.n_extra = sizeof kinds / sizeof kinds[0];
    build_tokenizer_gguf(&buf, &spec);
    CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
    uint32_t id = 0;
    size_t n = 0;
    CHECK_OK(kf_tokenizer_encode(&id, 1, &n, t, "hello", 5, 0, &err), &err);
    assert_int_equal(n, 1);
    assert_int_equal(id, SMALL_N); /* the second one */
    check_ids(t);
}

/* Whichever of them has the higher score. */
static void pieces_of_equal_text_give_the_same_ids(void **state)
{
    (void)state;
    static const char *const pieces[] = {"he", "llo", "ll", "he", "h", "e", "l", "o", "<s>", "l"};
    for (int sign = -1; sign <= 1; sign += 2) {
        kf_error err = {0};
        kfi_buf buf;
        kf_tokenizer *t = NULL;
        float scores[269];
        build_spm_gguf(&buf, pieces, 10, KFI_GGUF_F32);
        CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
        for (size_t i = 0; i < 269; i++) {
            scores[i] = (float)(sign * (int)i);
        }
        kfi_merges_deinit(&t->bpe.merges);
        CHECK_OK(kfi_merges_from_scores(&t->bpe.merges, &t->vocabulary, scores, NULL, &err), &err);
        check_ids(t);
    }
}

static void check_data(const char *relative)
{
    kf_error err = {0};
    kf_tokenizer *t = NULL;
    const char *path = fixture_data(relative);
    SKIP_WITHOUT(path, relative);
    CHECK_OK(kf_tokenizer_open(&t, path, NULL, &err), &err);
    check_round_trip(t);
    kf_tokenizer_free(t);
}

static void llama_sentencepiece_comes_back(void **state)
{
    (void)state;
    check_data("tokenizers/ggml-vocab-llama-spm.gguf");
}

static void llama2c_comes_back(void **state)
{
    (void)state;
    check_data("models/stories260K/stories260K.bin");
}

static void write_file(const char *directory, const char *name, const char *text)
{
    kf_error err = {0};
    char *path = kfi_path_join(NULL, directory, name);
    CHECK_OK(kfi_file_write(path, text, strlen(text), &err), &err);
    kfi_free_text(NULL, path);
}

/* NULL text: the file is not there. */
static void assert_file(const char *directory, const char *name, const char *text)
{
    kf_error err = {0};
    kfi_buf content;
    char *path = kfi_path_join(NULL, directory, name);
    assert_int_equal(kfi_file_exists(path), text != NULL);
    if (text != NULL) {
        kfi_buf_init(&content, NULL, 1000);
        CHECK_OK(kfi_file_read(&content, path, &err), &err);
        assert_string_equal(content.data, text);
        kfi_buf_deinit(&content);
    }
    kfi_free_text(NULL, path);
}

static const char notice[] = "The metadata of the source model says about its licence:\n"
                             "general.license: apache-2.0\n"
                             "general.license.link: https://example.org/terms\n";

static void the_licence_comes_along(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *t = NULL;
    kf_tokenizer *copy = NULL;
    tokenizer_spec spec = small_spec();
    char *first = fixture_directory_new();
    char *second = fixture_directory_new();
    spec.licence = "apache-2.0";
    build_tokenizer_gguf(&buf, &spec);
    CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
    CHECK_OK(kf_tokenizer_save(t, first, &err), &err);
    assert_file(first, "NOTICE", notice);
    write_file(first, "LICENSE.txt", "free");
    write_file(first, "USE_POLICY.md", "be good");
    write_file(first, "README.md", "about the source");
    char *directory = kfi_path_join(NULL, first, "LICENSES");
    CHECK_OK(kfi_file_make_directories(directory, &err), &err);
    kfi_free_text(NULL, directory);
    CHECK_OK(kf_tokenizer_open(&copy, first, NULL, &err), &err);
    CHECK_OK(kf_tokenizer_save(copy, second, &err), &err);
    assert_file(second, "NOTICE", notice);
    assert_file(second, "LICENSE.txt", "free");
    assert_file(second, "USE_POLICY.md", "be good");
    assert_file(second, "README.md", NULL);
    kf_tokenizer_free(copy);
    kf_tokenizer_free(t);
    fixture_directory_free(first);
    fixture_directory_free(second);
}

static void without_a_licence_there_is_no_notice(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *t = NULL;
    const tokenizer_spec spec = small_spec();
    char *directory = fixture_directory_new();
    build_tokenizer_gguf(&buf, &spec);
    CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
    CHECK_OK(kf_tokenizer_save(t, directory, &err), &err);
    assert_file(directory, "NOTICE", NULL);
    kf_tokenizer_free(t);
    fixture_directory_free(directory);
}

static void a_directory_that_is_gone_cannot_be_copied(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *t = NULL;
    kf_tokenizer *copy = NULL;
    const tokenizer_spec spec = small_spec();
    char *source = fixture_directory_new();
    char *target = fixture_directory_new();
    build_tokenizer_gguf(&buf, &spec);
    CHECK_OK(read_tokenizer(&t, &buf, NULL, &err), &err);
    CHECK_OK(kf_tokenizer_save(t, source, &err), &err);
    CHECK_OK(kf_tokenizer_open(&copy, source, NULL, &err), &err);
    fixture_directory_free(source);
    assert_int_equal(kf_tokenizer_save(copy, target, &err), KF_INPUT);
    assert_int_equal(kf_tokenizer_save(t, "/no/such/directory", &err), KF_IO);
    kf_tokenizer_free(copy);
    kf_tokenizer_free(t);
    fixture_directory_free(target);
}

static void survives_an_allocator_that_fails(void **state)
{
    (void)state;
    kf_status st = KF_NOMEM;
    char *directory = fixture_directory_new();
    for (size_t fail_at = 1; st != KF_OK; fail_at++) {
        fixture_allocator a;
        kf_error err = {0};
        kfi_buf buf;
        kf_tokenizer *t = NULL;
        kf_tokenizer *again = NULL;
        tokenizer_spec spec = small_spec();
        spec.licence = "apache-2.0";
        fixture_allocator_init(&a, fail_at);
        build_tokenizer_gguf(&buf, &spec);
        st = read_tokenizer(&t, &buf, &a.allocator, &err);
        if (st == KF_OK) {
            st = kf_tokenizer_save(t, directory, &err);
        }
        if (st == KF_OK) {
            st = kf_tokenizer_open(&again, directory, &a.allocator, &err);
        }
        assert_true(st == KF_OK || st == KF_NOMEM);
        kf_tokenizer_free(again);
        kf_tokenizer_free(t);
        assert_true(fixture_allocator_is_clean(&a));
        assert_true(fail_at < 2000);
    }
    fixture_directory_free(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pretokenizer_comes_back),
        cmocka_unit_test(sentencepiece_comes_back),
        cmocka_unit_test(tokens_of_equal_text_give_the_same_ids),
        cmocka_unit_test(pieces_of_equal_text_give_the_same_ids),
        cmocka_unit_test(llama_sentencepiece_comes_back),
        cmocka_unit_test(llama2c_comes_back),
        cmocka_unit_test(the_licence_comes_along),
        cmocka_unit_test(without_a_licence_there_is_no_notice),
        cmocka_unit_test(a_directory_that_is_gone_cannot_be_copied),
        cmocka_unit_test(survives_an_allocator_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
