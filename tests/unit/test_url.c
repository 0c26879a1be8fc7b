/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "io/url.h"

static void resolves_links_of_a_page(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"../../packages/a-1.whl#sha256=00", "https://host:8443/packages/a-1.whl"},
        {"b.whl?x=1", "https://host:8443/simple/a/b.whl?x=1"},
        {"/top", "https://host:8443/top"},
        {"//cdn/x", "https://cdn/x"},
        {"http://other/y", "http://other/y"},
        {"../../../../../etc/passwd", "https://host:8443/etc/passwd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        char url[KFI_URL_MAX];
        CHECK_OK(kfi_url_resolve(url, "https://host:8443/simple/a/", cases[i][0], &err), &err);
        assert_string_equal(url, cases[i][1]);
    }
}

static void refuses_other_schemes(void **state)
{
    (void)state;
    static const char *const bad[] = {"file:///etc/passwd",
                                      "ftp://host/x",
                                      "gopher://host/",
                                      "javascript:alert(1)",
                                      "data:text/html,x",
                                      "host",
                                      ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        kf_error err = {0};
        char url[KFI_URL_MAX];
        assert_int_equal(kfi_url_resolve(url, NULL, bad[i], &err), KF_FORMAT);
        assert_non_null(strstr(err.msg, "is not an http or https address"));
    }
}

static void refuses_an_endless_address(void **state)
{
    (void)state;
    kf_error err = {0};
    char url[KFI_URL_MAX];
    char link[2 * KFI_URL_MAX];
    memset(link, 'a', sizeof link - 1);
    link[sizeof link - 1] = '\0';
    assert_int_equal(kfi_url_resolve(url, "https://host/", link, &err), KF_FORMAT);
    assert_non_null(strstr(err.msg, "at most 8191 are taken"));
}

static void origin_is_scheme_host_and_port(void **state)
{
    (void)state;
    assert_true(kfi_url_is_same_origin("https://u:p@Host/a", "https://host:443/b"));
    assert_false(kfi_url_is_same_origin("https://host/", "http://host/"));
    assert_false(kfi_url_is_same_origin("https://host/", "https://host:8443/"));
    assert_false(kfi_url_is_same_origin("https://host/", "https://host.evil/"));
    assert_false(kfi_url_is_same_origin("https://host/", "https://host@evil/"));
    assert_false(kfi_url_is_same_origin("https://host/", "not an address"));
}

static void only_from_https_to_http_is_a_downgrade(void **state)
{
    (void)state;
    assert_true(kfi_url_is_downgrade("https://a/", "http://a/"));
    assert_false(kfi_url_is_downgrade("https://a/", "https://b/"));
    assert_false(kfi_url_is_downgrade("http://a/", "http://b/"));
    assert_false(kfi_url_is_downgrade("http://a/", "https://a/"));
}

static void decodes_the_login(void **state)
{
    (void)state;
    char user[16];
    char password[16];
    assert_true(kfi_url_login("https://me:a%40b@host/", user, password, sizeof user));
    assert_string_equal(user, "me");
    assert_string_equal(password, "a@b");
    assert_true(kfi_url_login("https://token@host/", user, password, sizeof user));
    assert_string_equal(password, "");
    assert_false(kfi_url_login("https://host/", user, password, sizeof user));
    assert_false(
        kfi_url_login("https://someone-with-a-long-name@host/", user, password, sizeof user));
}

static void never_shows_a_password_or_signature(void **state)
{
    (void)state;
    char shown[64];
    kfi_url_show(shown, sizeof shown, "https://me:secret@host/a/b?signature=secret");
    assert_string_equal(shown, "https://host/a/b");
}

static void shows_both_ends_of_a_long_address(void **state)
{
    (void)state;
    char shown[32];
    kfi_url_show(shown, sizeof shown, "https://host/packages/12/34/567890abcdef/name-1.0.whl");
    assert_int_equal(strlen(shown), sizeof shown - 1);
    assert_string_equal(shown, "https://host/p...f/name-1.0.whl");
}

static void escapes_all_but_plain_characters(void **state)
{
    (void)state;
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 100);
    assert_true(kfi_url_append_escaped(&buf, "a b/c#?%\xC3\xA9", true));
    assert_string_equal(buf.data, "a%20b/c%23%3F%25%C3%A9");
    kfi_buf_clear(&buf);
    assert_true(kfi_url_append_escaped(&buf, "refs/pr/1", false));
    assert_string_equal(buf.data, "refs%2Fpr%2F1");
    kfi_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resolves_links_of_a_page),
        cmocka_unit_test(refuses_other_schemes),
        cmocka_unit_test(refuses_an_endless_address),
        cmocka_unit_test(origin_is_scheme_host_and_port),
        cmocka_unit_test(only_from_https_to_http_is_a_downgrade),
        cmocka_unit_test(decodes_the_login),
        cmocka_unit_test(never_shows_a_password_or_signature),
        cmocka_unit_test(shows_both_ends_of_a_long_address),
        cmocka_unit_test(escapes_all_but_plain_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
