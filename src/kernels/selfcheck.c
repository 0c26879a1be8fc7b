/* selfcheck.c - a vector kernel proves itself before its first use.
 *
 * Compilers and machines have been wrong before: the case is small, but passes through full tiles,
 * their tails and padding, and compares bits.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/selfcheck_inline.h"

#include <stdalign.h>

#include "kernels/attention_inline.h"
#include "kernels/attention_packed_inline.h"

static bool quantize_agrees(kfi_quantize_fn *kernel, const kfi_quantizer *how)
{
    int8_t codes[2][padded];
    float scales[2][groups];
    int32_t sums[2][padded / KFI_CHUNK_COLS];
    float x[cols];
    fill(x, cols, 3);
    kfi_quantize_generic(codes[0], scales[0], sums[0], x, cols, how);
    kernel(codes[1], scales[1], sums[1], x, cols, how);
    return memcmp(codes[0], codes[1], sizeof codes[0]) == 0 && same(scales[0], scales[1], groups) &&
           memcmp(sums[0], sums[1], sizeof sums[0]) == 0;
}

bool kfi_selfcheck_quantize(kfi_quantize_fn *kernel)
{
    static const kfi_quantizer ways[] = {{KFI_QUANTIZE_SYMMETRIC, 64, 127, 1.0f},
                                         {KFI_QUANTIZE_SYMMETRIC, 64, 7, 0.9f},
                                         {KFI_QUANTIZE_ASYMMETRIC, 64, 15, 0.9f},
                                         {KFI_QUANTIZE_POWER_OF_TWO, 64, 127, 1.0f}};
    bool agrees = true;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0] && agrees; i++) {
        agrees = quantize_agrees(kernel, &ways[i]);
    }
    return agrees;
}

bool kfi_selfcheck_round_fp8(kfi_round_fp8_fn *kernel)
{
    float x[cols];
    float expected[cols];
    float actual[cols];
    fill(x, cols, 25);
    x[3] *= 0x1p-8f; /* below the least normal float */
    kfi_round_fp8_generic(expected, x, cols, 64);
    kernel(actual, x, cols, 64);
    return same(expected, actual, cols);
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

/* Twelve blocks, a tile of eight sums and one of four: of a quarter of a register, and of one. The
 * matrix is any of signs. */
bool kfi_selfcheck_rotate(kfi_rotate_fn *kernel)
{
    enum {
        m = 12,
        n_most = m * 16
    };
    float matrix[m * m];
    int8_t signs[n_most];
    float expected[n_most] = {0};
    float actual[n_most];
    kfi_rotation rotation = {.m = m, .matrix = matrix, .signs = signs, .undoing = signs};
    for (size_t i = 0; i < sizeof matrix / sizeof matrix[0]; i++) {
        matrix[i] = i * i % 7 < 4 ? 1.0f : -1.0f;
    }
    for (size_t i = 0; i < sizeof signs; i++) {
        signs[i] = i * i % 5 < 3 ? 1 : -1;
    }
    for (rotation.block = 4; rotation.block <= 16; rotation.block *= 4) {
        fill(expected, m * rotation.block, 23);
        memcpy(actual, expected, sizeof actual);
        kfi_rotate_generic(expected, &rotation);
        kernel(actual, &rotation);
        if (!same(expected, actual, m * rotation.block)) {
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
    packed_keys = 288, /* whole blocks, of which the last is not full */
    n_chunk_floats = (packed_keys / KFI_ATTENTION_CHUNK + 1) * packed_dim
};

static bool attention_packed_agrees(kfi_attention_packed_fn *kernel, kfi_packed_kv kv)
{
    float q[packed_tokens * packed_heads * packed_dim];
    float expected[packed_tokens * packed_heads * packed_dim];
    float actual[packed_tokens * packed_heads * packed_dim];
    float weights[packed_tokens * packed_heads * packed_dim];
    float turns[n_chunk_floats + KFI_ATTENTION_CHUNK * packed_dim];
    alignas(64) unsigned char
        scratch[KFI_PACKED_ROWS * sizeof(kfi_packed_row) + KFI_ATTENTION_CHUNK * packed_cols];
    fill(q, packed_tokens * packed_heads * packed_dim, 24);
    fill(weights, packed_tokens * packed_heads * packed_dim, 25);
    fill(turns, sizeof turns / sizeof *turns, 26);
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
                               .common = {weights, turns, turns + n_chunk_floats},
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
    /* Those that are multiplied as they lie, all planes, and a table. */
    static const unsigned all_bits[] = {8, 4, 7, 3};
    for (unsigned i = 0; i < 4; i++) {
        const unsigned bits = all_bits[i];
        const int8_t *table = bits == 3 ? kfi_kv_levels(bits) : NULL;
        const kfi_packed_kv kv = {
            .keys = {.bits = bits, .table = table, .codes = keys, .scales = key_scales},
            .values = {.bits = bits, .table = table, .codes = values, .scales = value_scales},
            .cols = packed_cols};
        float rows_of_kv[2 * packed_dim];
        for (size_t t = 0; t < packed_keys; t++) {
            fill(rows_of_kv, 2 * packed_dim, 1000 + t);
            kfi_packed_kv_store(&kv, t, rows_of_kv, rows_of_kv + packed_dim, packed_dim);
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
    for (int i = 0; i < 4; i++) {
        args.exponent = i == 0 ? 2.0f : 2.4f;
        args.table = i == 2 ? table : NULL;
        args.is_e3m2 = i == 3;
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
