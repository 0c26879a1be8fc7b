/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/file.h"
#include "fixtures.h"
#include "io/sha256.h"

/* FIPS 180-4, examples of the algorithm. */
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void knows_the_published_examples(void **state)
{
    (void)state;
    kf_error err = {0};
    char hex[KFI_SHA256_HEX];
    CHECK_OK(kfi_sha256_bytes(hex, "", 0, &err), &err);
    assert_string_equal(hex, EMPTY);
    CHECK_OK(kfi_sha256_bytes(hex, "abc", 3, &err), &err);
    assert_string_equal(hex, ABC);
}

static void pieces_hash_like_the_whole(void **state)
{
    (void)state;
    kf_error err = {0};
    char hex[KFI_SHA256_HEX];
    kfi_sha256 sha;
    CHECK_OK(kfi_sha256_init(&sha, &err), &err);
    kfi_sha256_update(&sha, "a", 1);
    kfi_sha256_update(&sha, "", 0);
    kfi_sha256_update(&sha, "bc", 2);
    CHECK_OK(kfi_sha256_finish(&sha, hex, &err), &err);
    assert_string_equal(hex, ABC);
}

/* A failed init or update leaves no state, as deinit and finish do. */
static void a_hash_without_a_state_is_an_error(void **state)
{
    (void)state;
    kf_error err = {0};
    char hex[KFI_SHA256_HEX] = "as it was";
    kfi_sha256 sha;
    CHECK_OK(kfi_sha256_init(&sha, &err), &err);
    kfi_sha256_update(&sha, "abc", 3);
    kfi_sha256_deinit(&sha);
    kfi_sha256_update(&sha, "x", 1);
    assert_int_equal(kfi_sha256_finish(&sha, hex, &err), KF_INTERNAL);
    assert_string_equal(hex, "");
    assert_int_equal(err.code, KF_INTERNAL);
    assert_int_equal(kfi_sha256_finish(&sha, hex, NULL), KF_INTERNAL);
}

static void hashes_files(void **state)
{
    (void)state;
    kf_error err = {0};
    char hex[KFI_SHA256_HEX];
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "x");
    CHECK_OK(kfi_file_write(path, "abc", 3, &err), &err);
    CHECK_OK(kfi_sha256_file(hex, path, &err), &err);
    assert_string_equal(hex, ABC);
    CHECK_OK(kfi_file_write(path, "", 0, &err), &err);
    CHECK_OK(kfi_sha256_file(hex, path, &err), &err);
    assert_string_equal(hex, EMPTY);
    assert_int_equal(kfi_sha256_file(hex, directory, &err), KF_INPUT);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

static void tells_a_hash_from_other_text(void **state)
{
    (void)state;
    assert_true(kfi_sha256_is_hex(ABC, 64));
    assert_true(kfi_sha256_is_hex(ABC "&egg=x", 64));
    assert_true(kfi_sha256_is_hex("ABCDEF0123456789" ABC, 64));
    assert_false(kfi_sha256_is_hex(ABC, 63));
    assert_false(kfi_sha256_is_hex(ABC "0", 65));
    assert_false(kfi_sha256_is_hex("g" ABC, 64));
    assert_false(kfi_sha256_is_hex("\0" ABC, 64));
    assert_false(kfi_sha256_is_hex("", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_published_examples),
        cmocka_unit_test(pieces_hash_like_the_whole),
        cmocka_unit_test(a_hash_without_a_state_is_an_error),
        cmocka_unit_test(hashes_files),
        cmocka_unit_test(tells_a_hash_from_other_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
