/* The products in use (KERF_ISA) against plain C, bit for bit, and against exact sums in double.
 *
 * Built a second time for the int8 product of AMX, whatever is in use; that needs AVX-512.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/cpu.h"
#include "base/half.h"
#include "kernels/kernels_list.h"
#include "random_packed.h"

#if defined(TEST_AMX)
#include "amx_trap.h"
#include "kernels/selfcheck.h"
#define MATMUL_INT8    matmul_int8_amx
#define NEEDS          KFI_CPU_AVX512VNNI
#define EXTREME_TOKENS 18 /* more than a tile has */

/* The trap is set anew, since cmocka sets its own for every test. No thread may go on, and perhaps
 * to sleep, with tiles that keep state. */
static void matmul_int8_amx(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                            size_t panel_end, const kfi_activations *x, void *scratch)
{
    amx_trap_install();
    kfi_matmul_int8_amx(y, ld_y, w, panel_begin, panel_end, x, scratch);
    assert_false(amx_trap_in_use());
}
#else
#define MATMUL_INT8    kfi_kernels_get()->matmul_int8
#define NEEDS          0
#define EXTREME_TOKENS 2
#endif

static const char *const group_names[] = {"g32", "g64", "g128", "row"};
static const struct {
    const char *element, *zero;
} kinds[] = {{"int", ""}, {"int", "a"}, {"int", "o"}, {"mxint", ""}, {"int", "r"}, {"int", "ar"}};

/* Formats whose names do not go over the bits, or have no zeros. */
static const char *const elements[] = {"ternary", "nf2", "nf3", "nf4", "fp4e2m1",
                                       "fp6e3m2", "cb4", "cb8", "cb16"};

/* Shapes around panels of 16 rows and chunks of 32 columns, and widths of real models. */
static const size_t shapes[][2] = {{1, 1},    {15, 15},  {17, 17},  {31, 33},  {33, 31},
                                   {16, 576}, {40, 896}, {47, 257}, {8, 1536}, {64, 128}};
static const size_t token_counts[] = {1, 2, 3, 4, 5, 6, 8, 9, 12, 13, 15, 16, 17, 32, 33, 40, 64};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Bytes of scratch memory, with a guard behind that must stay as it is. */
typedef struct scratch {
    uint8_t *bytes;
    size_t n;
} scratch;

#define GUARD_BYTES 64

static scratch scratch_make(size_t cols)
{
    scratch s = {.n = kfi_matmul_scratch_bytes(cols)};
    s.bytes = kfi_alloc(NULL, s.n + GUARD_BYTES);
    memset(s.bytes, 0xC3, s.n + GUARD_BYTES);
    return s;
}

static void scratch_free(scratch *s)
{
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(s->bytes[s->n + i], 0xC3);
    }
    kfi_free(NULL, s->bytes, s->n + GUARD_BYTES);
}

/* Results go to a matrix wider than the rows, whose other columns must stay NaN. */
static float *results_make(size_t n)
{
    float *y = kfi_alloc(NULL, n * sizeof *y);
    for (size_t i = 0; i < n; i++) {
        y[i] = NAN;
    }
    return y;
}

static void check_same(const float *a, const float *b, size_t n, const char *name, size_t rows,
                       size_t cols, size_t tokens)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            fail_msg("%s %zu x %zu, %zu tokens: element %zu is %a, plain C has %a", name, rows,
                     cols, tokens, i, (double)b[i], (double)a[i]);
        }
    }
}

/* |y - exact| <= gamma sum |terms| with gamma of the float operations behind one result. */
static void check_bound(float y, double exact, double magnitude, size_t n_operations)
{
    const double nu = (double)n_operations * 0x1p-24;
    assert_true(fabs((double)y - exact) <= nu / (1.0 - nu) * magnitude + 1e-37);
}

/* Sixteen times the 6-bit float: (1 + m / 4) 2^(e - 3), or m / 4 2^-2 where e is 0. */
static int32_t float_level(uint8_t code)
{
    const int e = (code >> 5 & 1) * 4 + (code >> 2 & 3);
    const double m = (code & 3) / 4.0;
    const double value = e == 0 ? m * 0.25 : (1.0 + m) * ldexp(1.0, e - 3);
    return (int32_t)((code & 16) != 0 ? -16.0 * value : 16.0 * value);
}

