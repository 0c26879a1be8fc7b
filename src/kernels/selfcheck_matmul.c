/* selfcheck_matmul.c - the self-checks of matrix products.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdalign.h>

#include "base/half.h"
#include "kernels/selfcheck_inline.h"

enum {
    few = 8,    /* a tile of few tokens; of floats one of 6 and its tail */
    more = 17,  /* a tile of 16 and its tail, or two of 6 and a tail */
    many = 35,  /* two tiles of 16 and a tail, or five of 6 and a tail */
    wide = 544, /* more columns than any kernel unpacks at once */
};

/* A packed matrix on the stack: random bytes are valid codes, scales are made finite. Every zero
 * kind and both scale kinds occur among the bits 2 … 8. */
typedef struct small_matrix {
    alignas(64) uint8_t codes[panels * 16 * padded];
    alignas(64) uint16_t scales[panels * groups * 16];
    alignas(64) float row_scales[panels * 16];
    alignas(64) uint16_t zeros[panels * groups * 16];
    int8_t table[KFI_TABLE_ENTRIES];
    kfi_packed packed;
} small_matrix;

static void small_matrix_fill(small_matrix *m, uint8_t bits)
{
    const kf_scale_kind scale = bits == 6 ? KF_SCALE_POWER_OF_TWO : KF_SCALE_FP16;
    kfi_rng rng;
    kfi_rng_init(&rng, bits);
    for (size_t i = 0; i < sizeof m->codes; i++) {
        m->codes[i] = (uint8_t)kfi_rng_next(&rng);
    }
    for (size_t i = 0; i < panels * groups * 16; i++) {
        m->scales[i] = scale == KF_SCALE_FP16
                           ? kfi_half_from_float(kfi_rng_uniform(&rng) - 0.5f)
                           : (uint16_t)(i == 0 ? 0x7F00u : 0x7B80u);     /* 0: 2^-127, subnormal */
        m->zeros[i] = kfi_half_from_float(kfi_rng_uniform(&rng) - 0.5f); /* or two integer zeros */
    }
    m->packed = (kfi_packed){.format = {.element = KF_ELEMENT_INT,
                                        .bits = bits,
                                        .scale = (uint8_t)scale,
                                        .zero = (uint8_t)(bits % 3),
                                        .group = 64},
                             .rows = rows,
                             .cols = cols,
                             .group = 64,
                             .n_panels = panels,
                             .n_chunks = padded / KFI_CHUNK_COLS,
                             .n_groups = groups,
                             .codes = m->codes,
                             .scales = m->scales,
                             .zeros = m->zeros};
    m->packed.zero = kfi_format_zero(m->packed.format);
}

/* The same codes with scales of two levels: multipliers of both signs, some of them 0. */
static void make_two_level(small_matrix *m)
{
    const unsigned q_max = (1u << m->packed.format.bits) - 1u;
    const unsigned most = 255u / q_max;
    int8_t *const multipliers = (int8_t *)m->scales;
    uint8_t *const zeros = (uint8_t *)m->zeros;
    kfi_rng rng;
    kfi_rng_init(&rng, q_max);
    for (size_t i = 0; i < panels * groups * 16; i++) {
        multipliers[i] = (int8_t)((int)kfi_rng_below(&rng, 2 * most + 1) - (int)most);
        zeros[i] = (uint8_t)kfi_rng_below(&rng, q_max + 1);
    }
    for (size_t i = 0; i < panels * 16; i++) {
        m->row_scales[i] = 0x1p-16f * (float)kfi_rng_below(&rng, 0x10000);
    }
    m->packed.format.scale = KF_SCALE_TWO_LEVEL;
    m->packed.format.zero = m->packed.format.bits % 2 == 0 ? KF_ZERO_INTEGER : KF_ZERO_NONE;
    m->packed.row_scales = m->row_scales;
}

/* One panel of 4 bits over the same bytes and scales. */
static void make_wide(small_matrix *m, size_t group)
{
    _Static_assert(wide * 16 / 2 <= sizeof m->codes, "as many codes are random");
    m->packed.rows = 16;
    m->packed.cols = wide;
    m->packed.group = group;
    m->packed.n_panels = 1;
    m->packed.n_groups = (wide + group - 1) / group;
    m->packed.n_chunks = wide / KFI_CHUNK_COLS;
    assert(m->packed.n_groups <= panels * groups);
}

