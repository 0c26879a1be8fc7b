/* vector.h - the loops over one vector, 16 lanes at a time; the same steps as
 * generic/vector_generic.c.
 *
 * Included once by each vector_VARIANT.c, after their lanes and VARIANT.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/round.h"
#include "kernels/hadamard_inline.h"
#include "kernels/kernels_list.h"
#include "kernels/lanes/exp.h"
#include "kernels/lanes/names.h"
#include "kernels/lanes/power.h"
#include "kernels/lanes_inline.h"
#include "kernels/quantize_inline.h"

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- quantize ---- */

static kfi_extent extent_of(const float *x, size_t n)
{
    lanes below = lanes_zero();
    lanes above = lanes_zero();
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes values = lanes_load_n(x + i, n - i);
        below = lanes_max(lanes_negate(values), below);
        above = lanes_max(values, above);
    }
    return (kfi_extent){lanes_greatest(below), lanes_greatest(above)};
}

/* x in steps of the grid, cut to its ends. */
INLINE lanes cut_lanes(lanes x, const kfi_code_grid *grid)
{
    const lanes scaled = lanes_mul(x, lanes_set1(grid->inverse));
    return lanes_min(lanes_max(scaled, lanes_set1(grid->least)), lanes_set1(grid->greatest));
}

/* Codes of 16 floats, of which the first n exist; the others get 0. */
INLINE ilanes quantize_lanes(const float *x, size_t n, const kfi_code_grid *grid)
{
    const lanes cut = cut_lanes(lanes_load_n(x, n), grid);
    const ilanes bits = lanes_bits(lanes_add(cut, lanes_set1(KFI_ROUND_MAGIC)));
    return ilanes_shift_right_signed(ilanes_shift_left(bits, 24), 24); /* the low byte, signed */
}

void KERNEL_NAME(quantize)(int8_t *codes, float *scales, int32_t *sums, const float *x, size_t cols,
                           const kfi_quantizer *how)
{
    const size_t group = how->group;
    for (size_t begin = 0; begin < cols; begin += group) {
        const size_t end = least(begin + group, cols);
        const kfi_code_grid grid = kfi_code_grid_of(extent_of(x + begin, end - begin), how);
        scales[begin / group] = grid.scale;
        for (size_t i = begin; i < end; i += KFI_CHUNK_COLS) {
            const size_t n = end - i;
            const ilanes low = quantize_lanes(x + i, n, &grid);
            const ilanes high = n > KFI_LANES
                                    ? quantize_lanes(x + i + KFI_LANES, n - KFI_LANES, &grid)
                                    : ilanes_set1(0);
            ilanes_store_bytes(codes + i, low);
            ilanes_store_bytes(codes + i + KFI_LANES, high);
            sums[i / KFI_CHUNK_COLS] = ilanes_sum(ilanes_add(low, high));
        }
    }
}

/* kfi_round_fraction() of base/round.h. */
INLINE lanes round_fraction(lanes x, float least_normal, float magic)
{
    const ilanes exponent = ilanes_and(lanes_bits(x), ilanes_set1(KFI_EXPONENT_MASK));
    const ilanes most = ilanes_max(exponent, lanes_bits(lanes_set1(least_normal)));
    const lanes moved = lanes_mul(lanes_of_bits(most), lanes_set1(magic));
    return lanes_sub(lanes_add(x, moved), moved);
}

INLINE lanes round_fp8_lanes(lanes x, const kfi_code_grid *grid)
{
    const lanes rounded = round_fraction(cut_lanes(x, grid), KFI_FP8_LEAST_NORMAL, KFI_FP8_MAGIC);
    return lanes_mul(rounded, lanes_set1(grid->scale));
}

void KERNEL_NAME(round_fp8)(float *dst, const float *x, size_t cols, size_t group)
{
    for (size_t begin = 0; begin < cols; begin += group) {
        const size_t end = least(begin + group, cols);
        const kfi_code_grid grid = kfi_fp8_grid_of(extent_of(x + begin, end - begin));
        for (size_t i = begin; i < end; i += KFI_LANES) {
            const lanes values = lanes_load_n(x + i, end - i);
            lanes_store_n(dst + i, round_fp8_lanes(values, &grid), end - i);
        }
    }
}

/* ---- norm, activation, sum, rotation ---- */

