/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "build_tokenizer.h"
#include "fixtures.h"
#include "kerf/tokenizer.h"
#include "text/hash.h"

static kf_tokenizer *open_spec(const tokenizer_spec *spec)
{
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *tokenizer = NULL;
    build_tokenizer_gguf(&buf, spec);
    CHECK_OK(read_tokenizer(&tokenizer, &buf, NULL, &err), &err);
    return tokenizer;
}

static kf_tokenizer *open_small(void)
{
    const tokenizer_spec spec = small_spec();
    return open_spec(&spec);
}

static kf_tokenizer *open_spm(const char *const *pieces, size_t n)
{
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *tokenizer = NULL;
    build_spm_gguf(&buf, pieces, n, KFI_GGUF_F32);
    CHECK_OK(read_tokenizer(&tokenizer, &buf, NULL, &err), &err);
    return tokenizer;
}

static void assert_ids(const kf_tokenizer *tokenizer, const char *text, uint32_t flags, size_t n,
                       const uint32_t *expected)
{
    kf_error err = {0};
    uint32_t ids[64];
    size_t n_ids = 0;
    CHECK_OK(kf_tokenizer_encode(ids, 64, &n_ids, tokenizer, text, strlen(text), flags, &err),
             &err);
    assert_int_equal(n_ids, n);
    assert_memory_equal(ids, expected, n * sizeof *expected);
    size_t counted = 0;
    CHECK_OK(kf_tokenizer_encode(NULL, 0, &counted, tokenizer, text, strlen(text), flags, &err),
             &err);
    assert_int_equal(counted, n);
}

#define ASSERT_IDS(tokenizer, text, flags, ...)                                                    \
    do {                                                                                           \
        const uint32_t expected_ids[] = {__VA_ARGS__};                                             \
        assert_ids(tokenizer, text, flags, sizeof expected_ids / sizeof *expected_ids,             \
                   expected_ids);                                                                  \
    } while (0)

static void merges_by_rank(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    assert_int_equal(kf_tokenizer_count(t), SMALL_N);
    ASSERT_IDS(t, "hello world", 0, SMALL_HELLO, SMALL_SPACE_WORLD);
    ASSERT_IDS(t, "hex", 0, SMALL_HE, 'x');
    ASSERT_IDS(t, "\xC3\xA9", 0, 0xC3, 0xA9);
    assert_ids(t, "", 0, 0, NULL);
    kf_tokenizer_free(t);
}

static void finds_special_tokens_only_when_asked(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    ASSERT_IDS(t, "<|im_end|>he", KF_ENCODE_SPECIAL, SMALL_IM_END, SMALL_HE);
    ASSERT_IDS(t, "<s>", 0, '<', 's', '>');
    ASSERT_IDS(t, "<tool>", 0, SMALL_TOOL); /* user-defined: always */
    ASSERT_IDS(t, "<pad>", KF_ENCODE_SPECIAL, '<', 'p', 'a', 'd', '>');
    ASSERT_IDS(t, "he", KF_ENCODE_ADD_BOS, SMALL_BOS, SMALL_HE);
    kf_tokenizer_free(t);
}

static void longest_special_token_wins(void **state)
{
    (void)state;
    static const char *const extra[] = {"<a", "<a><b>", "<a>", "<"};
    static const int kinds[] = {3, 3, 4, 3};
    tokenizer_spec spec = small_spec();
    spec.extra = extra;
    spec.extra_kinds = kinds;
    spec.n_extra = 4;
    kf_tokenizer *t = open_spec(&spec);
    ASSERT_IDS(t, "<a><b>", KF_ENCODE_SPECIAL, 266);
    ASSERT_IDS(t, "<a><b<", KF_ENCODE_SPECIAL, 267, 268, 'b', 268);
    ASSERT_IDS(t, "<a><b>", 0, 267, '<', 'b', '>');
    kf_tokenizer_free(t);
}

static void encodes_invalid_bytes_as_the_replacement(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    ASSERT_IDS(t, "\xFFhe", 0, 0xEF, 0xBF, 0xBD, SMALL_HE);
    kf_tokenizer_free(t);
}

