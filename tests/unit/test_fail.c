/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>

#include "base/fail.h"

static void returns_its_code_without_a_report(void **state)
{
    (void)state;
    assert_int_equal(kfi_fail(NULL, KF_RANGE, 7, "x"), KF_RANGE);
}

static void fills_code_offset_and_message(void **state)
{
    (void)state;
    kf_error err = {0};
    assert_int_equal(kfi_fail(&err, KF_FORMAT, 42, "tensor '%s': %d dims", "a", 9), KF_FORMAT);
    assert_int_equal(err.code, KF_FORMAT);
    assert_int_equal(err.offset, 42);
    assert_string_equal(err.msg, "tensor 'a': 9 dims");
}

static void keeps_the_message_one_line(void **state)
{
    (void)state;
    kf_error err = {0};
    (void)kfi_fail(&err, KF_FORMAT, 0, "name '%s'", "a\nb\x1b");
    assert_string_equal(err.msg, "name 'a?b?'");
}

static void keeps_the_message_utf8(void **state)
{
    (void)state;
    kf_error err = {0};
    (void)kfi_fail(&err, KF_FORMAT, 0, "name '%.3s', \xC3\xA9", "a\xE2\x82\xAC");
    assert_string_equal(err.msg, "name 'a?"
                                 "?', \xC3\xA9");
    (void)kfi_fail(&err, KF_FORMAT, 0, "name '%s'", "\xFF");
    assert_string_equal(err.msg, "name '?'");
    (void)kfi_fail(&err, KF_FORMAT, 0, "name '%s'", "\xC2\x9B"); /* a terminal's escape */
    assert_string_equal(err.msg, "name '?"
                                 "?'");
}

static void cuts_a_long_message_at_a_character(void **state)
{
    (void)state;
    kf_error err = {0};
    char text[512];
    for (size_t i = 0; i + 2 < sizeof text; i += 2) {
        memcpy(text + i, "\xC3\xA9", 2);
    }
    text[510] = '\0';
    (void)kfi_fail(&err, KF_FORMAT, 0, "%s", text);
    assert_int_equal(strlen(err.msg) % 2, 0);
    assert_true(strlen(err.msg) >= sizeof err.msg - 3);
}

static void names_the_system_error(void **state)
{
    (void)state;
    kf_error err = {0};
    (void)kfi_fail_os(&err, KF_INPUT, ENOENT, "cannot open 'x'");
    assert_int_equal(err.os_errno, ENOENT);
    assert_string_equal(err.msg, "cannot open 'x': No such file or directory");
}

static void puts_a_prefix_in_front(void **state)
{
    (void)state;
    kf_error err = {0};
    (void)kfi_fail(&err, KF_FORMAT, 3, "bad magic");
    kfi_fail_prefix(&err, "%s: ", "m.gguf");
    assert_string_equal(err.msg, "m.gguf: bad magic");
    assert_int_equal(err.offset, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_its_code_without_a_report),
        cmocka_unit_test(fills_code_offset_and_message),
        cmocka_unit_test(keeps_the_message_one_line),
        cmocka_unit_test(keeps_the_message_utf8),
        cmocka_unit_test(cuts_a_long_message_at_a_character),
        cmocka_unit_test(names_the_system_error),
        cmocka_unit_test(puts_a_prefix_in_front),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
