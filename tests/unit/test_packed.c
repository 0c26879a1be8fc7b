/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/rng.h"
#include "format/format.h"
#include "random_packed.h"

/* A random matrix of codes and grids, and its packed bytes. */
typedef struct matrix {
    kf_format format;
    size_t rows, cols, n_groups;
    int8_t table[KFI_TABLE_ENTRIES];
    uint8_t *codes;
    kfi_grid *grids;
    uint8_t *bytes;
    size_t n_bytes;
} matrix;

/* A row's scale of 16 significant bits, multipliers of both signs, zeros among the codes. */
static void fill_two_level(matrix *m, kfi_rng *rng)
{
    const int q_max = (1 << m->format.bits) - 1;
    const int most = 255 / q_max;
    float row_scale = 0.0f;
    for (size_t i = 0; i < m->rows * m->n_groups; i++) {
        kfi_grid *g = &m->grids[i];
        if (i % m->n_groups == 0) {
            row_scale =
                ldexpf((float)kfi_rng_below(rng, 0x10000), (int)kfi_rng_below(rng, 60) - 50);
        }
        *g = (kfi_grid){.zero = kfi_format_zero(m->format), .row_scale = row_scale};
        g->multiplier = (int32_t)kfi_rng_below(rng, 2 * (uint64_t)most + 1) - most;
        g->scale = row_scale * (float)g->multiplier;
        if (m->format.zero == KF_ZERO_INTEGER) {
            g->zero = (int32_t)kfi_rng_below(rng, (uint64_t)q_max + 1);
        }
    }
}

static matrix matrix_make(const char *name, size_t rows, size_t cols, kfi_rng *rng)
{
    matrix m = {.rows = rows, .cols = cols};
    uint64_t n_bytes = 0;
    assert_int_equal(kf_format_parse(&m.format, name, NULL), KF_OK);
    assert_int_equal(kf_format_bytes(&n_bytes, m.format, rows, cols, NULL), KF_OK);
    m.n_bytes = n_bytes;
    m.n_groups = kfi_format_groups(m.format, cols);
    m.codes = kfi_alloc(NULL, rows * cols);
    m.grids = kfi_calloc(NULL, rows * m.n_groups, sizeof *m.grids);
    m.bytes = kfi_alloc(NULL, m.n_bytes);
    memset(m.bytes, 0xA5, m.n_bytes); /* packing must not rely on zeros */
    for (size_t i = 0; i < rows * cols; i++) {
        m.codes[i] =
            (uint8_t)kfi_rng_below(rng, (uint64_t)kfi_format_levels(m.format, NULL).q_max + 1);
    }
    if (m.format.scale == KF_SCALE_TWO_LEVEL) {
        fill_two_level(&m, rng);
    }
    for (size_t i = 0; i < rows * m.n_groups && m.format.scale != KF_SCALE_TWO_LEVEL; i++) {
        const float x = kfi_rng_normal(rng);
        kfi_grid *g = &m.grids[i];
        g->scale = m.format.scale == KF_SCALE_FP16
                       ? kfi_half_to_float(kfi_half_from_float(x))
                       : ldexpf(1.0f, (int)kfi_rng_below(rng, 255) - 127);
        g->zero = m.format.zero == KF_ZERO_INTEGER           ? (int32_t)kfi_rng_below(rng, 256)
                  : m.format.zero == KF_ZERO_OFFSET          ? 0
                  : kfi_element_is_integer(m.format.element) ? kfi_format_zero(m.format)
                                                             : 0;
        g->offset = m.format.zero == KF_ZERO_OFFSET
                        ? kfi_half_to_float(kfi_half_from_float(kfi_rng_normal(rng)))
                        : 0.0f;
    }
    random_table(m.table, m.format, rng);
    kfi_packed_begin(m.bytes, m.format, m.table, rows, cols);
    const size_t n_panels = (rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS;
    const size_t first_row = n_panels / 2 * KFI_PANEL_ROWS;
    kfi_packed_write(m.bytes, n_panels / 2, n_panels, m.codes + first_row * cols,
                     m.grids + first_row * m.n_groups); /* in any order */
    kfi_packed_write(m.bytes, 0, n_panels / 2, m.codes, m.grids);
    return m;
}

static void matrix_free(matrix *m)
{
    kfi_free(NULL, m->codes, m->rows * m->cols);
    kfi_free(NULL, m->grids, m->rows * m->n_groups * sizeof *m->grids);
    kfi_free(NULL, m->bytes, m->n_bytes);
}

static const char *const group_names[] = {"g32", "g64", "g128", "row"};
static const struct {
    const char *element, *zero;
} kinds[] = {{"int", ""}, {"int", "a"}, {"int", "o"}, {"mxint", ""}, {"int", "r"}, {"int", "ar"}};

static void check_reads_back(const matrix *m)
{
    kf_error err = {0};
    kfi_packed packed = {0};
    uint8_t codes[256];
    kfi_grid grids[8];
    float values[256];
    float part[256];
    CHECK_OK(kfi_packed_open(&packed, m->bytes, m->n_bytes, true, &err), &err);
    const kfi_levels levels = kfi_packed_levels(&packed);
    assert_int_equal(packed.rows, m->rows);
    assert_int_equal(packed.cols, m->cols);
    assert_int_equal(packed.n_groups, m->n_groups);
    for (size_t r = 0; r < m->rows; r++) {
        kfi_packed_read_row(codes, grids, &packed, r);
        assert_memory_equal(codes, m->codes + r * m->cols, m->cols);
        assert_memory_equal(grids, m->grids + r * m->n_groups, m->n_groups * sizeof *grids);
        kfi_packed_decode_row(values, &packed, r, 0, m->cols);
        for (size_t c = 0; c < m->cols; c++) {
            assert_true(values[c] == kfi_grid_decode(&grids[c / packed.group], levels, codes[c]));
        }
        const size_t begin = m->cols / 3;
        kfi_packed_decode_row(part, &packed, r, begin, m->cols - begin);
        assert_memory_equal(part, values + begin, (m->cols - begin) * sizeof *part);
    }
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{1, 1},   {15, 31},  {16, 32}, {17, 33},
                                       {33, 65}, {16, 128}, {47, 200}};
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t k = 0; k < 24; k++) {
            if (k >= 16 && k % 4 == 3) {
                continue; /* two-level scales have groups */
            }
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
                char name[KF_FORMAT_NAME_BYTES];
                (void)snprintf(name, sizeof name, "%s%u%s%s", kinds[k / 4].element, bits,
                               group_names[k % 4], kinds[k / 4].zero);
                matrix m = matrix_make(name, shapes[s][0], shapes[s][1], &rng);
                check_reads_back(&m);
                matrix_free(&m);
            }
        }
    }
}