void KERNEL_NAME(rms_norm)(float *dst, const float *src, const float *weight, size_t n,
                           float epsilon)
{
    lanes squares = lanes_zero();
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes x = lanes_load_n(src + i, n - i);
        squares = lanes_fma(x, x, squares); /* + 0 * 0 where there is no element */
    }
    const float mean = lanes_sum(squares) / (float)n;
    const lanes inverse = lanes_set1(1.0f / sqrtf(mean + epsilon));
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes x = lanes_mul(lanes_load_n(src + i, n - i), inverse);
        lanes_store_n(dst + i, lanes_mul(x, lanes_load_n(weight + i, n - i)), n - i);
    }
}

void KERNEL_NAME(silu_mul)(float *dst, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes g = lanes_load_n(gate + i, n - i);
        const lanes denominator = lanes_add(lanes_set1(1.0f), lanes_exp(lanes_negate(g)));
        const lanes silu = lanes_div(g, denominator);
        lanes_store_n(dst + i, lanes_mul(silu, lanes_load_n(up + i, n - i)), n - i);
    }
}

void KERNEL_NAME(add)(float *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes sum = lanes_add(lanes_load_n(dst + i, n - i), lanes_load_n(src + i, n - i));
        lanes_store_n(dst + i, sum, n - i);
    }
}

void KERNEL_NAME(rope)(float *x, size_t n_heads, size_t head_dim, const float *cosine,
                       const float *sine)
{
    const size_t half = head_dim / 2;
    for (size_t h = 0; h < n_heads; h++, x += head_dim) {
        for (size_t i = 0; i < half; i += KFI_LANES) {
            const size_t n = half - i;
            const lanes a = lanes_load_n(x + i, n);
            const lanes b = lanes_load_n(x + half + i, n);
            const lanes c = lanes_load_n(cosine + i, n);
            const lanes s = lanes_load_n(sine + i, n);
            lanes_store_n(x + i, lanes_fma(a, c, lanes_negate(lanes_mul(b, s))), n);
            lanes_store_n(x + half + i, lanes_fma(b, c, lanes_mul(a, s)), n);
        }
    }
}

/* The strides 1, 2, 4 and 8 within a register: what stands in the lower lane of a pair is added to
 * the upper one's, and the upper one is subtracted from it. */
INLINE lanes transform_lanes(lanes x)
{
    static const float signs[4][KFI_LANES] = {
        {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
        {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
        {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
        {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1},
    };
    x = lanes_fma(x, lanes_load(signs[0]), lanes_swap(x, 1));
    x = lanes_fma(x, lanes_load(signs[1]), lanes_swap(x, 2));
    x = lanes_fma(x, lanes_load(signs[2]), lanes_swap(x, 4));
    return lanes_fma(x, lanes_load(signs[3]), lanes_swap(x, 8));
}

/* A block of whole registers. */
static void transform_block(float *x, size_t block)
{
    const lanes scale = lanes_set1(kfi_hadamard_scale(block));
    for (size_t i = 0; i < block; i += KFI_LANES) {
        lanes_store(x + i, transform_lanes(lanes_load(x + i)));
    }
    for (size_t stride = KFI_LANES; stride < block; stride *= 2) {
        for (size_t i = 0; i < block; i += 2 * stride) {
            for (size_t j = i; j < i + stride; j += KFI_LANES) {
                const lanes a = lanes_load(x + j);
                const lanes b = lanes_load(x + j + stride);
                lanes_store(x + j, lanes_add(a, b));
                lanes_store(x + j + stride, lanes_sub(a, b));
            }
        }
    }
    for (size_t i = 0; i < block; i += KFI_LANES) {
        lanes_store(x + i, lanes_mul(lanes_load(x + i), scale));
    }
}

void KERNEL_NAME(hadamard)(float *x, size_t n_heads, size_t head_dim)
{
    const size_t block = kfi_hadamard_block(head_dim);
    for (size_t i = 0; i < n_heads * head_dim; i += block) {
        if (block < KFI_LANES) {
            kfi_hadamard_transform(x + i, block);
        } else {
            transform_block(x + i, block);
        }
    }
}

/* ---- log-sum-exp ---- */

/* Index of the first element that equals the greatest. */
static size_t find_max(const float *x, size_t n)
{
    lanes greatest = lanes_set1(-INFINITY);
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes some = lanes_load_n(x + i, n - i);
        greatest = lanes_max(lanes_first(some, greatest, n - i), greatest);
    }
    const lanes max = lanes_set1(lanes_greatest(greatest));
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const unsigned found = lanes_equal(lanes_load_n(x + i, n - i), max);
        const unsigned exists = n - i < KFI_LANES ? (1u << (n - i)) - 1u : 0xFFFFu;
        if ((found & exists) != 0) {
            return i + (size_t)__builtin_ctz(found & exists);
        }
    }
    return 0; /* nothing but NaN */
}

double KERNEL_NAME(log_sum_exp)(const float *x, size_t n, size_t *arg_max)
{
    double sums[KFI_LANES] = {0};
    *arg_max = find_max(x, n);
    const float max = x[*arg_max];
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes e = lanes_exp(lanes_sub(lanes_load_n(x + i, n - i), lanes_set1(max)));
        lanes_add_double(sums, lanes_first(e, lanes_zero(), n - i));
    }
    return (double)max + log(kfi_lanes_sum_double(sums));
}

