/* Old files must load for ever: packed tensors that were once written, read by the rules of
 * docs/FORMAT.md in plain loops that share nothing with the library, and by the library.
 *
 * tools/golden_packed.py made the files; the numbers in them are repeated here.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "format/format.h"

enum {
    rows = 18,
    cols = 72,
    groups_max = 3
};

/* ---- what the files are known to hold ---- */

enum {
    INTEGER = 1,
    TERNARY = 3,
    CODEBOOK = 4,
    NF = 5,
    E2M1 = 6,
    E3M2 = 7
};

static uint8_t expected_code(uint32_t row, uint32_t col, uint32_t bits, unsigned element)
{
    uint32_t x = row * 2654435761u + col * 40503u + bits;
    x = (x ^ x >> 15) * 2246822519u;
    const uint32_t code = x >> (32 - bits);
    return (uint8_t)(element == TERNARY ? code % 3 : code);
}

/* Byte 40 of the header: the entries of a codebook, zeros behind them. */
static void expected_table(int8_t table[16], unsigned element, unsigned bits)
{
    static const int8_t fixed[][16] = {
        {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12},
        {-127, 0, 55, 127},
        {-127, -68, -31, 0, 23, 49, 79, 127},
        {-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127}};
    memset(table, 0, 16);
    for (int i = 0; element == CODEBOOK && i < 1 << bits; i++) {
        table[i] = (int8_t)(i * 240 / ((1 << bits) - 1) - 120 + i % 2);
    }
    if (element == NF || element == E2M1) {
        memcpy(table, fixed[element == NF ? bits - 1 : 0], 16);
    }
}

static unsigned expected_scale_half(unsigned row, unsigned group)
{
    const unsigned sign = (row + group) % 3 == 0 ? 0x8000u : 0;
    return row == 5 && group == 0 ? 0x0003u : (0x2000u + (row * 97 + group * 389) % 0x1000u) | sign;
}

static unsigned expected_exponent(unsigned row, unsigned group)
{
    return row == 3 && group == 0 ? 0 : 110 + (row * 7 + group * 5) % 20;
}

static unsigned expected_zero(unsigned row, unsigned group)
{
    return (row * 29 + group * 83) % 256;
}

/* Two-level scales: the bits of a row's float32, a multiplier, and a zero that is a code. */
static uint32_t expected_row_scale(uint32_t row)
{
    return row == 11 ? 0 : 0x38800000u + (row * 40507u % 0x10000u << 8);
}

static int expected_multiplier(unsigned row, unsigned group, unsigned bits)
{
    const int most = 255 / ((1 << bits) - 1);
    return most - (int)(row * 11 + group * 7) % (2 * most + 1);
}

static unsigned expected_zero_code(unsigned row, unsigned group, unsigned bits)
{
    return expected_zero(row, group) % (1u << bits);
}

static unsigned expected_offset_half(unsigned row, unsigned group)
{
    return (0x3000u + (row * 53 + group * 211) % 0x0C00u) | (row % 2 == 1 ? 0x8000u : 0);
}

/* ---- a reader by the document ---- */

/* A packed tensor as the document draws it. */
typedef struct document {
    uint8_t *bytes; /* 64-byte aligned, for the library */
    size_t n;
    unsigned element, bits, scale, zero;
    size_t group, n_panels, n_chunks, n_groups;
    size_t row_scales, scales, zeros, end; /* offsets of the planes behind the codes */
} document;