static const char *const others[] = {"ternary", "nf2", "nf3", "nf4", "fp4e2m1",
                                     "fp6e3m2", "cb4", "cb8", "cb16"};

static void reads_ternary_codes_and_codebooks_back(void **state)
{
    (void)state;
    static const size_t shapes[][2] = {{1, 1}, {17, 33}, {33, 65}, {47, 200}};
    kfi_rng rng;
    kfi_rng_init(&rng, 11);
    for (size_t k = 0; k < 4 * sizeof others / sizeof others[0]; k++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            char name[KF_FORMAT_NAME_BYTES];
            (void)snprintf(name, sizeof name, "%s%s", others[k / 4], group_names[k % 4]);
            matrix m = matrix_make(name, shapes[s][0], shapes[s][1], &rng);
            check_reads_back(&m);
            matrix_free(&m);
        }
    }
    matrix m = matrix_make("ternaryg64r", 33, 200, &rng);
    check_reads_back(&m);
    matrix_free(&m);
}

/* Opened, what is at fault at an offset? */
static void check_refused(const matrix *m, bool full, kf_status status, uint64_t offset)
{
    kfi_packed packed = {0};
    kf_error err = {0};
    assert_int_equal(kfi_packed_open(&packed, m->bytes, m->n_bytes, full, &err), status);
    assert_int_equal(err.offset, offset);
}

static void refuses_codebooks_that_no_writer_makes(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 12);
    matrix fixed = matrix_make("nf4g64", 16, 64, &rng);
    fixed.bytes[40 + 3]++;
    check_refused(&fixed, false, KF_FORMAT, 40);
    fixed.bytes[40 + 3]--;
    fixed.bytes[56] = 1;
    check_refused(&fixed, false, KF_UNSUPPORTED, 20);
    matrix own = matrix_make("cb8g64", 16, 64, &rng);
    own.bytes[40 + 8] = 1;
    check_refused(&own, false, KF_UNSUPPORTED, 48);
    own.bytes[40 + 8] = 0;
    memset(own.bytes + 40, 0x81, 5); /* -127, five times */
    own.bytes[40 + 5] = 0x80;        /* -128 */
    check_refused(&own, false, KF_FORMAT, 45);
    matrix integer = matrix_make("int4g64", 16, 64, &rng);
    integer.bytes[40] = 1;
    check_refused(&integer, false, KF_UNSUPPORTED, 40);
    matrix_free(&fixed);
    matrix_free(&own);
    matrix_free(&integer);
}