/* ---- error of a grid ---- */

INLINE lanes on_grid(const kfi_grid_error_args *a, lanes inverse, lanes w)
{
    const lanes magic = lanes_set1(KFI_ROUND_MAGIC);
    const lanes zero = lanes_set1((float)a->zero);
    const lanes offset = lanes_set1(a->offset);
    lanes q = lanes_mul(lanes_sub(w, offset), inverse);
    q = lanes_min(lanes_set1(KFI_STEPS_MOST), q);
    q = lanes_max(lanes_set1(-KFI_STEPS_MOST), q);
    q = lanes_add(lanes_sub(lanes_add(q, magic), magic), zero);
    q = lanes_max(lanes_zero(), q);
    q = lanes_min(lanes_set1((float)a->q_max), q);
    return lanes_add(lanes_mul(lanes_set1(a->scale), lanes_sub(q, zero)), offset);
}

INLINE lanes on_table(const kfi_grid_error_args *a, lanes inverse, lanes w)
{
    const lanes v = lanes_mul(w, inverse);
    lanes level = lanes_set1((float)a->table[0]);
    for (int32_t i = 1; i <= a->q_max; i++) {
        const lanes middle = lanes_set1(0.5f * (float)(a->table[i - 1] + a->table[i]));
        const lanes step = lanes_set1((float)(a->table[i] - a->table[i - 1]));
        level = lanes_add(level, lanes_zero_where_less(step, v, middle));
    }
    return lanes_mul(lanes_set1(a->scale), level);
}

INLINE lanes on_e3m2(const kfi_grid_error_args *a, lanes inverse, lanes w)
{
    const lanes most = lanes_set1((float)KFI_E3M2_MOST);
    const lanes raised = lanes_max(lanes_mul(w, inverse), lanes_negate(most));
    const lanes level =
        round_fraction(lanes_min(raised, most), KFI_E3M2_LEAST_NORMAL, KFI_E3M2_MAGIC);
    return lanes_mul(lanes_set1(a->scale), level);
}

INLINE lanes nearest(const kfi_grid_error_args *a, lanes inverse, lanes w)
{
    return a->is_e3m2         ? on_e3m2(a, inverse, w)
           : a->table != NULL ? on_table(a, inverse, w)
                              : on_grid(a, inverse, w);
}

float KERNEL_NAME(grid_error)(const kfi_grid_error_args *a)
{
    const lanes inverse = lanes_set1(a->scale == 0.0f ? 0.0f : 1.0f / a->scale); /* exact */
    lanes sums = lanes_zero();
    for (size_t i = 0; i < a->n; i += KFI_LANES) {
        const size_t n = a->n - i;
        const lanes w = lanes_load_n(a->weights + i, n);
        const lanes e = lanes_sub(w, nearest(a, inverse, w));
        const lanes power = lanes_error_power(lanes_mul(e, e), a->exponent);
        const lanes importance =
            a->importance != NULL ? lanes_load_n(a->importance + i, n) : lanes_set1(1.0f);
        sums = lanes_first(lanes_fma(importance, power, sums), sums, n);
    }
    return lanes_sum(sums);
}

/* ---- reading ---- */

/* Four lines a step, each to a sum of its own: the loads alone are the bottleneck. */
uint32_t KERNEL_NAME(sum_lines)(const void *src, size_t n_lines)
{
    const uint8_t *p = src;
    ilanes sums[4] = {ilanes_set1(0), ilanes_set1(0), ilanes_set1(0), ilanes_set1(0)};
    size_t i = 0;
    for (; i + 4 <= n_lines; i += 4, p += 4 * KFI_LINE_BYTES) {
        UNROLL
        for (size_t j = 0; j < 4; j++) {
            sums[j] = ilanes_add(sums[j], ilanes_load(p + j * KFI_LINE_BYTES));
        }
    }
    for (; i < n_lines; i++, p += KFI_LINE_BYTES) {
        sums[0] = ilanes_add(sums[0], ilanes_load(p));
    }
    return (uint32_t)ilanes_sum(
        ilanes_add(ilanes_add(sums[0], sums[1]), ilanes_add(sums[2], sums[3])));
}