/* What a code stands for, in steps of the scale. */
static int32_t level_of(const kfi_packed *w, const kfi_grid *grid, uint8_t code)
{
    return w->table != NULL                       ? w->table[code]
           : w->format.element == KF_ELEMENT_E3M2 ? float_level(code)
                                                  : (int32_t)code - grid->zero;
}

static double exact_int8(double *magnitude, const kfi_packed *w, const kfi_activations *x,
                         const uint8_t *codes, const kfi_grid *grids, size_t token)
{
    double sum = 0.0;
    *magnitude = 0.0;
    for (size_t k = 0; k < w->cols; k++) {
        const kfi_grid *g = &grids[k / w->group];
        const double scale_x = (double)x->scales[token * x->n_groups + k / x->group];
        const double a = scale_x * x->codes[token * x->cols_padded + k];
        const double q = (double)g->scale * level_of(w, g, codes[k]);
        sum += a * (q + (double)g->offset);
        *magnitude += fabs(a) * (fabs(q) + fabs((double)g->offset));
    }
    return sum;
}

static void check_int8_exact(const float *y, size_t ld_y, const kfi_packed *w,
                             const kfi_activations *x)
{
    uint8_t *codes = kfi_alloc(NULL, w->cols);
    kfi_grid *grids = kfi_calloc(NULL, w->n_groups, sizeof *grids);
    for (size_t r = 0; r < w->rows; r += 7) {
        kfi_packed_read_row(codes, grids, w, r);
        for (size_t t = 0; t < x->n_tokens; t += 5) {
            double magnitude = 0.0;
            const double exact = exact_int8(&magnitude, w, x, codes, grids, t);
            const size_t n_segments = w->n_groups + x->n_groups;
            check_bound(y[t * ld_y + r], exact, magnitude, 3 * n_segments + 3);
        }
    }
    kfi_free(NULL, codes, w->cols);
    kfi_free(NULL, grids, w->n_groups * sizeof *grids);
}

static void check_int8(const char *name, size_t rows, size_t cols, size_t n_tokens, size_t group,
                       bool extremes, kfi_rng *rng)
{
    random_packed m = random_packed_make(name, rows, cols, extremes, rng);
    kfi_activations x = random_activations_make(n_tokens, cols, group, extremes, rng);
    const size_t ld_y = rows + 3;
    float *expected = results_make(n_tokens * ld_y);
    float *actual = results_make(n_tokens * ld_y);
    scratch s = scratch_make(cols);
    const size_t middle = m.packed.n_panels / 2; /* as two threads would */
    kfi_matmul_int8_generic(expected, ld_y, &m.packed, 0, m.packed.n_panels, &x, s.bytes);
    MATMUL_INT8(actual, ld_y, &m.packed, middle, m.packed.n_panels, &x, s.bytes);
    MATMUL_INT8(actual, ld_y, &m.packed, 0, middle, &x, s.bytes);
    check_same(expected, actual, n_tokens * ld_y, name, rows, cols, n_tokens);
    check_int8_exact(actual, ld_y, &m.packed, &x);
    scratch_free(&s);
    kfi_free(NULL, expected, n_tokens * ld_y * sizeof *expected);
    kfi_free(NULL, actual, n_tokens * ld_y * sizeof *actual);
    random_activations_free(&x);
    random_packed_free(&m);
}

typedef void visit_fn(const char *name, size_t rows, size_t cols, size_t tokens, size_t group,
                      bool extremes, kfi_rng *rng);

/* Cases of one format, with shapes that go on from those of the format before. */
static void for_cases_of(visit_fn *visit, const char *name, size_t n, size_t *i_case, kfi_rng *rng)
{
    static const size_t token_groups[] = {64, KF_GROUP_ROW, 32, 128};
    for (size_t i = 0; i < n; i++, (*i_case)++) {
        const size_t *shape = shapes[*i_case % COUNT(shapes)];
        visit(name, shape[0], shape[1], token_counts[kfi_rng_below(rng, COUNT(token_counts))],
              token_groups[kfi_rng_below(rng, COUNT(token_groups))], *i_case % 5 == 0, rng);
    }
}

