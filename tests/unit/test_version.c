/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "io/version.h"

static kfi_version version(const char *text)
{
    kfi_version v;
    if (!kfi_version_parse(&v, text, strlen(text))) {
        fail_msg("'%s' was not understood", text);
    }
    return v;
}

static void orders_as_pep_440_does(void **state)
{
    (void)state;
    static const char *const ascending[] = {
        "0.9",       "1.0.dev1",    "1.0a1.dev2", "1.0a1", "1.0a2.dev1", "1.0a12",
        "1.0b1",     "1.0b1.post2", "1.0rc1",     "1.0",   "1.0+abc.5",  "1.0.post1.dev3",
        "1.0.post1", "1.1",         "1.2.3",      "1.10",  "2!0.1",      "2!0.1.0.0.1",
    };
    const size_t n = sizeof ascending / sizeof ascending[0];
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            const kfi_version a = version(ascending[i]);
            const kfi_version b = version(ascending[j]);
            const int order = kfi_version_compare(&a, &b);
            if ((order > 0) - (order < 0) != (i > j) - (i < j)) {
                fail_msg("'%s' against '%s': %d", ascending[i], ascending[j], order);
            }
        }
    }
}

static void reads_every_spelling(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"v1.0", "1"},           {"1.0.0", "1"},
        {"1.0-alpha.3", "1a3"},  {"1.0_beta", "1b0"},
        {"1.0c2", "1rc2"},       {"1.0PRE4", "1rc4"},
        {"1.0.preview", "1rc0"}, {"1.0-2", "1.post2"},
        {"1.0.rev3", "1.post3"}, {"1.0r4", "1.post4"},
        {"1.0-DEV", "1.dev0"},   {"1.0+Ubuntu-1_x", "1+ubuntu.1.x"},
        {"3!1.2", "3!1.2"},      {"1.0rc1.post2.dev3+a", "1rc1.post2.dev3+a"},
        {"00.1.02", "0.1.2"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[KFI_VERSION_TEXT];
        const kfi_version v = version(pairs[i][0]);
        kfi_version_write(text, &v);
        assert_string_equal(text, pairs[i][1]);
    }
}

static void refuses_what_is_no_version(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "v",
                                      "a",
                                      "1.",
                                      ".1",
                                      "1..2",
                                      "1.0x",
                                      "1.0+",
                                      "1.0+a..b",
                                      "1.0+a.",
                                      "1!",
                                      "1.0 ",
                                      "4294967296",
                                      "1.0+ä",
                                      "1/2",
                                      "1.2.3.4.5.6.7.8.9.10.11.12.13",
                                      "1.0-",
                                      "1!2!3",
                                      "1.0+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        kfi_version v;
        if (kfi_version_parse(&v, bad[i], strlen(bad[i]))) {
            fail_msg("'%s' was taken for a version", bad[i]);
        }
    }
}

static void a_pin_without_local_part_takes_any(void **state)
{
    (void)state;
    const kfi_version built = version("1.0+cpu");
    const kfi_version plain = version("1.0.0");
    const kfi_version other = version("1.0+gpu");
    assert_true(kfi_version_matches(&built, &plain));
    assert_false(kfi_version_matches(&built, &other));
    assert_false(kfi_version_matches(&plain, &built));
}

static void tells_prereleases_from_releases(void **state)
{
    (void)state;
    const kfi_version candidate = version("1.0rc1");
    const kfi_version development = version("1.0.dev1");
    const kfi_version post = version("1.0.post1");
    assert_true(kfi_version_is_prerelease(&candidate));
    assert_true(kfi_version_is_prerelease(&development));
    assert_false(kfi_version_is_prerelease(&post));
}

static void the_longest_version_fits_its_text(void **state)
{
    (void)state;
    char text[KFI_VERSION_TEXT];
    const kfi_version v = version(
        "4294967295!4294967295.4294967295.4294967295.4294967295.4294967295.4294967295.4294967295."
        "4294967295.4294967295.4294967295.4294967295.4294967295rc4294967295.post4294967295."
        "dev4294967295+abcdefghijklmnopqrstuvwxyz01234");
    kfi_version_write(text, &v);
    const kfi_version again = version(text);
    assert_int_equal(kfi_version_compare(&v, &again), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_as_pep_440_does),
        cmocka_unit_test(reads_every_spelling),
        cmocka_unit_test(refuses_what_is_no_version),
        cmocka_unit_test(a_pin_without_local_part_takes_any),
        cmocka_unit_test(tells_prereleases_from_releases),
        cmocka_unit_test(the_longest_version_fits_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
