/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "text/byte_alphabet.h"
#include "text/unicode.h"

static void decodes_what_it_encodes(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code += 7) {
        char text[4];
        const size_t n = kfi_utf8_encode(text, code);
        const kfi_utf8_char c = kfi_utf8_decode(text, n);
        if (code >= 0xD800 && code < 0xE000) {
            assert_false(c.valid);
            continue;
        }
        assert_true(c.valid);
        assert_int_equal(c.code, code);
        assert_int_equal(c.n, n);
    }
}

static void assert_valid_form(const char *text, const char *expected)
{
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 1000);
    kfi_utf8_append_valid(&buf, text, strlen(text));
    assert_string_equal(buf.data, expected);
    kfi_buf_deinit(&buf);
}

static void replaces_each_maximal_invalid_part_once(void **state)
{
    (void)state;
    assert_valid_form("a\xC3\xA9z", "a\xC3\xA9z");
    assert_valid_form("\xFF", KFI_REPLACEMENT_UTF8);
    assert_valid_form("\xC0\xAF", KFI_REPLACEMENT_UTF8 KFI_REPLACEMENT_UTF8); /* overlong */
    assert_valid_form("\xED\xA0\x80",                                         /* surrogate */
                      KFI_REPLACEMENT_UTF8 KFI_REPLACEMENT_UTF8 KFI_REPLACEMENT_UTF8);
    assert_valid_form("\xE2\x82x", KFI_REPLACEMENT_UTF8 "x"); /* cut, one part */
    assert_valid_form(
        "\xF4\x90\x80\x80", /* beyond U+10FFFF */
        KFI_REPLACEMENT_UTF8 KFI_REPLACEMENT_UTF8 KFI_REPLACEMENT_UTF8 KFI_REPLACEMENT_UTF8);
    assert_valid_form("\xF0\x9F\x98", KFI_REPLACEMENT_UTF8);
}

static void tells_a_cut_character_from_a_wrong_one(void **state)
{
    (void)state;
    assert_true(kfi_utf8_decode("\xE2\x82", 2).cut);
    assert_true(kfi_utf8_decode("\xF0", 1).cut);
    assert_false(kfi_utf8_decode("\xE2x", 2).cut);
    assert_false(kfi_utf8_decode("\x80", 1).cut);
}

static void sorts_characters_into_classes(void **state)
{
    (void)state;
    assert_int_equal(kfi_unicode_class('q'), KFI_CHAR_LETTER);
    assert_int_equal(kfi_unicode_class('@'), KFI_CHAR_OTHER);
    assert_int_equal(kfi_unicode_class('['), KFI_CHAR_OTHER);
    assert_int_equal(kfi_unicode_class('7'), KFI_CHAR_NUMBER);
    assert_int_equal(kfi_unicode_class(0xBD), KFI_CHAR_NUMBER);   /* ½ */
    assert_int_equal(kfi_unicode_class(0x2163), KFI_CHAR_NUMBER); /* Ⅳ */
    assert_int_equal(kfi_unicode_class(0x4E2D), KFI_CHAR_LETTER);
    assert_int_equal(kfi_unicode_class(0x301), KFI_CHAR_OTHER); /* a mark is no letter */
    assert_int_equal(kfi_unicode_class(0x85), KFI_CHAR_SPACE);
    assert_int_equal(kfi_unicode_class(0x3000), KFI_CHAR_SPACE);
    assert_int_equal(kfi_unicode_class(0x180E), KFI_CHAR_OTHER); /* no white space since 6.3 */
    assert_int_equal(kfi_unicode_class(0x200B), KFI_CHAR_OTHER);
}

static void assert_nfc(const char *text, const char *expected)
{
    kf_error err = {0};
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 1000);
    CHECK_OK(kfi_unicode_append_nfc(&buf, text, strlen(text), &err), &err);
    assert_string_equal(buf.data, expected);
    kfi_buf_deinit(&buf);
}

static void composes_characters(void **state)
{
    (void)state;
    assert_nfc("e\xCC\x81t", "\xC3\xA9t");                              /* e + acute */
    assert_nfc("a\xCC\x81\xCC\xA3", "\xE1\xBA\xA1\xCC\x81");            /* marks reordered */
    assert_nfc("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "\xED\x95\x9C"); /* Hangul */
    assert_nfc("\xED\x87\x98\xE1\x86\xA7", "\xED\x87\x98\xE1\x86\xA7"); /* U+11A7 stays */
    assert_nfc("a\xDF\xBD\xCC\x81", "a\xDF\xBD\xCC\x81"); /* U+07FD: later than Unicode 9 */
}

static void orders_many_marks_in_linear_time(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf text;
    kfi_buf normal;
    kfi_buf_init(&text, NULL, (size_t)1 << 20);
    kfi_buf_init(&normal, NULL, (size_t)1 << 20);
    for (size_t i = 0; i < 100000; i++) {
        (void)kfi_buf_append_text(&text, "\xCC\x81\xCC\x96"); /* above, below */
    }
    CHECK_OK(kfi_unicode_append_nfc(&normal, text.data, text.n, &err), &err);
    assert_int_equal(normal.n, text.n);
    assert_memory_equal(normal.data, "\xCC\x96\xCC\x96", 4);
    assert_memory_equal(normal.data + normal.n - 4, "\xCC\x81\xCC\x81", 4);
    kfi_buf_deinit(&normal);
    kfi_buf_deinit(&text);
}

static void byte_alphabet_is_a_bijection(void **state)
{
    (void)state;
    bool seen[512] = {false};
    for (unsigned b = 0; b < 256; b++) {
        const uint32_t code = kfi_byte_to_char((uint8_t)b);
        uint8_t back = 0;
        assert_true(code < 512);
        assert_false(seen[code]);
        seen[code] = true;
        assert_true(kfi_char_to_byte(&back, code));
        assert_int_equal(back, b);
    }
    uint8_t byte = 0;
    for (uint32_t code = 0; code < 0x400; code++) {
        assert_int_equal(kfi_char_to_byte(&byte, code), code < 512 && seen[code]);
    }
    assert_int_equal(kfi_byte_to_char(' '), 0x120);
    assert_int_equal(kfi_byte_to_char('\n'), 0x10A);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_it_encodes),
        cmocka_unit_test(replaces_each_maximal_invalid_part_once),
        cmocka_unit_test(tells_a_cut_character_from_a_wrong_one),
        cmocka_unit_test(sorts_characters_into_classes),
        cmocka_unit_test(composes_characters),
        cmocka_unit_test(orders_many_marks_in_linear_time),
        cmocka_unit_test(byte_alphabet_is_a_bijection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