/* Calls visit for every format with a shape and a number of tokens; all of them meet in the end. */
static void for_each_case(visit_fn *visit, size_t cases_per_format)
{
    char name[KF_FORMAT_NAME_BYTES];
    kfi_rng rng;
    size_t i_case = 0;
    kfi_rng_init(&rng, 1);
    for (size_t g = 0; g < COUNT(group_names); g++) {
        const bool has_groups = strcmp(group_names[g], "row") != 0;
        for (unsigned bits = 2; bits <= 8; bits++) {
            for (size_t k = 0; k < COUNT(kinds); k++) {
                (void)snprintf(name, sizeof name, "%s%u%s%s", kinds[k].element, bits,
                               group_names[g], kinds[k].zero);
                if (has_groups || strchr(kinds[k].zero, 'r') == NULL) {
                    for_cases_of(visit, name, cases_per_format, &i_case, &rng);
                }
            }
        }
        for (size_t k = 0; k < COUNT(elements); k++) {
            (void)snprintf(name, sizeof name, "%s%s", elements[k], group_names[g]);
            for_cases_of(visit, name, cases_per_format, &i_case, &rng);
        }
    }
    for_cases_of(visit, "ternaryg32r", cases_per_format, &i_case, &rng);
    for_cases_of(visit, "ternaryg128r", cases_per_format, &i_case, &rng);
}

static void multiplies_int8_as_plain_c_does(void **state)
{
    (void)state;
    for_each_case(check_int8, 13);
}

/* A scale a token; the even tokens are 127 all over, the odd ones -127. */
static kfi_activations extreme_activations(size_t cols, kfi_rng *rng)
{
    kfi_activations x = random_activations_make(EXTREME_TOKENS, cols, KF_GROUP_ROW, true, rng);
    for (size_t t = 0; t < x.n_tokens; t++) {
        const int32_t code = t % 2 == 0 ? 127 : -127;
        memset(x.codes + t * x.cols_padded, code, cols);
        for (size_t c = 0; c < x.cols_padded / 32; c++) {
            const int32_t n = c < cols / 32 ? 32 : (int32_t)(cols % 32);
            x.sums[t * (x.cols_padded / 32) + c] = code * n;
        }
    }
    return x;
}

/* The largest sums: all codes and activations at their ends, one group a row. */
static void does_not_saturate_or_overflow(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (unsigned bits = 2; bits <= 8; bits++) {
        for (size_t k = 0; k < 3; k++) {
            char name[KF_FORMAT_NAME_BYTES];
            (void)snprintf(name, sizeof name, "int%urow%s", bits, kinds[k].zero);
            random_packed m = random_packed_make(name, 17, 70000, true, &rng);
            kfi_activations x = extreme_activations(70000, &rng);
            memset((uint8_t *)m.bytes + KFI_HEADER_BYTES, 0xFF, /* every code is the greatest */
                   m.packed.n_chunks * bits * KFI_LINE_BYTES);
            float expected[EXTREME_TOKENS * 17];
            float actual[EXTREME_TOKENS * 17];
            scratch s = scratch_make(70000);
            kfi_matmul_int8_generic(expected, 17, &m.packed, 0, 2, &x, s.bytes);
            MATMUL_INT8(actual, 17, &m.packed, 0, 2, &x, s.bytes);
            check_same(expected, actual, EXTREME_TOKENS * 17, name, 17, 70000, EXTREME_TOKENS);
            x.n_tokens = 1;
            MATMUL_INT8(actual, 17, &m.packed, 0, 2, &x, s.bytes);
            check_same(expected, actual, 17, name, 17, 70000, 1);
            x.n_tokens = EXTREME_TOKENS;
            const double scale = (double)kfi_half_to_float(((const uint16_t *)m.packed.scales)[0]);
            if (k == 0) { /* row 0: every weight is the same */
                const double q = (double)(1 << (bits - 1)) - 1.0;
                const double exact = scale * q * 127.0 * 70000.0 * (double)x.scales[0];
                check_bound(actual[0], exact, fabs(exact), 16);
            }
            scratch_free(&s);
            random_activations_free(&x);
            random_packed_free(&m);
        }
    }
}