/* The same codes, of 2 to 4 bits, through a table. */
static void make_codebook(small_matrix *m)
{
    kfi_rng rng;
    kfi_rng_init(&rng, 32);
    for (size_t i = 0; i < KFI_TABLE_ENTRIES; i++) {
        m->table[i] = (int8_t)((int)kfi_rng_below(&rng, 256) - 128);
    }
    m->packed.format.element = KF_ELEMENT_CODEBOOK;
    m->packed.format.zero = KF_ZERO_NONE;
    m->packed.zero = kfi_format_zero(m->packed.format);
    m->packed.table = m->table;
}

/* Its codes of 6 bits as floats. */
static void make_e3m2(small_matrix *m)
{
    m->packed.format.element = KF_ELEMENT_E3M2;
    m->packed.format.zero = KF_ZERO_NONE;
    m->packed.zero = kfi_format_zero(m->packed.format);
}

/* The results of n tokens, which plain C gives once, by the paths of one token, a few, and n. */
static bool matmul_int8_agrees(kfi_matmul_int8_fn *kernel, const small_matrix *m, size_t n,
                               size_t group)
{
    const kfi_packed *w = &m->packed;
    const size_t n_cols = w->cols;
    const size_t n_chunks = w->n_chunks;
    const size_t n_cols_padded = n_chunks * KFI_CHUNK_COLS;
    const size_t n_groups = group < n_cols_padded ? groups : 1;
    const size_t counts[] = {1, few, n};
    alignas(64) int8_t codes[16 * wide];
    float scales[many * groups];
    int32_t sums[16 * wide / KFI_CHUNK_COLS];
    float x[16 * wide];
    float expected[many * rows];
    float actual[many * rows];
    alignas(64) uint8_t scratch[2 * 16 * wide * sizeof(float) + KFI_MATMUL_SUM_BYTES];
    fill(x, n * n_cols, 1);
    const kfi_quantizer how = {KFI_QUANTIZE_SYMMETRIC, group, 127, 1.0f};
    for (size_t t = 0; t < n; t++) {
        kfi_quantize_generic(codes + t * n_cols_padded, scales + t * n_groups, sums + t * n_chunks,
                             x + t * n_cols, n_cols, &how);
    }
    const kfi_activations all = {.n_tokens = n,
                                 .cols = n_cols,
                                 .cols_padded = n_cols_padded,
                                 .group = group,
                                 .n_groups = n_groups,
                                 .codes = codes,
                                 .scales = scales,
                                 .sums = sums};
    kfi_matmul_int8_generic(expected, w->rows, w, 0, w->n_panels, &all, scratch);
    for (size_t i = 0; i < 3; i++) {
        const kfi_activations some = kfi_activations_from(&all, 0, counts[i]);
        kernel(actual, w->rows, w, 0, w->n_panels, &some, scratch);
        if (!same(expected, actual, counts[i] * w->rows)) {
            return false;
        }
    }
    return true;
}

bool kfi_selfcheck_matmul_int8(kfi_matmul_int8_fn *kernel)
{
    for (uint8_t bits = 2; bits <= 8; bits++) {
        const size_t n = bits >= 3 && bits <= 5 ? many : more; /* every kind of zeros */
        small_matrix m;
        small_matrix_fill(&m, bits);
        if (!matmul_int8_agrees(kernel, &m, n, 64)) {
            return false;
        }
        make_two_level(&m);
        if (!matmul_int8_agrees(kernel, &m, n, 64) || !matmul_int8_agrees(kernel, &m, n, padded)) {
            return false;
        }
    }
    for (uint8_t bits = 2; bits <= 4; bits++) {
        small_matrix m;
        small_matrix_fill(&m, bits);
        make_codebook(&m);
        if (!matmul_int8_agrees(kernel, &m, more, 64)) {
            return false;
        }
    }
    small_matrix m;
    small_matrix_fill(&m, KFI_E3M2_BITS);
    make_e3m2(&m);
    if (!matmul_int8_agrees(kernel, &m, more, 64)) {
        return false;
    }
    small_matrix_fill(&m, 4);
    make_wide(&m, wide);
    if (!matmul_int8_agrees(kernel, &m, 16, wide)) {
        return false;
    }
    make_two_level(&m);
    make_wide(&m, 128);
    return matmul_int8_agrees(kernel, &m, 16, wide);
}