static void reports_too_little_room(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    kf_error err = {0};
    uint32_t ids[2] = {7, 7};
    size_t n = 0;
    assert_int_equal(kf_tokenizer_encode(ids, 1, &n, t, "hex", 3, 0, &err), KF_RANGE);
    assert_int_equal(n, 2);
    assert_int_equal(ids[0], SMALL_HE);
    assert_int_equal(ids[1], 7);
    kf_tokenizer_free(t);
}

static void knows_its_roles(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    assert_int_equal(kf_tokenizer_bos(t), SMALL_BOS);
    assert_true(kf_tokenizer_adds_bos(t));
    assert_int_equal(kf_tokenizer_start(t), SMALL_BOS);
    assert_true(kf_tokenizer_is_end(t, SMALL_IM_END));
    assert_false(kf_tokenizer_is_end(t, SMALL_BOS));
    assert_false(kf_tokenizer_is_end(t, UINT32_MAX));
    kf_tokenizer_free(t);
}

static void pieces_are_bytes(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    size_t n = 99;
    assert_memory_equal(kf_tokenizer_piece(t, SMALL_SPACE_WORLD, &n), " world", 6);
    assert_int_equal(n, 6);
    assert_int_equal(*kf_tokenizer_piece(t, 0xFF, &n), '\xFF');
    (void)kf_tokenizer_piece(t, SMALL_BOS, &n);
    assert_int_equal(n, 0);
    (void)kf_tokenizer_piece(t, SMALL_PAD, &n);
    assert_int_equal(n, 0);
    (void)kf_tokenizer_piece(t, UINT32_MAX, &n);
    assert_int_equal(n, 0);
    assert_memory_equal(kf_tokenizer_piece(t, SMALL_TOOL, &n), "<tool>", 6);
    kf_tokenizer_free(t);
}

/* Candidates in a long word come from a heap; what it finds must be what a plain search for the
 * best pair, again and again, would find. */
static void long_words_merge_like_short_ones(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    kf_error err = {0};
    char text[5001];
    uint32_t ids[5000];
    size_t n = 0;
    for (size_t i = 0; i < 5000; i++) {
        text[i] = "hello"[i % 5];
    }
    CHECK_OK(kf_tokenizer_encode(ids, 5000, &n, t, text, 5000, 0, &err), &err);
    assert_int_equal(n, 1000);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(ids[i], SMALL_HELLO);
    }
    kf_tokenizer_free(t);
}

/* A quadratic search would need hours. */
static void a_word_of_a_megabyte_takes_no_time(void **state)
{
    (void)state;
    kf_tokenizer *t = open_small();
    kf_error err = {0};
    const size_t n_text = (size_t)1 << 20;
    char *text = kfi_alloc(NULL, n_text);
    size_t n = 0;
    assert_non_null(text);
    for (size_t i = 0; i < n_text; i++) {
        text[i] = "he"[i % 2];
    }
    CHECK_OK(kf_tokenizer_encode(NULL, 0, &n, t, text, n_text, 0, &err), &err);
    assert_int_equal(n, n_text / 2);
    kfi_free(NULL, text, n_text);
    kf_tokenizer_free(t);
}

static void llama3_takes_whole_words_first(void **state)
{
    (void)state;
    static const char *const merges[] = {"a b", "b c", "a bc"};
    tokenizer_spec spec = small_spec();
    spec.merges = merges;
    spec.n_merges = 3;
    spec.bos = LEFT_OUT;
    spec.eos = LEFT_OUT;
    kf_tokenizer *t = open_spec(&spec);
    ASSERT_IDS(t, "abc", 0, 256, 'c');
    kf_tokenizer_free(t);
    spec.pre = "llama-bpe";
    t = open_spec(&spec);
    ASSERT_IDS(t, "abc", 0, 258);
    kf_tokenizer_free(t);
}

static void sentencepiece_escapes_spaces_and_falls_back_to_bytes(void **state)
{
    (void)state;
    static const char *const pieces[] = {("\xE2\x96\x81"
                                          "a"),
                                         "aa", "\xE2\x96\x81", "a", "b"};
    kf_tokenizer *t = open_spm(pieces, 5);
    ASSERT_IDS(t, "a", 0, 259);
    ASSERT_IDS(t, "aab", 0, 259, 262, 263); /* the space takes the first a */
    ASSERT_IDS(t, " b", KF_ENCODE_ADD_BOS, 1, 261, 261, 263);
    ASSERT_IDS(t, "b\n\xC3\xA9", 0, 261, 263, 3 + '\n', 3 + 0xC3, 3 + 0xA9);
    ASSERT_IDS(t, "a<s>a", KF_ENCODE_SPECIAL, 259, 1, 259);
    assert_true(kf_tokenizer_is_end(t, 2));
    size_t n = 0;
    assert_memory_equal(kf_tokenizer_piece(t, 259, &n), " a", 2);
    assert_memory_equal(kf_tokenizer_piece(t, 3 + '\n', &n), "\n", 1);
    kf_tokenizer_free(t);
}

