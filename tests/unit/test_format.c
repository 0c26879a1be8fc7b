/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "format/format.h"
#include "kerf/format.h"

static const struct {
    const char *element, *zero;
} kinds[] = {{"int", ""}, {"int", "a"}, {"int", "o"}, {"mxint", ""}, {"int", "r"}, {"int", "ar"}};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static void reads_and_writes_every_name(void **state)
{
    (void)state;
    static const char *const groups[] = {"g32", "g64", "g128", "row"};
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t g = 0; g < 4; g++) {
            for (size_t k = 0; k < (g == 3 ? 4 : N_KINDS); k++) { /* two levels need groups */
                char name[KF_FORMAT_NAME_BYTES];
                char back[KF_FORMAT_NAME_BYTES];
                kf_format format = {0};
                kf_error err = {0};
                (void)snprintf(name, sizeof name, "%s%u%s%s", kinds[k].element, bits, groups[g],
                               kinds[k].zero);
                CHECK_OK(kf_format_parse(&format, name, &err), &err);
                kf_format_name(back, format);
                assert_string_equal(back, name);
                assert_int_equal(format.bits, bits);
            }
        }
    }
}

static void reads_and_writes_names_of_ternary_codes_and_codebooks(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        kf_format format;
    } cases[] = {
        {"ternaryrow", {KF_ELEMENT_TERNARY, 2, KF_SCALE_FP16, KF_ZERO_NONE, KF_GROUP_ROW}},
        {"ternaryg64r", {KF_ELEMENT_TERNARY, 2, KF_SCALE_TWO_LEVEL, KF_ZERO_NONE, 64}},
        {"nf2g64", {KF_ELEMENT_NF, 2, KF_SCALE_FP16, KF_ZERO_NONE, 64}},
        {"nf3row", {KF_ELEMENT_NF, 3, KF_SCALE_FP16, KF_ZERO_NONE, KF_GROUP_ROW}},
        {"nf4g64", {KF_ELEMENT_NF, 4, KF_SCALE_FP16, KF_ZERO_NONE, 64}},
        {"fp4e2m1g32", {KF_ELEMENT_E2M1, 4, KF_SCALE_FP16, KF_ZERO_NONE, 32}},
        {"fp6e3m2row", {KF_ELEMENT_E3M2, 6, KF_SCALE_FP16, KF_ZERO_NONE, KF_GROUP_ROW}},
        {"cb4g32", {KF_ELEMENT_CODEBOOK, 2, KF_SCALE_FP16, KF_ZERO_NONE, 32}},
        {"cb8g64", {KF_ELEMENT_CODEBOOK, 3, KF_SCALE_FP16, KF_ZERO_NONE, 64}},
        {"cb16g128", {KF_ELEMENT_CODEBOOK, 4, KF_SCALE_FP16, KF_ZERO_NONE, 128}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char back[KF_FORMAT_NAME_BYTES];
        kf_format f = {0};
        assert_int_equal(kf_format_parse(&f, cases[i].name, NULL), KF_OK);
        assert_memory_equal(&f, &cases[i].format, sizeof f);
        kf_format_name(back, f);
        assert_string_equal(back, cases[i].name);
    }
}

static void tells_the_parts_of_a_name(void **state)
{
    (void)state;
    kf_format f = {0};
    assert_int_equal(kf_format_parse(&f, "int3g128a", NULL), KF_OK);
    assert_int_equal(f.element, KF_ELEMENT_INT);
    assert_int_equal(f.bits, 3);
    assert_int_equal(f.scale, KF_SCALE_FP16);
    assert_int_equal(f.zero, KF_ZERO_INTEGER);
    assert_int_equal(f.group, 128);
    assert_int_equal(kf_format_parse(&f, "mxint4row", NULL), KF_OK);
    assert_int_equal(f.element, KF_ELEMENT_MXINT);
    assert_int_equal(f.scale, KF_SCALE_POWER_OF_TWO);
    assert_int_equal(f.zero, KF_ZERO_NONE);
    assert_int_equal(f.group, KF_GROUP_ROW);
    assert_int_equal(kf_format_parse(&f, "int2g64ar", NULL), KF_OK);
    assert_int_equal(f.element, KF_ELEMENT_INT);
    assert_int_equal(f.scale, KF_SCALE_TWO_LEVEL);
    assert_int_equal(f.zero, KF_ZERO_INTEGER);
    assert_int_equal(f.group, 64);
    assert_int_equal(kf_format_parse(&f, "float", NULL), KF_OK);
    assert_int_equal(f.element, KF_ELEMENT_FLOAT);
    assert_int_equal(f.bits, 32);
}