/* Of 6-bit floats: all the greatest of either sign, and every code in turn. */
static void floats_of_6_bits_do_not_overflow(void **state)
{
    (void)state;
    enum {
        cols = 70000
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 7);
    for (size_t i = 0; i < 3; i++) {
        random_packed m = random_packed_make("fp6e3m2row", 17, cols, i == 2, &rng);
        kfi_activations x = extreme_activations(cols, &rng);
        const size_t n_chunk = KFI_E3M2_BITS * KFI_LINE_BYTES;
        for (size_t c = 0; c < 2 * m.packed.n_chunks && i < 2; c++) { /* codes 63 and 47 */
            uint8_t *chunk = (uint8_t *)m.bytes + KFI_HEADER_BYTES + c * n_chunk;
            memset(chunk, 0xFF, n_chunk);
            memset(chunk + 4 * KFI_LINE_BYTES, i == 0 ? 0xFF : 0xAA, 2 * KFI_LINE_BYTES);
        }
        float expected[EXTREME_TOKENS * 17];
        float actual[EXTREME_TOKENS * 17];
        scratch s = scratch_make(cols);
        kfi_matmul_int8_generic(expected, 17, &m.packed, 0, 2, &x, s.bytes);
        MATMUL_INT8(actual, 17, &m.packed, 0, 2, &x, s.bytes);
        check_same(expected, actual, EXTREME_TOKENS * 17, "fp6e3m2row", 17, cols, EXTREME_TOKENS);
        const kfi_activations one = kfi_activations_from(&x, 0, 1);
        MATMUL_INT8(actual, 17, &m.packed, 0, 2, &one, s.bytes);
        check_same(expected, actual, 17, "fp6e3m2row", 17, cols, 1);
        for (size_t r = 0; r < 17 && i < 2; r++) {
            const size_t i_scale = r / 16 * 16 + r % 16;
            const uint16_t half = ((const uint16_t *)m.packed.scales)[i_scale];
            const double level = i == 0 ? -448.0 : 448.0;
            const double exact =
                (double)kfi_half_to_float(half) * level * 127.0 * cols * (double)x.scales[0];
            check_bound(actual[r], exact, fabs(exact), 16);
        }
        scratch_free(&s);
        random_activations_free(&x);
        random_packed_free(&m);
    }
}