static uint64_t little_endian(const uint8_t *bytes, size_t n)
{
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static size_t divide_up(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

static document document_read(const char *name)
{
    char path[1024];
    document d = {0};
    (void)snprintf(path, sizeof path, "%s/tests/golden/packed_%s.bin", getenv("KERF_SOURCE_ROOT"),
                   name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    d.bytes = aligned_alloc(64, 8192);
    assert_non_null(d.bytes);
    d.n = fread(d.bytes, 1, 8192, file);
    (void)fclose(file);
    assert_in_range(d.n, 64, 8191);
    assert_memory_equal(d.bytes, "KERFPK16", 8);
    assert_int_equal(little_endian(d.bytes + 8, 4), 1);
    d.element = d.bytes[12];
    d.bits = d.bytes[13];
    d.scale = d.bytes[14];
    d.zero = d.bytes[15];
    d.group = little_endian(d.bytes + 16, 4);
    assert_int_equal(little_endian(d.bytes + 20, 4), 0);
    assert_int_equal(little_endian(d.bytes + 24, 8), rows);
    assert_int_equal(little_endian(d.bytes + 32, 8), cols);
    d.n_panels = divide_up(rows, 16);
    d.n_chunks = divide_up(cols, 32);
    d.n_groups = d.group == 0 ? 1 : divide_up(cols, d.group);
    const size_t n_grids = d.n_panels * d.n_groups * 16;
    d.row_scales = 64 + d.n_panels * d.n_chunks * d.bits * 64;
    d.scales = d.row_scales + (d.scale == 3 ? d.n_panels * 16 * 4 : 0);
    d.zeros = d.scales + divide_up(n_grids * (d.scale == 1 ? 2 : 1), 64) * 64;
    d.end = d.zeros + divide_up(n_grids * d.zero, 64) * 64; /* kind 0, 1, 2: as many bytes */
    return d;
}

/* The first plane has the code's low bits; a plane of w bits has w lines, and a byte of a line
 * 8 / w columns that lie 4 apart. */
static unsigned document_code(const document *d, size_t row, size_t col)
{
    static const unsigned planes[9][4] = {{0},    {0},    {2},       {2, 1}, {4},
                                          {4, 1}, {4, 2}, {4, 2, 1}, {8}};
    const uint8_t *line = d->bytes + 64 + ((row / 16) * d->n_chunks + col / 32) * d->bits * 64;
    unsigned code = 0;
    unsigned shift = 0;
    for (const unsigned *w = planes[d->bits]; *w != 0; w++) {
        const size_t columns_a_line = 32 / *w;
        const size_t k = col % 32;
        const uint8_t byte = line[k / columns_a_line * 64 + 4 * (row % 16) + k % 4];
        const unsigned part = byte >> (k % columns_a_line / 4 * *w) & ((1u << *w) - 1);
        code |= part << shift;
        shift += *w;
        line += (size_t)*w * 64;
    }
    return code;
}

static double half_value(unsigned half)
{
    const int exponent = half >> 10 & 31;
    const int mantissa = half & 1023;
    const double value =
        exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return half & 0x8000u ? -value : value;
}

static size_t grid_index(const document *d, size_t row, size_t group)
{
    return (row / 16 * d->n_groups + group) * 16 + row % 16;
}

static unsigned scale_bits(const document *d, size_t row, size_t group)
{
    const size_t i = grid_index(d, row, group);
    return d->scale == 1 ? (unsigned)little_endian(d->bytes + d->scales + 2 * i, 2)
                         : d->bytes[d->scales + i];
}

static unsigned zero_bits(const document *d, size_t row, size_t group)
{
    const size_t i = grid_index(d, row, group);
    return d->zero == 2 ? (unsigned)little_endian(d->bytes + d->zeros + 2 * i, 2)
                        : d->bytes[d->zeros + i];
}

/* The S of a row: bits of a float32 that is never subnormal here. */
static double document_row_scale(const document *d, size_t row)
{
    const uint32_t bits = (uint32_t)little_endian(d->bytes + d->row_scales + 4 * row, 4);
    return bits == 0 ? 0.0 : ldexp((bits & 0x7FFFFFu) | 0x800000u, (int)(bits >> 23) - 150);
}

static double document_scale(const document *d, size_t row, size_t group)
{
    const unsigned bits = scale_bits(d, row, group);
    switch (d->scale) {
    case 1:
        return half_value(bits);
    case 2:
        return ldexp(1.0, (int)bits - 127);
    default:
        return document_row_scale(d, row) * (bits < 128 ? (int)bits : (int)bits - 256);
    }
}

/* Sixteen times the float of a code: e2 s e1 e0 m1 m0. */
static double document_float(unsigned code)
{
    const int e = (int)((code >> 5) * 4 + (code >> 2) % 4);
    const int m = (int)(code % 4);
    const double magnitude = e == 0 ? m : ldexp(4 + m, e - 1);
    return (code >> 4) % 2 == 1 ? -magnitude : magnitude;
}

/* A weight in double, where s q is exact and the sum with an offset is too. */
static double document_weight(const document *d, size_t row, size_t col)
{
    const size_t group = d->group == 0 ? 0 : col / d->group;
    const double s = document_scale(d, row, group);
    const double q = document_code(d, row, col);
    switch (d->zero) {
    case 0:
        return d->element == E3M2       ? s * document_float((unsigned)q)
               : d->element >= CODEBOOK ? s * (int8_t)d->bytes[40 + (size_t)q]
               : d->element == TERNARY  ? s * (q - 1.0)
                                        : s * (q - (double)(1u << (d->bits - 1)));
    case 1:
        return s * (q - (double)zero_bits(d, row, group));
    default:
        return s * q + half_value(zero_bits(d, row, group));
    }
}

/* ---- tests ---- */

static const char *const names[] = {
    "int2g32",   "int2g32a",  "int2g32o",   "mxint2g32", "int3g32",    "int3g32a",    "int3g32o",
    "mxint3g32", "int4g32",   "int4g32a",   "int4g32o",  "mxint4g32",  "int5g32",     "int5g32a",
    "int5g32o",  "mxint5g32", "int6g32",    "int6g32a",  "int6g32o",   "mxint6g32",   "int7g32",
    "int7g32a",  "int7g32o",  "mxint7g32",  "int8g32",   "int8g32a",   "int8g32o",    "mxint8g32",
    "int4g64",   "int3g128a", "int4rowo",   "mxint4row", "int2g32r",   "int2g32ar",   "int3g32r",
    "int3g32ar", "int4g32r",  "int4g32ar",  "int5g32r",  "int5g32ar",  "int6g32r",    "int6g32ar",
    "int7g32r",  "int7g32ar", "int8g32r",   "int8g32ar", "ternaryg32", "ternaryg32r", "nf2g32",
    "nf3g32",    "nf4g32",    "fp4e2m1g32", "cb4g32",    "cb8g32",     "cb16g32",     "fp6e3m2g32",
};
#define N_NAMES (sizeof names / sizeof names[0])

static unsigned expected_scale_bits(const document *d, unsigned row, unsigned group)
{
    return d->scale == 1   ? expected_scale_half(row, group)
           : d->scale == 2 ? expected_exponent(row, group)
                           : (uint8_t)expected_multiplier(row, group, d->bits);
}

static unsigned expected_zero_bits(const document *d, unsigned row, unsigned group)
{
    return d->zero == 2    ? expected_offset_half(row, group)
           : d->scale == 3 ? expected_zero_code(row, group, d->bits)
                           : expected_zero(row, group);
}

static void check_grids(const document *d)
{
    for (unsigned r = 0; r < rows; r++) {
        if (d->scale == 3) {
            assert_int_equal(little_endian(d->bytes + d->row_scales + (size_t)4 * r, 4),
                             expected_row_scale(r));
        }
        for (unsigned g = 0; g < d->n_groups; g++) {
            assert_int_equal(scale_bits(d, r, g), expected_scale_bits(d, r, g));
            if (d->zero != 0) {
                assert_int_equal(zero_bits(d, r, g), expected_zero_bits(d, r, g));
            }
        }
    }
}

static void the_document_reads_every_file(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        const document d = document_read(names[i]);
        int8_t table[16];
        expected_table(table, d.element, d.bits);
        assert_memory_equal(d.bytes + 40, table, sizeof table);
        assert_int_equal(d.n, d.end);
        for (unsigned r = 0; r < 16 * d.n_panels; r++) {
            for (unsigned c = 0; c < 32 * d.n_chunks; c++) {
                assert_int_equal(document_code(&d, r, c),
                                 r < rows && c < cols ? expected_code(r, c, d.bits, d.element) : 0);
            }
        }
        check_grids(&d);
        free(d.bytes);
    }
}

static void the_library_reads_the_same_weights(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        const document d = document_read(names[i]);
        kf_error err = {0};
        kfi_packed packed = {0};
        char name[KF_FORMAT_NAME_BYTES];
        float weights[cols];
        CHECK_OK(kfi_packed_open(&packed, d.bytes, d.n, true, &err), &err);
        kf_format_name(name, packed.format);
        assert_string_equal(name, names[i]);
        for (size_t r = 0; r < rows; r++) {
            kfi_packed_decode_row(weights, &packed, r, 0, cols);
            for (size_t c = 0; c < cols; c++) {
                assert_true(weights[c] == (float)document_weight(&d, r, c)); /* exact */
            }
        }
        free(d.bytes);
    }
}

static kfi_grid expected_grid(const document *d, unsigned row, unsigned group)
{
    kfi_grid grid = {.scale = (float)document_scale(d, row, group),
                     .offset =
                         d->zero == 2 ? (float)half_value(expected_offset_half(row, group)) : 0.0f,
                     .zero = d->zero == 1 ? (int32_t)expected_zero_bits(d, row, group)
                             : d->zero == 2 || d->element >= CODEBOOK ? 0
                             : d->element == TERNARY                  ? 1
                                                     : (int32_t)1 << (d->bits - 1)};
    if (d->scale == 3) {
        grid.row_scale = (float)document_row_scale(d, row);
        grid.multiplier = expected_multiplier(row, group, d->bits);
    }
    return grid;
}

static void the_library_writes_the_same_bytes(void **state)
{
    (void)state;
    static uint8_t codes[rows * cols];
    static kfi_grid grids[rows * groups_max];
    for (size_t i = 0; i < N_NAMES; i++) {
        const document d = document_read(names[i]);
        kf_format format = {0};
        uint64_t n = 0;
        assert_int_equal(kf_format_parse(&format, names[i], NULL), KF_OK);
        assert_int_equal(kf_format_bytes(&n, format, rows, cols, NULL), KF_OK);
        assert_int_equal(n, d.n);
        for (unsigned r = 0; r < rows; r++) {
            for (unsigned c = 0; c < cols; c++) {
                codes[r * cols + c] = expected_code(r, c, d.bits, d.element);
            }
            for (unsigned g = 0; g < d.n_groups; g++) {
                grids[r * d.n_groups + g] = expected_grid(&d, r, g);
            }
        }
        uint8_t *bytes = aligned_alloc(64, d.n);
        assert_non_null(bytes);
        int8_t table[16];
        expected_table(table, d.element, d.bits);
        kfi_packed_begin(bytes, format, table, rows, cols);
        kfi_packed_write(bytes, 0, d.n_panels, codes, grids);
        assert_memory_equal(bytes, d.bytes, d.n);
        free(bytes);
        free(d.bytes);
    }
}

/* The examples that the document computes by hand. */
static void sizes_are_those_of_the_document(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t rows, cols, bytes;
    } examples[] = {{"int4g64", 576, 576, 176320},    {"int3g128a", 192, 576, 44416},
                    {"mxint4row", 18, 72, 1664},      {"int2g64ar", 576, 576, 95680},
                    {"nf4g64", 576, 576, 176320},     {"ternaryg64", 576, 576, 93376},
                    {"ternaryg64r", 576, 576, 90496}, {"cb8g128", 192, 576, 43456},
                    {"fp6e3m2row", 576, 576, 250048}};
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        kf_format format = {0};
        uint64_t bytes = 0;
        assert_int_equal(kf_format_parse(&format, examples[i].name, NULL), KF_OK);
        assert_int_equal(kf_format_bytes(&bytes, format, examples[i].rows, examples[i].cols, NULL),
                         KF_OK);
        assert_int_equal(bytes, examples[i].bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_document_reads_every_file),
        cmocka_unit_test(the_library_reads_the_same_weights),
        cmocka_unit_test(the_library_writes_the_same_bytes),
        cmocka_unit_test(sizes_are_those_of_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
