/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "fixtures.h"
#include "io/bzip2.h"
#include "io/sha256.h"

/* What `printf 'wide planks, wide planks\n' | bzip2` writes. */
static const uint8_t planks[] = {
    0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0x4f, 0x23, 0x92, 0x12, 0x00,
    0x00, 0x0c, 0x51, 0x80, 0x00, 0x10, 0x40, 0x04, 0x26, 0x2d, 0x48, 0x80, 0x20, 0x00, 0x21,
    0x2a, 0x1a, 0x68, 0xd1, 0xe4, 0x20, 0x1a, 0x00, 0x5c, 0x37, 0xaf, 0x14, 0x50, 0xc4, 0x31,
    0x08, 0x66, 0x5d, 0x8b, 0xb9, 0x22, 0x9c, 0x28, 0x48, 0x27, 0x91, 0xc9, 0x09, 0x00,
};
/* And `head -c 1000 /dev/zero | bzip2`: runs of runs. */
static const uint8_t zeros[] = {
    0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0x01, 0xe8, 0xd0, 0x60, 0x00,
    0x00, 0x01, 0xc0, 0x01, 0xc0, 0x00, 0x00, 0x80, 0x00, 0x08, 0x20, 0x00, 0x20, 0xaa, 0x6d,
    0x41, 0x98, 0xba, 0x83, 0xc5, 0xdc, 0x91, 0x4e, 0x14, 0x24, 0x00, 0x7a, 0x34, 0x18, 0x00,
};
/* And of nothing. */
static const uint8_t nothing[] = {
    0x42, 0x5a, 0x68, 0x39, 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, 0x00, 0x00, 0x00, 0x00,
};

static kf_status unpack(kfi_buf *dst, const uint8_t *data, size_t n, size_t max)
{
    kf_error err = {0};
    kfi_buf_init(dst, NULL, max);
    return kfi_bzip2_unpack(dst, data, n, &err);
}

static void unpacks_text(void **state)
{
    kfi_buf text;
    (void)state;
    assert_int_equal(unpack(&text, planks, sizeof planks, 1000), KF_OK);
    assert_int_equal(text.n, 25);
    assert_string_equal(text.data, "wide planks, wide planks\n");
    kfi_buf_deinit(&text);
}

static void unpacks_runs(void **state)
{
    static const uint8_t expected[1000];
    kfi_buf text;
    (void)state;
    assert_int_equal(unpack(&text, zeros, sizeof zeros, 1000), KF_OK);
    assert_int_equal(text.n, 1000);
    assert_memory_equal(text.data, expected, 1000);
    kfi_buf_deinit(&text);
}

static void unpacks_streams_one_after_the_other(void **state)
{
    uint8_t both[2 * sizeof planks + sizeof nothing];
    kfi_buf text;
    (void)state;
    memcpy(both, planks, sizeof planks);
    memcpy(both + sizeof planks, nothing, sizeof nothing);
    memcpy(both + sizeof planks + sizeof nothing, planks, sizeof planks);
    assert_int_equal(unpack(&text, both, sizeof both, 1000), KF_OK);
    assert_int_equal(text.n, 50);
    kfi_buf_deinit(&text);
}

static void refuses_what_is_too_long(void **state)
{
    kfi_buf text;
    (void)state;
    assert_int_equal(unpack(&text, zeros, sizeof zeros, 999), KF_RANGE);
    kfi_buf_deinit(&text);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof planks; n++) {
        kfi_buf text;
        assert_int_equal(unpack(&text, planks, n, 1000), KF_FORMAT);
        kfi_buf_deinit(&text);
    }
}

/* Whatever bit is changed, the bytes are refused: but those that fill up the last byte, which
 * nothing is said about. */
static void finds_every_flipped_bit(void **state)
{
    uint8_t broken[sizeof planks];
    size_t n_accepted = 0;
    (void)state;
    for (size_t i = 0; i < 8 * sizeof planks; i++) {
        kfi_buf text;
        memcpy(broken, planks, sizeof planks);
        broken[i / 8] ^= (uint8_t)(1u << i % 8);
        if (unpack(&text, broken, sizeof broken, 1000) == KF_OK) {
            assert_int_equal(text.n, 25);
            assert_string_equal(text.data, "wide planks, wide planks\n");
            n_accepted++;
        }
        kfi_buf_deinit(&text);
    }
    /* 7 at the end, and levels that are as good as 9: of '9' = 0x39 and '1' … '8'. */
    assert_true(n_accepted < 20);
}

static void survives_every_allocation(void **state)
{
    kf_status st = KF_NOMEM;
    (void)state;
    for (size_t i = 1; st != KF_OK; i++) {
        fixture_allocator allocator;
        kf_error err = {0};
        kfi_buf text;
        fixture_allocator_init(&allocator, i);
        kfi_buf_init(&text, &allocator.allocator, 1000);
        st = kfi_bzip2_unpack(&text, planks, sizeof planks, &err);
        assert_true(st == KF_OK || st == KF_NOMEM);
        kfi_buf_deinit(&text);
        assert_true(fixture_allocator_is_clean(&allocator));
        assert_true(i < 100);
    }
}

/* Three blocks of a real file; its digest is that of `bunzip2 -c`. */
static void agrees_with_bunzip2_on_a_real_file(void **state)
{
    const char *path = fixture_data("tasks/hellaswag_val_full.txt.bz2");
    char hex[KFI_SHA256_HEX];
    kf_error err = {0};
    kfi_buf packed;
    kfi_buf text;
    (void)state;
    SKIP_WITHOUT(path, "tasks/hellaswag_val_full.txt.bz2 of the evaluation data");
    kfi_buf_init(&packed, NULL, (size_t)1 << 24);
    CHECK_OK(kfi_file_read(&packed, path, &err), &err);
    assert_int_equal(unpack(&text, (const uint8_t *)packed.data, packed.n, (size_t)1 << 26), KF_OK);
    CHECK_OK(kfi_sha256_bytes(hex, text.data, text.n, &err), &err);
    assert_string_equal(hex, "d572539320eb2050e858ca34b495bbe2103e3b3f1391a9c3bcdf215b0bb93bd1");
    kfi_buf_deinit(&packed);
    kfi_buf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unpacks_text),
        cmocka_unit_test(unpacks_runs),
        cmocka_unit_test(unpacks_streams_one_after_the_other),
        cmocka_unit_test(refuses_what_is_too_long),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(finds_every_flipped_bit),
        cmocka_unit_test(survives_every_allocation),
        cmocka_unit_test(agrees_with_bunzip2_on_a_real_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
