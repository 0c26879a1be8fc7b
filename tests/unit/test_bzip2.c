/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <bzlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "fixtures.h"
#include "io/bzip2.h"

/* What `printf 'wide planks, wide planks\n' | bzip2` writes. */
static const uint8_t planks[] = {
    0x42, 0x5a, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, 0x4f, 0x23, 0x92, 0x12, 0x00,
    0x00, 0x0c, 0x51, 0x80, 0x00, 0x10, 0x40, 0x04, 0x26, 0x2d, 0x48, 0x80, 0x20, 0x00, 0x21,
    0x2a, 0x1a, 0x68, 0xd1, 0xe4, 0x20, 0x1a, 0x00, 0x5c, 0x37, 0xaf, 0x14, 0x50, 0xc4, 0x31,
    0x08, 0x66, 0x5d, 0x8b, 0xb9, 0x22, 0x9c, 0x28, 0x48, 0x27, 0x91, 0xc9, 0x09, 0x00,
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

/* Of n bytes, random or all the same, what libbz2 makes of them and what becomes of that. */
static void check_round_trip(size_t n, bool is_random)
{
    unsigned n_packed = (unsigned)n + (unsigned)n / 50 + 600;
    char *bytes = calloc(n, 1);
    char *packed = malloc(n_packed);
    kfi_rng rng;
    kfi_buf text;
    assert_true(bytes != NULL && packed != NULL);
    kfi_rng_init(&rng, n);
    for (size_t i = 0; is_random && i < n; i++) {
        bytes[i] = (char)(kfi_rng_next(&rng) >> 56);
    }
    assert_int_equal(BZ2_bzBuffToBuffCompress(packed, &n_packed, bytes, (unsigned)n, 1, 0, 0),
                     BZ_OK);
    assert_int_equal(unpack(&text, (const uint8_t *)packed, n_packed, n), KF_OK);
    assert_int_equal(text.n, n);
    assert_memory_equal(text.data, bytes, n);
    kfi_buf_deinit(&text);
    assert_int_equal(unpack(&text, (const uint8_t *)packed, n_packed, n - 1), KF_RANGE);
    kfi_buf_deinit(&text);
    free(bytes);
    free(packed);
}

/* Several blocks, which take and give more than one piece; and little that becomes much. */
static void unpacks_up_to_the_ceiling_and_no_further(void **state)
{
    (void)state;
    check_round_trip(1, true);
    check_round_trip(16384, true);
    check_round_trip(250000, true);
    check_round_trip(1000000, false);
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

static void refuses_every_truncation(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof planks; n++) {
        kfi_buf text;
        assert_int_equal(unpack(&text, planks, n, 1000), KF_FORMAT);
        kfi_buf_deinit(&text);
    }
}

static void refuses_what_is_damaged_or_something_else(void **state)
{
    uint8_t bytes[sizeof planks + 1];
    kfi_buf text;
    (void)state;
    memcpy(bytes, planks, sizeof planks);
    bytes[40] ^= 1;
    assert_int_equal(unpack(&text, bytes, sizeof planks, 1000), KF_FORMAT);
    kfi_buf_deinit(&text);
    bytes[40] ^= 1;
    bytes[sizeof planks] = 'B'; /* a second stream that does not go on */
    assert_int_equal(unpack(&text, bytes, sizeof bytes, 1000), KF_FORMAT);
    kfi_buf_deinit(&text);
    bytes[0] = 'b';
    assert_int_equal(unpack(&text, bytes, sizeof planks, 1000), KF_FORMAT);
    kfi_buf_deinit(&text);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unpacks_text),
        cmocka_unit_test(unpacks_up_to_the_ceiling_and_no_further),
        cmocka_unit_test(unpacks_streams_one_after_the_other),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_what_is_damaged_or_something_else),
        cmocka_unit_test(survives_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