static void refuses_what_is_no_name(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        "int",
        "int4",
        "int1g64",
        "int9g64",
        "int4g63",
        "int4g",
        "int4g640",
        "int4g64b",
        "int4g64aa",
        "int4g64ao",
        "mxint4g32a",
        "mxint4g32o",
        "Int4g64",
        " int4g64",
        "int4g64 ",
        "int44g64",
        "int4rowx",
        "floats",
        "nf5g64",
        "int4g256",
        "nf1g64",
        "nf4g64r",
        "nf4g64a",
        "ternaryg64a",
        "ternaryrowr",
        "ternary2g64",
        "cb5g64",
        "cb16",
        "cb1g64",
        "fp4g64",
        "fp4e2m1",
        "fp4e2m1g64o",
        "codebookg64",
        "int4rowr",
        "int4g64or",
        "int4g64ra",
        "int4g64rr",
        "mxint4g32r",
        "int4rowar",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        kf_format format = {.bits = 99};
        kf_error err = {0};
        assert_int_equal(kf_format_parse(&format, names[i], &err), KF_INVALID);
        assert_int_equal(format.bits, 99); /* untouched */
        assert_non_null(strstr(err.msg, "int4g64"));
    }
}

static void reads_and_writes_activation_names(void **state)
{
    (void)state;
    static const char *const names[] = {
        "float",     "int8t",      "int8tg32",    "int8tg64", "int8tg128",    "int4tg64",
        "int3t",     "int3tg128",  "int5tg32",    "int6t",    "int7tg64",     "int4ta",
        "int3tg64a", "int7tg128a", "int4tg64c90", "int8tc50", "int6tg32ac99", "mxint8tg32",
        "mxint4t",   "fp8t",       "fp8tg64"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char back[KF_FORMAT_NAME_BYTES];
        kf_activation activation = {0};
        assert_int_equal(kf_activation_parse(&activation, names[i], NULL), KF_OK);
        kf_activation_name(back, activation);
        assert_string_equal(back, names[i]);
    }
    static const char *const wrong[] = {
        "",         "int8",        "int2t",      "int9t",         "int8tg",
        "int8tg65", "int8trow",    "int8tg64a",  "int4g64",       "int44t",
        "int8ta",   "int4tg64c49", "int4tg64c9", "int4tg64c100",  "int4tg64c90a",
        "int4tc",   "mxint8tg32a", "mxint2t",    "mxint8tg32c90", "fp8",
        "fp8tg64a", "fp8tc90",     "fp88t"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        kf_activation activation = {0};
        assert_int_equal(kf_activation_parse(&activation, wrong[i], NULL), KF_INVALID);
    }
}

/* Formats that a program may put together, but no name gives. */
static void refuses_activations_without_a_name(void **state)
{
    (void)state;
    static const kf_activation wrong[] = {
        {.bits = 2, .group = 64},
        {.bits = 8, .group = 16},
        {.bits = 8, .kind = KF_ACTIVATION_INT_ASYMMETRIC},
        {.bits = 4, .clip = 49},
        {.bits = 4, .clip = 100},
        {.bits = 8, .kind = KF_ACTIVATION_FP8, .clip = 90},
        {.bits = 4, .kind = KF_ACTIVATION_FP8},
        {.bits = 8, .group = 32, .kind = 9},
        {.bits = 32, .group = 64},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        kf_error err = {0};
        assert_int_equal(kfi_activation_check(wrong[i], &err), KF_INVALID);
        assert_true(strlen(err.msg) > 0);
    }
    CHECK_OK(kfi_activation_check((kf_activation){.bits = 32}, NULL), &(kf_error){0});
}