static bool matmul_float_agrees(kfi_matmul_float_fn *kernel, const small_matrix *m)
{
    float x[few * cols];
    float expected[few * rows];
    float actual[few * rows];
    alignas(64) uint8_t scratch[2 * 16 * padded * sizeof(float) + KFI_MATMUL_SUM_BYTES];
    fill(x, few * cols, 2);
    const kfi_float_activations activations = {few, x, cols};
    kfi_matmul_float_generic(expected, rows, &m->packed, 0, panels, &activations, scratch);
    kernel(actual, rows, &m->packed, 0, panels, &activations, scratch);
    return same(expected, actual, few * rows);
}

bool kfi_selfcheck_matmul_float(kfi_matmul_float_fn *kernel)
{
    for (uint8_t bits = 2; bits <= 8; bits++) {
        small_matrix m;
        small_matrix_fill(&m, bits);
        if (!matmul_float_agrees(kernel, &m)) {
            return false;
        }
        make_two_level(&m);
        if (!matmul_float_agrees(kernel, &m)) {
            return false;
        }
    }
    for (uint8_t bits = 2; bits <= 4; bits++) {
        small_matrix m;
        small_matrix_fill(&m, bits);
        make_codebook(&m);
        if (!matmul_float_agrees(kernel, &m)) {
            return false;
        }
    }
    small_matrix m;
    small_matrix_fill(&m, KFI_E3M2_BITS);
    make_e3m2(&m);
    return matmul_float_agrees(kernel, &m);
}

/* A row without weights, one with more than a vector kernel reads ahead, and others with a few. */
bool kfi_selfcheck_matmul_sparse(kfi_matmul_sparse_fn *kernel)
{
    enum {
        n_tokens = 18, /* a whole panel and a part of one */
        most = cols + rows * 6
    };
    uint32_t starts[rows + 1] = {0};
    uint16_t columns[most];
    uint16_t values[most];
    float x[2 * KFI_TOKEN_PANEL * cols];
    float expected[n_tokens * rows];
    float actual[n_tokens * rows];
    for (size_t r = 0, n = 0; r < rows; r++) {
        const size_t step = r == 20 ? 1 : 12 + r;
        for (size_t c = r % 7; r != 3 && c < cols; c += step) {
            columns[n] = (uint16_t)c;
            values[n] = (uint16_t)(0x2C00u + 37u * n); /* 2^-4 and more */
            n++;
        }
        starts[r + 1] = (uint32_t)n;
    }
    const kfi_sparse w = {rows, cols, starts, columns, values};
    fill(x, sizeof x / sizeof x[0], 26);
    for (size_t n = 1; n <= n_tokens; n += n_tokens - 1) {
        const kfi_token_panels tokens = {n, cols, x};
        fill(expected, n * rows, 27);
        memcpy(actual, expected, n * rows * sizeof *actual);
        kfi_matmul_sparse_generic(expected, rows, &w, 0, rows, &tokens);
        kernel(actual, rows, &w, 0, rows, &tokens);
        if (!same(expected, actual, n * rows)) {
            return false;
        }
    }
    return true;
}

/* Random operands for two panels, the last of them short, and two blocks of depth. */
static bool gemm_agrees(kfi_gemm_fn *kernel, kfi_gemm_kind kind, size_t m)
{
    enum {
        most_m = 28,
        n = 35,
        k = KFI_GEMM_DEPTH + 21
    };
    float a[most_m * k];
    float b[n * k];
    float expected[most_m * n];
    float actual[most_m * n];
    fill(a, m * k, 18);
    fill(b, n * k, 19);
    fill(expected, m * n, 20);
    memcpy(actual, expected, m * n * sizeof *actual);
    kfi_gemm g = {.kind = kind, .add = m > 1, .m = m, .n = n, .k = k};
    g.a = a;
    g.ld_a = kind == KFI_GEMM_TN ? m : k;
    g.b = b;
    g.ld_b = kind == KFI_GEMM_NT ? k : n;
    g.c = expected;
    g.ld_c = n;
    kfi_gemm_generic(&g);
    g.c = actual;
    kernel(&g);
    return same(expected, actual, m * n);
}

/* 28 rows are tiles of the height that is used most, 14 or 6. */
bool kfi_selfcheck_gemm(kfi_gemm_fn *kernel)
{
    return gemm_agrees(kernel, KFI_GEMM_NT, 28) && gemm_agrees(kernel, KFI_GEMM_NT, 1) &&
           gemm_agrees(kernel, KFI_GEMM_NN, 2) && gemm_agrees(kernel, KFI_GEMM_TN, 3);
}