/* It reads as twice the scale, so that opening need not look for it. */
static void verifying_finds_a_fourth_ternary_code(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 13);
    kfi_packed packed = {0};
    float row[64];
    matrix m = matrix_make("ternaryg64", 16, 64, &rng);
    m.bytes[64 + 4 * 5 + 2] |= 3; /* row 5, column 2 */
    assert_int_equal(kfi_packed_open(&packed, m.bytes, m.n_bytes, false, NULL), KF_OK);
    kfi_packed_decode_row(row, &packed, 5, 0, 64);
    assert_true(row[2] == 2.0f * m.grids[5].scale); /* exact: by a power of two */
    check_refused(&m, true, KF_FORMAT, 64);
    matrix_free(&m);
}

/* The drawing of packed.h, spelled out for a few weights. */
static void puts_codes_where_the_drawing_says(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    matrix w8 = matrix_make("int8g32", 16, 64, &rng);
    matrix w4 = matrix_make("int4g32", 16, 64, &rng);
    matrix w3 = matrix_make("int3g32", 16, 64, &rng);
    for (size_t r = 0; r < 16; r++) {
        for (size_t c = 0; c < 64; c++) {
            const size_t chunk = c / 32;
            const size_t k = c % 32;
            const uint8_t *p = w8.bytes + 64 + chunk * 8 * 64;
            assert_int_equal(p[k / 4 * 64 + 4 * r + k % 4], w8.codes[r * 64 + c]);
            p = w4.bytes + 64 + chunk * 4 * 64;
            assert_int_equal(p[k / 8 * 64 + 4 * r + k % 4] >> (k / 4 % 2 * 4) & 15,
                             w4.codes[r * 64 + c]);
            p = w3.bytes + 64 + chunk * 3 * 64;
            const int low = p[k / 16 * 64 + 4 * r + k % 4] >> (k / 4 % 4 * 2) & 3;
            const int high = p[2 * 64 + 4 * r + k % 4] >> (k / 4) & 1;
            assert_int_equal(low | high << 2, w3.codes[r * 64 + c]);
        }
    }
    matrix_free(&w8);
    matrix_free(&w4);
    matrix_free(&w3);
}

static void permuted_rows_hold_permuted_codes(void **state)
{
    (void)state;
    enum {
        rows = 40,
        cols = 96,
        n_groups = 3
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    matrix m = matrix_make("int5g32a", rows, cols, &rng);
    matrix p = matrix_make("int5g32a", rows, cols, &rng);
    for (size_t r = 0; r < rows; r++) {
        const size_t from = (r * 7 + 3) % rows; /* 7 and 40 have no common divisor */
        memcpy(p.codes + r * cols, m.codes + from * cols, cols);
        memcpy(p.grids + r * n_groups, m.grids + from * n_groups, n_groups * sizeof *p.grids);
    }
    kfi_packed_begin(p.bytes, p.format, NULL, rows, cols);
    kfi_packed_write(p.bytes, 0, 3, p.codes, p.grids);
    kfi_packed a = {0};
    kfi_packed b = {0};
    assert_int_equal(kfi_packed_open(&a, m.bytes, m.n_bytes, true, NULL), KF_OK);
    assert_int_equal(kfi_packed_open(&b, p.bytes, p.n_bytes, true, NULL), KF_OK);
    for (size_t r = 0; r < rows; r++) {
        float x[cols];
        float y[cols];
        kfi_packed_decode_row(x, &a, (r * 7 + 3) % rows, 0, cols);
        kfi_packed_decode_row(y, &b, r, 0, cols);
        assert_memory_equal(x, y, sizeof x);
    }
    matrix_free(&m);
    matrix_free(&p);
}

static void counts_bits_with_everything(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    matrix m = matrix_make("int4g64", 64, 256, &rng);
    kfi_packed packed = {0};
    assert_int_equal(kfi_packed_open(&packed, m.bytes, m.n_bytes, false, NULL), KF_OK);
    assert_true(fabs(kfi_packed_bits(&packed) - (4.25 + 8.0 * 64 / (64.0 * 256))) < 1e-12);
    matrix_free(&m);
}

static void expect(const matrix *m, bool full, kf_status status, uint64_t offset)
{
    kf_error err = {0};
    kfi_packed packed = {0};
    assert_int_equal(kfi_packed_open(&packed, m->bytes, m->n_bytes, full, &err), status);
    if (status != KF_OK) {
        assert_int_equal(err.offset, offset);
        assert_true(strlen(err.msg) > 10);
    }
}

static void refuses_a_wrong_header(void **state)
{
    (void)state;
    static const struct {
        size_t byte;
        uint8_t value;
        kf_status status;
        uint64_t offset;
    } cases[] = {
        {0, 'X', KF_FORMAT, 0},      {8, 2, KF_UNSUPPORTED, 8},    {12, 9, KF_UNSUPPORTED, 12},
        {13, 1, KF_UNSUPPORTED, 12}, {13, 9, KF_UNSUPPORTED, 12},  {14, 2, KF_UNSUPPORTED, 12},
        {15, 3, KF_UNSUPPORTED, 12}, {16, 65, KF_UNSUPPORTED, 12}, {20, 1, KF_UNSUPPORTED, 20},
        {24, 0, KF_FORMAT, 24},      {31, 0xFF, KF_FORMAT, 24},    {39, 0xFF, KF_FORMAT, 24},
        {40, 1, KF_UNSUPPORTED, 40}, {63, 1, KF_UNSUPPORTED, 20},
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        matrix m = matrix_make("int4g64", 20, 100, &rng);
        m.bytes[cases[i].byte] = cases[i].value;
        expect(&m, false, cases[i].status, cases[i].offset);
        matrix_free(&m);
    }
}

static void refuses_a_wrong_size(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 6);
    matrix m = matrix_make("int4g64a", 20, 100, &rng);
    kfi_packed packed = {0};
    for (size_t n = 0; n < m.n_bytes; n += n < 70 ? 1 : 61) {
        kf_error err = {0};
        assert_int_equal(kfi_packed_open(&packed, m.bytes, n, false, &err), KF_FORMAT);
    }
    m.bytes[24] = 21; /* still two panels: fits */
    expect(&m, false, KF_OK, 0);
    m.bytes[24] = 33; /* three panels: does not */
    expect(&m, false, KF_FORMAT, m.n_bytes);
    matrix_free(&m);
}

