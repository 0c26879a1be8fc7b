/* selfcheck.c - a vector kernel proves itself before its first use.
 *
 * Compilers and machines have been wrong before: the case is small, but passes through full tiles,
 * their tails and padding, and compares bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/selfcheck.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "base/half.h"
#include "base/rng.h"
#include "kernels/attention_inline.h"
#include "kernels/attention_packed_inline.h"

enum {
    rows = 35, /* three panels, the last with three rows */
    cols = 72, /* two groups of 64, the last one short */
    padded = 96,
    panels = 3,
    groups = 2,
    tokens = 8, /* a tile of few tokens; of floats one of 6 and its tail */
    many = 35,  /* two tiles of 16 and a tail, or five of 6 and one */
    wide = 544, /* more columns than any kernel unpacks at once */
};

static void fill(float *x, size_t n, uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        x[i] = 2.0f * kfi_rng_uniform(&rng) - 1.0f;
    }
}

static bool same(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

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

static bool matmul_int8_agrees(kfi_matmul_int8_fn *kernel, const small_matrix *m, size_t n_tokens,
                               size_t group)
{
    const kfi_packed *w = &m->packed;
    const size_t n_cols = w->cols;
    const size_t n_chunks = w->n_chunks;
    const size_t n_cols_padded = n_chunks * KFI_CHUNK_COLS;
    const size_t n_groups = group < n_cols_padded ? groups : 1;
    alignas(64) int8_t codes[16 * wide];
    float scales[many * groups];
    int32_t sums[16 * wide / KFI_CHUNK_COLS];
    float x[16 * wide];
    float expected[many * rows];
    float actual[many * rows];
    alignas(64) uint8_t scratch[2 * 16 * wide * sizeof(float) + KFI_MATMUL_SUM_BYTES];
    fill(x, n_tokens * n_cols, 1);
    for (size_t t = 0; t < n_tokens; t++) {
        kfi_quantize_generic(codes + t * n_cols_padded, scales + t * n_groups, sums + t * n_chunks,
                             x + t * n_cols, n_cols, group, 127);
    }
    const kfi_activations activations = {.n_tokens = n_tokens,
                                         .cols = n_cols,
                                         .cols_padded = n_cols_padded,
                                         .group = group,
                                         .n_groups = n_groups,
                                         .codes = codes,
                                         .scales = scales,
                                         .sums = sums};
    kfi_matmul_int8_generic(expected, w->rows, w, 0, w->n_panels, &activations, scratch);
    kernel(actual, w->rows, w, 0, w->n_panels, &activations, scratch);
    return same(expected, actual, n_tokens * w->rows);
}

/* One token, a few, and more. */
static bool agrees_for_all_counts(kfi_matmul_int8_fn *kernel, const small_matrix *m, size_t group)
{
    return matmul_int8_agrees(kernel, m, 1, group) &&
           matmul_int8_agrees(kernel, m, tokens, group) &&
           matmul_int8_agrees(kernel, m, many, group);
}

bool kfi_selfcheck_matmul_int8(kfi_matmul_int8_fn *kernel)
{
    for (uint8_t bits = 2; bits <= 8; bits++) {
        small_matrix m;
        small_matrix_fill(&m, bits);
        if (!agrees_for_all_counts(kernel, &m, 64)) {
            return false;
        }
        make_two_level(&m);
        if (!agrees_for_all_counts(kernel, &m, 64) || !agrees_for_all_counts(kernel, &m, padded)) {
            return false;
        }
    }
    for (uint8_t bits = 2; bits <= 4; bits++) {
        small_matrix m;
        small_matrix_fill(&m, bits);
        make_codebook(&m);
        if (!agrees_for_all_counts(kernel, &m, 64)) {
            return false;
        }
    }
    small_matrix m;
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
    float x[tokens * cols];
    float expected[tokens * rows];
    float actual[tokens * rows];
    alignas(64) uint8_t scratch[2 * 16 * padded * sizeof(float) + KFI_MATMUL_SUM_BYTES];
    fill(x, tokens * cols, 2);
    const kfi_float_activations activations = {tokens, x, cols};
    kfi_matmul_float_generic(expected, rows, &m->packed, 0, panels, &activations, scratch);
    kernel(actual, rows, &m->packed, 0, panels, &activations, scratch);
    return same(expected, actual, tokens * rows);
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

static bool quantize_agrees(kfi_quantize_fn *kernel, int32_t most)
{
    int8_t codes[2][padded];
    float scales[2][groups];
    int32_t sums[2][padded / KFI_CHUNK_COLS];
    float x[cols];
    fill(x, cols, 3);
    kfi_quantize_generic(codes[0], scales[0], sums[0], x, cols, 64, most);
    kernel(codes[1], scales[1], sums[1], x, cols, 64, most);
    return memcmp(codes[0], codes[1], sizeof codes[0]) == 0 && same(scales[0], scales[1], groups) &&
           memcmp(sums[0], sums[1], sizeof sums[0]) == 0;
}

bool kfi_selfcheck_quantize(kfi_quantize_fn *kernel)
{
    return quantize_agrees(kernel, 127) && quantize_agrees(kernel, 7);
}

bool kfi_selfcheck_rms_norm(kfi_rms_norm_fn *kernel)
{
    float x[cols];
    float weight[cols];
    float expected[cols];
    float actual[cols];
    fill(x, cols, 4);
    fill(weight, cols, 5);
    kfi_rms_norm_generic(expected, x, weight, cols, 1e-5f);
    kernel(actual, x, weight, cols, 1e-5f);
    return same(expected, actual, cols);
}

bool kfi_selfcheck_silu_mul(kfi_silu_mul_fn *kernel)
{
    float gate[cols];
    float up[cols];
    float expected[cols];
    float actual[cols];
    fill(gate, cols, 6);
    fill(up, cols, 7);
    gate[0] = -200.0f; /* e^200 is infinite */
    gate[1] = 50.0f;
    kfi_silu_mul_generic(expected, gate, up, cols);
    kernel(actual, gate, up, cols);
    return same(expected, actual, cols);
}

bool kfi_selfcheck_add(kfi_add_fn *kernel)
{
    float expected[cols];
    float actual[cols];
    float x[cols];
    fill(expected, cols, 8);
    fill(x, cols, 9);
    memcpy(actual, expected, sizeof actual);
    kfi_add_generic(expected, x, cols);
    kernel(actual, x, cols);
    return same(expected, actual, cols);
}

bool kfi_selfcheck_rope(kfi_rope_fn *kernel)
{
    enum {
        head_dim = cols / 2
    };
    float expected[cols];
    float actual[cols];
    float angles[head_dim];
    fill(expected, cols, 10);
    fill(angles, head_dim, 11);
    memcpy(actual, expected, sizeof actual);
    kfi_rope_generic(expected, 2, head_dim, angles, angles + head_dim / 2);
    kernel(actual, 2, head_dim, angles, angles + head_dim / 2);
    return same(expected, actual, cols);
}

/* Blocks of two registers, of one and of a quarter. */
bool kfi_selfcheck_hadamard(kfi_hadamard_fn *kernel)
{
    static const size_t head_dims[] = {32, 48, 36};
    for (size_t i = 0; i < sizeof head_dims / sizeof head_dims[0]; i++) {
        float expected[2 * 48];
        float actual[2 * 48];
        fill(expected, 2 * head_dims[i], 22);
        memcpy(actual, expected, 2 * head_dims[i] * sizeof *actual);
        kfi_hadamard_generic(expected, 2, head_dims[i]);
        kernel(actual, 2, head_dims[i]);
        if (!same(expected, actual, 2 * head_dims[i])) {
            return false;
        }
    }
    return true;
}

bool kfi_selfcheck_log_sum_exp(kfi_log_sum_exp_fn *kernel)
{
    float x[cols];
    size_t arg_max[2] = {0, 0};
    fill(x, cols, 12);
    const double expected = kfi_log_sum_exp_generic(x, cols, &arg_max[0]);
    const double actual = kernel(x, cols, &arg_max[1]);
    return memcmp(&expected, &actual, sizeof actual) == 0 && arg_max[0] == arg_max[1];
}

bool kfi_selfcheck_attention(kfi_attention_fn *kernel)
{
    enum {
        head_dim = 24,
        heads = 3,
        first = 270,
        n = 2,
        keys = 272
    };
    float q[n * heads * head_dim];
    float expected[n * heads * head_dim];
    float actual[n * heads * head_dim];
    alignas(64) float key_cache[keys * head_dim];
    alignas(64) float value_cache[keys * head_dim];
    struct {
        alignas(64) kfi_attention_scores scores;
        alignas(64) float results[KFI_ATTENTION_ROWS * 32];
    } scratch;
    fill(q, n * heads * head_dim, 13);
    fill(key_cache, keys * head_dim, 14);
    fill(value_cache, keys * head_dim, 15);
    kfi_attention_args args = {.dst = expected,
                               .ld_dst = heads * head_dim,
                               .q = q,
                               .ld_q = heads * head_dim,
                               .n_tokens = n,
                               .n_heads = heads,
                               .head_dim = head_dim,
                               .first = first,
                               .n_keys = keys,
                               .keys = key_cache,
                               .values = value_cache,
                               .scale = 2.0f,
                               .scratch = &scratch};
    kfi_attention_generic(&args);
    args.dst = actual;
    kernel(&args);
    return same(expected, actual, n * heads * head_dim);
}

enum {
    packed_dim = 24,
    packed_cols = 32,
    packed_heads = 3,
    packed_tokens = 3, /* nine rows: a block of eight and one alone */
    packed_first = 268,
    packed_keys = 272
};

static bool attention_packed_agrees(kfi_attention_packed_fn *kernel, kfi_packed_kv kv)
{
    float q[packed_tokens * packed_heads * packed_dim];
    float expected[packed_tokens * packed_heads * packed_dim];
    float actual[packed_tokens * packed_heads * packed_dim];
    kfi_packed_row scratch[KFI_PACKED_ROWS];
    fill(q, packed_tokens * packed_heads * packed_dim, 24);
    kfi_attention_args args = {.dst = expected,
                               .ld_dst = packed_heads * packed_dim,
                               .q = q,
                               .ld_q = packed_heads * packed_dim,
                               .n_tokens = packed_tokens,
                               .n_heads = packed_heads,
                               .head_dim = packed_dim,
                               .first = packed_first,
                               .n_keys = packed_keys,
                               .kv = kv,
                               .scale = 2.0f,
                               .scratch = scratch};
    kfi_attention_packed_generic(&args);
    args.dst = actual;
    kernel(&args);
    return same(expected, actual, packed_tokens * packed_heads * packed_dim);
}

bool kfi_selfcheck_attention_packed(kfi_attention_packed_fn *kernel)
{
    alignas(64) uint8_t keys[packed_keys * packed_cols];
    alignas(64) uint8_t values[packed_keys * packed_cols];
    uint16_t key_scales[packed_keys];
    uint16_t value_scales[packed_keys];
    for (unsigned bits = 4; bits <= 8; bits += 4) {
        const kfi_packed_kv kv = {.key_bits = bits,
                                  .value_bits = bits,
                                  .cols = packed_cols,
                                  .keys = keys,
                                  .values = values,
                                  .key_scales = key_scales,
                                  .value_scales = value_scales};
        float rows_of_kv[2 * packed_dim];
        for (size_t i = 0; i < packed_keys; i++) {
            fill(rows_of_kv, 2 * packed_dim, 1000 + i);
            kfi_packed_kv_store(&kv, i, rows_of_kv, rows_of_kv + packed_dim, packed_dim);
        }
        if (!attention_packed_agrees(kernel, kv)) {
            return false;
        }
    }
    return true;
}

/* Three runs, of which the second has the greatest score. */
bool kfi_selfcheck_attention_merge(kfi_attention_merge_fn *kernel)
{
    enum {
        head_dim = 24,
        runs = 3
    };
    static const kfi_attention_state states[runs] = {{1.5f, 3.0f}, {2.0f, 1.25f}, {-1.0f, 40.0f}};
    float results[runs * head_dim];
    float expected[head_dim];
    float actual[head_dim];
    fill(results, runs * head_dim, 21);
    kfi_attention_merge_args args = {.dst = expected,
                                     .results = results,
                                     .ld = head_dim,
                                     .states = states,
                                     .n_states = 1,
                                     .n = runs,
                                     .head_dim = head_dim};
    kfi_attention_merge_generic(&args);
    args.dst = actual;
    kernel(&args);
    return same(expected, actual, head_dim);
}

bool kfi_selfcheck_grid_error(kfi_grid_error_fn *kernel)
{
    static const int8_t table[] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 10};
    float weights[cols];
    float importance[cols];
    fill(weights, cols, 16);
    fill(importance, cols, 17);
    kfi_grid_error_args args = {.weights = weights,
                                .importance = importance,
                                .n = cols,
                                .scale = -0.09f, /* the range does not reach all weights */
                                .offset = 0.01f,
                                .zero = 7,
                                .q_max = 15};
    for (int i = 0; i < 3; i++) {
        args.exponent = i == 0 ? 2.0f : 2.4f;
        args.table = i == 2 ? table : NULL;
        const float expected = kfi_grid_error_generic(&args);
        const float actual = kernel(&args);
        if (!same(&expected, &actual, 1)) {
            return false;
        }
    }
    return true;
}

bool kfi_selfcheck_sum_lines(kfi_sum_lines_fn *kernel)
{
    enum {
        n_lines = 7 /* whole steps and a rest */
    };
    alignas(64) float words[n_lines * KFI_LINE_BYTES / sizeof(float)];
    fill(words, sizeof words / sizeof words[0], 18);
    return kernel(words, n_lines) == kfi_sum_lines_generic(words, n_lines);
}