static void sentencepiece_words_end_only_where_no_piece_spans(void **state)
{
    (void)state;
    /* With a piece that has a space inside, the text may not be cut in front of spaces. */
    static const char *const pieces[] = {("a\xE2\x96\x81"
                                          "b"),
                                         "a\xE2\x96\x81", "\xE2\x96\x81", "a", "b"};
    kf_tokenizer *t = open_spm(pieces, 5);
    ASSERT_IDS(t, "a b", 0, 261, 259);
    kf_tokenizer_free(t);
}

/* The status and message of a spec that must fail. */
static void assert_refused(const tokenizer_spec *spec, kf_status status, const char *part)
{
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *tokenizer = NULL;
    build_tokenizer_gguf(&buf, spec);
    const kf_status got = read_tokenizer(&tokenizer, &buf, NULL, &err);
    assert_null(tokenizer);
    if (got != status || strstr(err.msg, part) == NULL) {
        fail_msg("got %d: %s; expected %d: %s", (int)got, err.msg, (int)status, part);
    }
}

static void refuses_what_is_not_implemented_by_name(void **state)
{
    (void)state;
    tokenizer_spec spec = small_spec();
    spec.model = "bert";
    assert_refused(&spec, KF_UNSUPPORTED, "'bert'");
    spec = small_spec();
    spec.pre = "tekken";
    assert_refused(&spec, KF_UNSUPPORTED, "'tekken'");
}

static void refuses_arrays_of_wrong_type_or_length(void **state)
{
    (void)state;
    tokenizer_spec spec = small_spec();
    spec.n_kinds_missing = 1;
    assert_refused(&spec, KF_FORMAT, "269 elements");
    spec = small_spec();
    spec.kind_element = KFI_GGUF_F32;
    assert_refused(&spec, KF_FORMAT, "expected integers");
    spec = small_spec();
    spec.text_element = KFI_GGUF_U64;
    assert_refused(&spec, KF_FORMAT, "expected strings");
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *tokenizer = NULL;
    static const char *const pieces[] = {"a"};
    build_spm_gguf(&buf, pieces, 1, KFI_GGUF_I32);
    assert_int_equal(read_tokenizer(&tokenizer, &buf, NULL, &err), KF_FORMAT);
    assert_non_null(strstr(err.msg, "expected float32"));
}

static void refuses_ids_and_kinds_out_of_range(void **state)
{
    (void)state;
    tokenizer_spec spec = small_spec();
    spec.bos = SMALL_N;
    assert_refused(&spec, KF_FORMAT, "bos_token_id");
    static const int kinds[] = {3, 3, 3, 7, 5};
    spec = small_spec();
    spec.extra_kinds = kinds;
    assert_refused(&spec, KF_FORMAT, "type 7");
}

static void refuses_merges_of_unknown_pieces(void **state)
{
    (void)state;
    static const char *const unknown_side[] = {"a bb"};
    tokenizer_spec spec = small_spec();
    spec.merges = unknown_side;
    spec.n_merges = 1;
    assert_refused(&spec, KF_FORMAT, "'bb' is not in the vocabulary");
}

/* A table of pairs made to collide is quadratic: a million of them would take minutes. */
static void refuses_merges_made_to_collide(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_merges merges;
    kf_status st = KF_OK;
    uint32_t n = 0;
    CHECK_OK(kfi_merges_init(&merges, 1000, NULL, &err), &err);
    for (uint32_t right = 0; st == KF_OK && n < 1000; right++) {
        if ((kfi_hash_u64(right) & (merges.n_slots - 1)) == 5) {
            st = kfi_merges_put(&merges, (kfi_merge){0, right, n++, 0}, &err);
        }
    }
    assert_int_equal(st, KF_FORMAT);
    assert_non_null(strstr(err.msg, "equal hashes"));
    assert_int_equal(merges.n, KFI_MERGES_MAX_PROBES);
    kfi_merges_deinit(&merges);
}