static void refuses_bytes_that_are_not_aligned(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 7);
    matrix m = matrix_make("int4g64", 16, 32, &rng);
    uint8_t *moved = kfi_alloc(NULL, m.n_bytes + 8);
    kfi_packed packed = {0};
    memcpy(moved + 8, m.bytes, m.n_bytes);
    assert_int_equal(kfi_packed_open(&packed, moved + 8, m.n_bytes, false, NULL), KF_FORMAT);
    kfi_free(NULL, moved, m.n_bytes + 8);
    matrix_free(&m);
}

static void refuses_scales_that_are_not_finite(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 8);
    matrix m = matrix_make("int4g64o", 16, 64, &rng);
    const size_t scales = 64 + 16 * 32;
    m.bytes[scales + 11] |= 0x7C;
    expect(&m, false, KF_FORMAT, scales + 10);
    matrix_free(&m);
    m = matrix_make("int4g64o", 16, 64, &rng);
    m.bytes[scales + 64 + 1] |= 0x7C; /* offsets follow 32 bytes of scales and their padding */
    expect(&m, false, KF_FORMAT, scales + 64);
    matrix_free(&m);
    m = matrix_make("mxint4g64", 16, 64, &rng);
    m.bytes[scales + 3] = 0xFF;
    expect(&m, false, KF_FORMAT, scales + 3);
    matrix_free(&m);
}

static void refuses_two_levels_that_leave_their_range(void **state)
{
    (void)state;
    const size_t row_scales = 64 + 16 * 32;
    const size_t multipliers = row_scales + 64;
    const size_t zeros = multipliers + 64;
    static const struct {
        int plane; /* 0 row scales, 1 multipliers, 2 zeros */
        size_t byte;
        uint8_t value;
        bool is_refused;
    } cases[] = {
        {0, 8, 1, true},    {0, 9, 1, false},    {1, 3, 17, false},
        {1, 3, 18, true},   {1, 5, 0xEF, false}, {1, 5, 0xEE, true},
        {1, 5, 0x80, true}, {2, 4, 15, false},   {2, 4, 16, true},
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 11);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t planes[] = {row_scales, multipliers, zeros};
        matrix m = matrix_make("int4g64ar", 16, 64, &rng);
        const size_t at = planes[cases[i].plane] + cases[i].byte;
        m.bytes[at] = cases[i].value;
        expect(&m, false, cases[i].is_refused ? KF_FORMAT : KF_OK, at);
        matrix_free(&m);
    }
    matrix m = matrix_make("int4g64r", 16, 64, &rng);
    m.bytes[row_scales + 6] |= 0x80; /* an infinity in row 1 */
    m.bytes[row_scales + 7] |= 0x7F;
    expect(&m, false, KF_FORMAT, row_scales + 4);
    matrix_free(&m);
    m = matrix_make("int4g64r", 15, 64, &rng);
    m.bytes[row_scales + 15 * 4 + 2] = 1; /* a row of padding */
    expect(&m, false, KF_OK, 0);
    expect(&m, true, KF_FORMAT, row_scales + 15 * 4);
    matrix_free(&m);
}