static uint64_t bytes_of(const char *name, uint64_t rows, uint64_t cols)
{
    kf_format format = {0};
    uint64_t bytes = 0;
    assert_int_equal(kf_format_parse(&format, name, NULL), KF_OK);
    assert_int_equal(kf_format_bytes(&bytes, format, rows, cols, NULL), KF_OK);
    return bytes;
}

static void counts_header_codes_scales_and_zeros(void **state)
{
    (void)state;
    assert_int_equal(bytes_of("int4g64", 32, 128), 64 + 32 * 128 / 2 + 2 * 2 * 32);
    assert_int_equal(bytes_of("int3g32a", 16, 64), 64 + 16 * 64 * 3 / 8 + 2 * 2 * 16 + 64);
    assert_int_equal(bytes_of("int8row", 1, 1), 64 + 16 * 32 + 64);
    assert_int_equal(bytes_of("mxint4g32", 16, 128), 64 + 16 * 128 / 2 + 64);
    assert_int_equal(bytes_of("int2g64o", 17, 576), 64 + 32 * 576 / 4 + 9 * 32 * 2 * 2);
    assert_int_equal(bytes_of("int4g64r", 32, 128), 64 + 32 * 128 / 2 + 2 * 64 + 2 * 2 * 16);
    assert_int_equal(bytes_of("int2g64ar", 17, 576), 64 + 32 * 576 / 4 + 2 * 64 + 320 + 320);
    assert_int_equal(bytes_of("nf4g64", 32, 128), 64 + 32 * 128 / 2 + 2 * 2 * 32);
    assert_int_equal(bytes_of("cb8g32", 16, 64), 64 + 16 * 64 * 3 / 8 + 2 * 2 * 16);
    assert_int_equal(bytes_of("ternaryg128", 32, 128), 64 + 32 * 128 / 4 + 2 * 32);
    assert_int_equal(bytes_of("ternaryg64r", 32, 128), 64 + 32 * 128 / 4 + 2 * 64 + 2 * 2 * 16);
    assert_int_equal(bytes_of("float", 3, 5), 60);
}

static void refuses_sizes_that_are_zero_or_overflow(void **state)
{
    (void)state;
    static const char *const names[] = {"int4g64", "int8row", "float"};
    static const uint64_t sizes[][2] = {
        {0, 1},
        {1, 0},
        {UINT64_MAX, 1},
        {1, UINT64_MAX},
        {UINT64_MAX, UINT64_MAX},
        {(uint64_t)1 << 40, (uint64_t)1 << 40},
        {(uint64_t)1 << 32, (uint64_t)1 << 31},
    };
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            kf_format format = {0};
            uint64_t bytes = 0;
            assert_int_equal(kf_format_parse(&format, names[i], NULL), KF_OK);
            assert_int_equal(kf_format_bytes(&bytes, format, sizes[k][0], sizes[k][1], NULL),
                             KF_RANGE);
        }
    }
}

static void splits_a_row_into_groups(void **state)
{
    (void)state;
    const kf_format g64 = {
        .element = KF_ELEMENT_INT, .bits = 4, .scale = KF_SCALE_FP16, .group = 64};
    const kf_format row = {.element = KF_ELEMENT_INT, .bits = 4, .scale = KF_SCALE_FP16};
    assert_int_equal(kfi_format_groups(g64, 576), 9);
    assert_int_equal(kfi_format_groups(g64, 577), 10);
    assert_int_equal(kfi_format_groups(g64, 1), 1);
    assert_int_equal(kfi_format_group(row, 33), 64);
    assert_int_equal(kfi_format_groups(row, 33), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_writes_every_name),
        cmocka_unit_test(reads_and_writes_names_of_ternary_codes_and_codebooks),
        cmocka_unit_test(tells_the_parts_of_a_name),
        cmocka_unit_test(refuses_what_is_no_name),
        cmocka_unit_test(reads_and_writes_activation_names),
        cmocka_unit_test(refuses_activations_without_a_name),
        cmocka_unit_test(counts_header_codes_scales_and_zeros),
        cmocka_unit_test(refuses_sizes_that_are_zero_or_overflow),
        cmocka_unit_test(splits_a_row_into_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