static void refuses_a_byte_token_that_is_none(void **state)
{
    (void)state;
    static const char *const pieces[] = {"<0x-1>"};
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *tokenizer = NULL;
    build_spm_gguf(&buf, pieces, 1, KFI_GGUF_F32);
    /* The piece's kind is the last of the array, in front of the key of the scores. */
    static const char next[] = "tokenizer.ggml.scores";
    char *at = NULL;
    for (size_t i = 0; at == NULL && i + sizeof next <= buf.n; i++) {
        at = memcmp(buf.data + i, next, sizeof next - 1) == 0 ? buf.data + i - 12 : NULL;
    }
    assert_non_null(at);
    *at = KFI_TOKEN_BYTE;
    assert_int_equal(read_tokenizer(&tokenizer, &buf, NULL, &err), KF_FORMAT);
    assert_non_null(strstr(err.msg, "<0x-1>"));
}

static void survives_an_allocator_that_fails(void **state)
{
    (void)state;
    kf_status st = KF_NOMEM;
    for (size_t fail_at = 1; st != KF_OK; fail_at++) {
        fixture_allocator a;
        kf_error err = {0};
        kfi_buf buf;
        kf_tokenizer *t = NULL;
        tokenizer_spec spec = small_spec();
        spec.pre = "qwen2";
        fixture_allocator_init(&a, fail_at);
        build_tokenizer_gguf(&buf, &spec);
        st = read_tokenizer(&t, &buf, &a.allocator, &err);
        if (st == KF_OK) {
            uint32_t ids[64];
            size_t n = 0;
            st = kf_tokenizer_encode(ids, 64, &n, t, "\xFF hello e\xCC\x81<s> world", 21,
                                     KF_ENCODE_SPECIAL, &err);
        }
        assert_true(st == KF_OK || st == KF_NOMEM);
        kf_tokenizer_free(t);
        assert_true(fixture_allocator_is_clean(&a));
        assert_true(fail_at < 1000);
    }
}

static void warns_where_the_file_names_no_pretokenizer(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a"};
    tokenizer_spec spec = small_spec();
    kf_tokenizer *named = open_spec(&spec);
    assert_null(kf_tokenizer_warning(named));
    spec.pre = NULL;
    kf_tokenizer *nameless = open_spec(&spec);
    assert_non_null(kf_tokenizer_warning(nameless));
    assert_non_null(strstr(kf_tokenizer_warning(nameless), "tokenizer.ggml.pre"));
    kf_tokenizer *spm = open_spm(pieces, 1); /* has none by nature */
    assert_null(kf_tokenizer_warning(spm));
    kf_tokenizer_free(named);
    kf_tokenizer_free(nameless);
    kf_tokenizer_free(spm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank),
        cmocka_unit_test(finds_special_tokens_only_when_asked),
        cmocka_unit_test(longest_special_token_wins),
        cmocka_unit_test(encodes_invalid_bytes_as_the_replacement),
        cmocka_unit_test(reports_too_little_room),
        cmocka_unit_test(knows_its_roles),
        cmocka_unit_test(pieces_are_bytes),
        cmocka_unit_test(long_words_merge_like_short_ones),
        cmocka_unit_test(a_word_of_a_megabyte_takes_no_time),
        cmocka_unit_test(llama3_takes_whole_words_first),
        cmocka_unit_test(sentencepiece_escapes_spaces_and_falls_back_to_bytes),
        cmocka_unit_test(sentencepiece_words_end_only_where_no_piece_spans),
        cmocka_unit_test(refuses_what_is_not_implemented_by_name),
        cmocka_unit_test(refuses_arrays_of_wrong_type_or_length),
        cmocka_unit_test(refuses_ids_and_kinds_out_of_range),
        cmocka_unit_test(refuses_merges_of_unknown_pieces),
        cmocka_unit_test(refuses_merges_made_to_collide),
        cmocka_unit_test(refuses_a_byte_token_that_is_none),
        cmocka_unit_test(warns_where_the_file_names_no_pretokenizer),
        cmocka_unit_test(survives_an_allocator_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