static void verifies_padding_only_when_asked(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 9);
    const size_t codes = 64;
    const size_t scales = codes + 2 * 2 * 4 * 64; /* 17 x 33: two panels of two chunks */
    const size_t zeros = scales + 2 * 32;
    static const struct {
        bool in_codes;
        size_t byte;
    } cases[] = {{true, 64 * 4 + 1}, {true, 64 * 8 + 63}};
    for (size_t i = 0; i < 2; i++) { /* column 33 of row 0; row 31, column 3 */
        matrix m = matrix_make("int4row", 17, 33, &rng);
        m.bytes[codes + cases[i].byte] |= 0x10;
        expect(&m, false, KF_OK, 0);
        expect(&m, true, KF_FORMAT, codes + (i == 0 ? 64 * 4 : 64 * 8));
        matrix_free(&m);
    }
    matrix m = matrix_make("int4rowa", 17, 33, &rng);
    m.bytes[scales + 32 + 2] = 1; /* scale of row 17 */
    expect(&m, false, KF_OK, 0);
    expect(&m, true, KF_FORMAT, scales + 32 + 2);
    matrix_free(&m);
    m = matrix_make("int4rowa", 17, 33, &rng);
    m.bytes[zeros + 40] = 1; /* behind 2 x 16 zeros */
    expect(&m, false, KF_OK, 0);
    expect(&m, true, KF_FORMAT, zeros + 32);
    matrix_free(&m);
}

/* Whatever the bytes say, opening ends in an error or in a view that can be read to its end. */
static void survives_mutations(void **state)
{
    (void)state;
    static const char *const names[] = {"int4g64",    "int3g32a", "int2rowo",
                                        "mxint8g128", "int4g32r", "int2g64ar"};
    kfi_rng rng;
    kfi_rng_init(&rng, 10);
    size_t n_opened = 0;
    for (size_t i = 0; i < 12000; i++) {
        matrix m = matrix_make(names[i % 6], 1 + kfi_rng_below(&rng, 20),
                               1 + kfi_rng_below(&rng, 140), &rng);
        const size_t n_flips = 1 + kfi_rng_below(&rng, 4);
        for (size_t k = 0; k < n_flips; k++) {
            const size_t at = kfi_rng_below(&rng, kfi_rng_below(&rng, 4) == 0 ? 64 : m.n_bytes);
            m.bytes[at] = (uint8_t)(i % 3 == 0 ? kfi_rng_below(&rng, 256) : m.bytes[at] ^ 1u << k);
        }
        kfi_packed packed = {0};
        kf_error err = {0};
        if (kfi_packed_open(&packed, m.bytes, m.n_bytes, i % 2 == 0, &err) == KF_OK) {
            float *row = kfi_alloc(NULL, packed.cols * sizeof *row);
            n_opened++;
            for (size_t r = 0; r < packed.rows; r++) {
                kfi_packed_decode_row(row, &packed, r, 0, packed.cols);
                for (size_t c = 0; c < packed.cols; c++) {
                    assert_true(!isnan(row[c]));
                }
            }
            kfi_free(NULL, row, packed.cols * sizeof *row);
        } else {
            assert_true(err.offset <= m.n_bytes);
        }
        matrix_free(&m);
    }
    assert_in_range(n_opened, 1000, 11000); /* both outcomes are exercised */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(reads_ternary_codes_and_codebooks_back),
        cmocka_unit_test(refuses_codebooks_that_no_writer_makes),
        cmocka_unit_test(verifying_finds_a_fourth_ternary_code),
        cmocka_unit_test(puts_codes_where_the_drawing_says),
        cmocka_unit_test(permuted_rows_hold_permuted_codes),
        cmocka_unit_test(counts_bits_with_everything),
        cmocka_unit_test(refuses_a_wrong_header),
        cmocka_unit_test(refuses_a_wrong_size),
        cmocka_unit_test(refuses_bytes_that_are_not_aligned),
        cmocka_unit_test(refuses_scales_that_are_not_finite),
        cmocka_unit_test(refuses_two_levels_that_leave_their_range),
        cmocka_unit_test(verifies_padding_only_when_asked),
        cmocka_unit_test(survives_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