/* A sum of 65 536 columns of the largest products there are, and a second one of what is left. */
static void two_level_sums_do_not_overflow(void **state)
{
    (void)state;
    enum {
        cols = 70000
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (unsigned bits = 2; bits <= 8; bits++) {
        char name[KF_FORMAT_NAME_BYTES];
        (void)snprintf(name, sizeof name, "int%ug128ar", bits);
        random_packed m = random_packed_make(name, 17, cols, true, &rng);
        kfi_activations x = extreme_activations(cols, &rng);
        const size_t q_max = (1u << bits) - 1;
        const size_t n_grids = m.packed.n_panels * m.packed.n_groups * 16;
        memset((uint8_t *)m.bytes + KFI_HEADER_BYTES, 0xFF,
               2 * m.packed.n_chunks * bits * KFI_LINE_BYTES);
        uint8_t *const bytes = m.bytes;
        memset(bytes + ((const uint8_t *)m.packed.scales - bytes), (int)(255 / q_max), n_grids);
        memset(bytes + ((const uint8_t *)m.packed.zeros - bytes), 0, n_grids);
        float expected[EXTREME_TOKENS * 17];
        float actual[EXTREME_TOKENS * 17];
        scratch s = scratch_make(cols);
        kfi_matmul_int8_generic(expected, 17, &m.packed, 0, 2, &x, s.bytes);
        MATMUL_INT8(actual, 17, &m.packed, 0, 2, &x, s.bytes);
        check_same(expected, actual, EXTREME_TOKENS * 17, name, 17, cols, EXTREME_TOKENS);
        for (size_t r = 0; r < 17; r++) {
            const double exact = (double)(255 / q_max * q_max) * 127.0 * cols *
                                 (double)x.scales[0] * (double)m.packed.row_scales[r];
            check_bound(actual[r], exact, exact, 8);
            check_bound(actual[17 + r], -exact * (double)x.scales[1] / (double)x.scales[0],
                        exact * (double)x.scales[1] / (double)x.scales[0], 8);
        }
        x.n_tokens = 1;
        MATMUL_INT8(actual, 17, &m.packed, 0, 2, &x, s.bytes);
        check_same(expected, actual, 17, name, 17, cols, 1);
        x.n_tokens = EXTREME_TOKENS;
        scratch_free(&s);
        random_activations_free(&x);
        random_packed_free(&m);
    }
}

static double exact_float(double *magnitude, const kfi_packed *w, const float *x,
                          const uint8_t *codes, const kfi_grid *grids)
{
    double sum = 0.0;
    *magnitude = 0.0;
    for (size_t k = 0; k < w->cols; k++) {
        const kfi_grid *g = &grids[k / w->group];
        const double q = (double)g->scale * level_of(w, g, codes[k]);
        sum += (double)x[k] * (q + (double)g->offset);
        *magnitude += fabs((double)x[k]) * (fabs(q) + fabs((double)g->offset));
    }
    return sum;
}

static void check_float(const char *name, size_t rows, size_t cols, size_t n_tokens, size_t group,
                        bool extremes, kfi_rng *rng)
{
    (void)group;
    random_packed m = random_packed_make(name, rows, cols, extremes, rng);
    const size_t ld_y = rows + 1;
    const size_t ld_x = cols + 5;
    float *x = random_floats(n_tokens * ld_x, rng);
    float *expected = results_make(n_tokens * ld_y);
    float *actual = results_make(n_tokens * ld_y);
    uint8_t codes[1536];
    kfi_grid grids[48];
    scratch s = scratch_make(cols);
    const size_t middle = m.packed.n_panels / 2;
    const kfi_float_activations all = {n_tokens, x, ld_x};
    kfi_matmul_float_generic(expected, ld_y, &m.packed, 0, m.packed.n_panels, &all, s.bytes);
    kfi_kernels_get()->matmul_float(actual, ld_y, &m.packed, middle, m.packed.n_panels, &all,
                                    s.bytes);
    kfi_kernels_get()->matmul_float(actual, ld_y, &m.packed, 0, middle, &all, s.bytes);
    check_same(expected, actual, n_tokens * ld_y, name, rows, cols, n_tokens);
    for (size_t r = 0; r < rows; r += 7) {
        kfi_packed_read_row(codes, grids, &m.packed, r);
        for (size_t t = 0; t < n_tokens; t += 5) {
            double magnitude = 0.0;
            const double exact = exact_float(&magnitude, &m.packed, x + t * ld_x, codes, grids);
            check_bound(actual[t * ld_y + r], exact, magnitude,
                        (cols < m.packed.group ? cols : m.packed.group) + 2 * m.packed.n_groups);
        }
    }
    scratch_free(&s);
    kfi_free(NULL, x, n_tokens * ld_x * sizeof *x);
    kfi_free(NULL, expected, n_tokens * ld_y * sizeof *expected);
    kfi_free(NULL, actual, n_tokens * ld_y * sizeof *actual);
    random_packed_free(&m);
}

static void multiplies_floats_as_plain_c_does(void **state)
{
    (void)state;
    for_each_case(check_float, 7);
}

/* A token's result must not depend on the tokens beside it: a batch of 35 against 35 of 1. */
static void gives_the_same_for_every_batch(void **state)
{
    (void)state;
    enum {
        n = 35,
        rows = 37,
        cols = 200
    };
    static const char *const zeros[] = {"", "ar", "o", "r"};
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    for (unsigned bits = 2; bits <= 9; bits++) {
        char name[KF_FORMAT_NAME_BYTES] = "fp6e3m2g64";
        if (bits <= 8) {
            (void)snprintf(name, sizeof name, "int%ug64%s", bits, zeros[bits % 4]);
        }
        random_packed m = random_packed_make(name, rows, cols, false, &rng);
        kfi_activations x = random_activations_make(n, cols, 64, false, &rng);
        float *floats = random_floats(n * cols, &rng);
        float batch[2][n * rows];
        float single[2][n * rows];
        scratch s = scratch_make(cols);
        MATMUL_INT8(batch[0], rows, &m.packed, 0, 3, &x, s.bytes);
        const kfi_float_activations all = {n, floats, cols};
        kfi_kernels_get()->matmul_float(batch[1], rows, &m.packed, 0, 3, &all, s.bytes);
        for (size_t t = 0; t < n; t++) {
            kfi_activations one = x;
            one.n_tokens = 1;
            one.codes += t * x.cols_padded;
            one.scales += t * x.n_groups;
            one.sums += t * x.cols_padded / KFI_CHUNK_COLS;
            MATMUL_INT8(single[0] + t * rows, rows, &m.packed, 0, 3, &one, s.bytes);
            const kfi_float_activations one_float = {1, floats + t * cols, cols};
            kfi_kernels_get()->matmul_float(single[1] + t * rows, rows, &m.packed, 0, 3, &one_float,
                                            s.bytes);
        }
        check_same(batch[0], single[0], n * rows, name, rows, cols, n);
        check_same(batch[1], single[1], n * rows, name, rows, cols, n);
        scratch_free(&s);
        kfi_free(NULL, floats, n * cols * sizeof *floats);
        random_activations_free(&x);
        random_packed_free(&m);
    }
}

/* More tokens and columns than a kernel takes at once, and a few over. */
static void multiplies_many_tokens_as_plain_c_does(void **state)
{
    (void)state;
    static const size_t counts[] = {255, 256, 257, 271, 272, 289, 530};
    static const char *const names[] = {"int4g64",  "int3g32ar", "int8row",    "int5g64r",
                                        "int2g32o", "int6row",   "fp6e3m2g64", "fp6e3m2row"};
    kfi_rng rng;
    kfi_rng_init(&rng, 6);
    for (size_t i = 0; i < COUNT(counts); i++) {
        for (size_t k = 0; k < COUNT(names); k++) {
            check_int8(names[k], 37, k % 2 == 0 ? 96 : 1120, counts[i],
                       k % 2 == 0 ? 64 : KF_GROUP_ROW, false, &rng);
        }
    }
}

static void does_nothing_for_no_tokens_or_panels(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    random_packed m = random_packed_make("int4g64", 20, 64, false, &rng);
    kfi_activations x = random_activations_make(1, 64, 64, false, &rng);
    scratch s = scratch_make(64);
    float y[20];
    const float floats[64] = {0};
    memset(y, 0x5A, sizeof y);
    MATMUL_INT8(y, 20, &m.packed, 1, 1, &x, s.bytes);
    const kfi_float_activations one_float = {1, floats, 64};
    const kfi_float_activations no_float = {0, floats, 64};
    kfi_kernels_get()->matmul_float(y, 20, &m.packed, 2, 2, &one_float, s.bytes);
    kfi_kernels_get()->matmul_float(y, 20, &m.packed, 0, 2, &no_float, s.bytes);
    x.n_tokens = 0;
    MATMUL_INT8(y, 20, &m.packed, 0, 2, &x, s.bytes);
    x.n_tokens = 1;
    for (size_t i = 0; i < sizeof y; i++) {
        assert_int_equal(((const uint8_t *)y)[i], 0x5A);
    }
    scratch_free(&s);
    random_activations_free(&x);
    random_packed_free(&m);
}

#if defined(TEST_AMX)
/* Where the processor has AMX it multiplies itself, and nothing can be broken. */
static void self_check_sees_wrong_tiles(void **state)
{
    (void)state;
    if ((kfi_cpu_features() & KFI_CPU_AMX) != 0) {
        assert_true(kfi_selfcheck_matmul_int8(kfi_matmul_int8_amx));
        skip();
    }
    amx_trap_install();
    const size_t products = amx_trap_products();
    assert_true(kfi_selfcheck_matmul_int8(kfi_matmul_int8_amx));
    assert_true(amx_trap_products() > products);
    amx_trap_break(true);
    assert_false(kfi_selfcheck_matmul_int8(kfi_matmul_int8_amx));
    amx_trap_break(false);
}
#endif

int main(void)
{
    if ((kfi_cpu_features() & NEEDS) != NEEDS) {
        (void)printf("1..0 # SKIP this machine has no AVX-512\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multiplies_int8_as_plain_c_does),
        cmocka_unit_test(does_not_saturate_or_overflow),
        cmocka_unit_test(floats_of_6_bits_do_not_overflow),
        cmocka_unit_test(two_level_sums_do_not_overflow),
        cmocka_unit_test(multiplies_floats_as_plain_c_does),
        cmocka_unit_test(gives_the_same_for_every_batch),
        cmocka_unit_test(multiplies_many_tokens_as_plain_c_does),
        cmocka_unit_test(does_nothing_for_no_tokens_or_panels),
#if defined(TEST_AMX)
        cmocka_unit_test(self_check_sees_wrong_tiles),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
