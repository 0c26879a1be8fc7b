/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/buf.h"
#include "text/pretokenize.h"

/* The words of a text with '|' between, as a string. */
static void assert_words(kfi_pretokenizer kind, const char *text, const char *expected)
{
    kfi_buf words;
    kfi_buf_init(&words, NULL, 1000);
    size_t i = 0;
    const size_t n = strlen(text);
    while (i < n) {
        const size_t n_word = kfi_pretokenize_next(kind, text + i, n - i);
        assert_in_range(n_word, 1, n - i);
        if (i > 0) {
            (void)kfi_buf_append_byte(&words, '|');
        }
        (void)kfi_buf_append(&words, text + i, n_word);
        i += n_word;
    }
    assert_string_equal(words.data, expected);
    kfi_buf_deinit(&words);
}

static void gpt2_joins_one_space_to_the_next_word(void **state)
{
    (void)state;
    assert_words(KFI_PRETOKENIZER_GPT2, "Hello world 42!", "Hello| world| 42|!");
    assert_words(KFI_PRETOKENIZER_GPT2, "a  b", "a| | b");
    assert_words(KFI_PRETOKENIZER_GPT2, "a\t\tb \n", "a|\t|\t|b| \n");
    assert_words(KFI_PRETOKENIZER_GPT2, "   ", "   ");
}

static void gpt2_knows_lower_case_contractions(void **state)
{
    (void)state;
    assert_words(KFI_PRETOKENIZER_GPT2, "it's we'll IT'S 'x", "it|'s| we|'ll| IT|'|S| '|x");
    assert_words(KFI_PRETOKENIZER_GPT2, " 're", " '|re");
}

static void smollm_takes_every_numeral_by_itself(void **state)
{
    (void)state;
    assert_words(KFI_PRETOKENIZER_SMOLLM, "in 1984", "in| |1|9|8|4");
    assert_words(KFI_PRETOKENIZER_SMOLLM, "4 \xC2\xBD x", "4| |\xC2\xBD| x");
    assert_words(KFI_PRETOKENIZER_SMOLLM, "a   7   b", "a|   |7|  | b");
}

static void llama3_takes_numerals_in_threes(void **state)
{
    (void)state;
    assert_words(KFI_PRETOKENIZER_LLAMA3, "in 12345", "in| |123|45");
    assert_words(KFI_PRETOKENIZER_QWEN2, "in 123", "in| |1|2|3");
}

static void llama3_ends_words_at_line_ends(void **state)
{
    (void)state;
    assert_words(KFI_PRETOKENIZER_LLAMA3, "a;\n\nb", "a|;\n\n|b");
    assert_words(KFI_PRETOKENIZER_LLAMA3, "a \n \n  b", "a| \n \n| | b");
    assert_words(KFI_PRETOKENIZER_LLAMA3, "\tx", "\tx");
    assert_words(KFI_PRETOKENIZER_LLAMA3, "\nx", "\n|x");
    assert_words(KFI_PRETOKENIZER_LLAMA3, "(x .y", "(x| .|y");
}

static void llama3_contractions_have_any_case(void **state)
{
    (void)state;
    assert_words(KFI_PRETOKENIZER_LLAMA3, "IT'S we'LL", "IT|'S| we|'LL");
    assert_words(KFI_PRETOKENIZER_LLAMA3, "'\xC5\xBF", "'\xC5\xBF"); /* long s is an s */
    assert_words(KFI_PRETOKENIZER_LLAMA3, "'x", "'x");
}

static void keeps_everything_without_a_pattern(void **state)
{
    (void)state;
    assert_words(KFI_PRETOKENIZER_NONE, "a b\n1", "a b\n1");
}

static void finds_its_patterns_again(void **state)
{
    (void)state;
    const kfi_pretokenizer kinds[] = {KFI_PRETOKENIZER_GPT2, KFI_PRETOKENIZER_LLAMA3,
                                      KFI_PRETOKENIZER_QWEN2};
    for (size_t i = 0; i < 3; i++) {
        const char *pattern = kfi_pretokenizer_pattern(kinds[i]);
        kfi_pretokenizer found = KFI_PRETOKENIZER_NONE;
        assert_true(kfi_pretokenizer_by_pattern(&found, pattern, strlen(pattern)));
        assert_int_equal(found, kinds[i]);
    }
    kfi_pretokenizer found = KFI_PRETOKENIZER_NONE;
    assert_false(kfi_pretokenizer_by_pattern(&found, "\\w+", 3));
    assert_false(kfi_pretokenizer_by_name(&found, "qwen", 4));
    assert_true(kfi_pretokenizer_by_name(&found, "qwen2", 5));
    assert_int_equal(found, KFI_PRETOKENIZER_QWEN2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_joins_one_space_to_the_next_word),
        cmocka_unit_test(gpt2_knows_lower_case_contractions),
        cmocka_unit_test(smollm_takes_every_numeral_by_itself),
        cmocka_unit_test(llama3_takes_numerals_in_threes),
        cmocka_unit_test(llama3_ends_words_at_line_ends),
        cmocka_unit_test(llama3_contractions_have_any_case),
        cmocka_unit_test(keeps_everything_without_a_pattern),
        cmocka_unit_test(finds_its_patterns_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
