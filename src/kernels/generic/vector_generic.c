/* vector_generic.c - the loops over one vector, in plain C: their definition.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/half.h"
#include "base/round.h"
#include "kernels/exp.h"
#include "kernels/hadamard_inline.h"
#include "kernels/kernels_list.h"
#include "kernels/lanes_inline.h"
#include "kernels/power.h"
#include "kernels/quantize_inline.h"

/* ---- quantize ---- */

static kfi_extent extent_of(const float *x, size_t n)
{
    kfi_extent extent = {0.0f, 0.0f};
    for (size_t i = 0; i < n; i++) {
        extent.below = -x[i] > extent.below ? -x[i] : extent.below;
        extent.above = x[i] > extent.above ? x[i] : extent.above;
    }
    return extent;
}

static int8_t code_of(float x, const kfi_code_grid *grid)
{
    const float scaled = x * grid->inverse;
    const float raised = scaled > grid->least ? scaled : grid->least;
    const float cut = raised < grid->greatest ? raised : grid->greatest;
    /* Through the bits of the sum: no undefined conversion, whatever the input. */
    return (int8_t)(uint8_t)kfi_float_bits(cut + KFI_ROUND_MAGIC);
}

static void sum_chunks(int32_t *sums, const int8_t *codes, size_t n_chunks)
{
    for (size_t c = 0; c < n_chunks; c++) {
        sums[c] = 0;
        for (size_t i = 0; i < KFI_CHUNK_COLS; i++) {
            sums[c] += codes[c * KFI_CHUNK_COLS + i];
        }
    }
}

void kfi_quantize_generic(int8_t *codes, float *scales, int32_t *sums, const float *x, size_t cols,
                          const kfi_quantizer *how)
{
    const size_t group = how->group;
    const size_t cols_padded = (cols + KFI_CHUNK_COLS - 1) / KFI_CHUNK_COLS * KFI_CHUNK_COLS;
    for (size_t begin = 0; begin < cols; begin += group) {
        const size_t n = cols - begin < group ? cols - begin : group;
        const kfi_code_grid grid = kfi_code_grid_of(extent_of(x + begin, n), how);
        scales[begin / group] = grid.scale;
        for (size_t i = begin; i < begin + n; i++) {
            codes[i] = code_of(x[i], &grid);
        }
    }
    for (size_t i = cols; i < cols_padded; i++) {
        codes[i] = 0;
    }
    sum_chunks(sums, codes, cols_padded / KFI_CHUNK_COLS);
}

static float round_fp8(float x, const kfi_code_grid *grid)
{
    const float scaled = x * grid->inverse;
    const float raised = scaled > grid->least ? scaled : grid->least;
    const float cut = raised < grid->greatest ? raised : grid->greatest;
    return kfi_round_fraction(cut, KFI_FP8_LEAST_NORMAL, KFI_FP8_MAGIC) * grid->scale;
}

void kfi_round_fp8_generic(float *dst, const float *x, size_t cols, size_t group)
{
    for (size_t begin = 0; begin < cols; begin += group) {
        const size_t n = cols - begin < group ? cols - begin : group;
        const kfi_code_grid grid = kfi_fp8_grid_of(extent_of(x + begin, n));
        for (size_t i = begin; i < begin + n; i++) {
            dst[i] = round_fp8(x[i], &grid);
        }
    }
}

/* ---- norm, activation, sum, rotations ---- */

void kfi_rms_norm_generic(float *dst, const float *src, const float *weight, size_t n,
                          float epsilon)
{
    float lanes[KFI_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        lanes[i % KFI_LANES] = fmaf(src[i], src[i], lanes[i % KFI_LANES]);
    }
    const float mean = kfi_lanes_sum(lanes) / (float)n;
    const float inverse = 1.0f / sqrtf(mean + epsilon);
    for (size_t i = 0; i < n; i++) {
        dst[i] = src[i] * inverse * weight[i];
    }
}

void kfi_silu_mul_generic(float *dst, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float g = gate[i];
        dst[i] = g / (1.0f + kfi_expf(-g)) * up[i];
    }
}

void kfi_add_generic(float *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] += src[i];
    }
}

void kfi_rope_generic(float *x, size_t n_heads, size_t head_dim, const float *cosine,
                      const float *sine)
{
    const size_t half = head_dim / 2;
    for (size_t h = 0; h < n_heads; h++, x += head_dim) {
        for (size_t i = 0; i < half; i++) {
            const float a = x[i];
            const float b = x[i + half];
            x[i] = fmaf(a, cosine[i], -(b * sine[i]));
            x[i + half] = fmaf(b, cosine[i], a * sine[i]);
        }
    }
}

void kfi_hadamard_generic(float *x, size_t n_heads, size_t head_dim)
{
    const size_t block = kfi_hadamard_block(head_dim);
    for (size_t i = 0; i < n_heads * head_dim; i += block) {
        kfi_hadamard_transform(x + i, block);
    }
}

/* ---- log-sum-exp ---- */

double kfi_log_sum_exp_generic(const float *x, size_t n, size_t *arg_max)
{
    double lanes[KFI_LANES] = {0};
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    const float max = x[best];
    for (size_t i = 0; i < n; i++) {
        lanes[i % KFI_LANES] += (double)kfi_expf(x[i] - max);
    }
    *arg_max = best;
    return (double)max + log(kfi_lanes_sum_double(lanes));
}

/* ---- error of a grid ---- */

static float on_grid(const kfi_grid_error_args *a, float inverse, float w)
{
    float q = (w - a->offset) * inverse;
    q = q > KFI_STEPS_MOST ? KFI_STEPS_MOST : q;
    q = q < -KFI_STEPS_MOST ? -KFI_STEPS_MOST : q;
    q = kfi_round_half_even(q) + (float)a->zero;
    q = q < 0.0f ? 0.0f : q;
    q = q > (float)a->q_max ? (float)a->q_max : q;
    return a->scale * (q - (float)a->zero) + a->offset;
}

/* A weight at or above the middle of two entries takes the upper one. */
static float on_table(const kfi_grid_error_args *a, float inverse, float w)
{
    const float v = w * inverse;
    float level = (float)a->table[0];
    for (int32_t i = 1; i <= a->q_max; i++) {
        const float middle = 0.5f * (float)(a->table[i - 1] + a->table[i]);
        level += v < middle ? 0.0f : (float)(a->table[i] - a->table[i - 1]);
    }
    return a->scale * level;
}

static float on_e3m2(const kfi_grid_error_args *a, float inverse, float w)
{
    return a->scale * kfi_e3m2_round(w * inverse);
}

static float nearest(const kfi_grid_error_args *a, float inverse, float w)
{
    return (a->is_e3m2 ? on_e3m2 : a->table != NULL ? on_table : on_grid)(a, inverse, w);
}

float kfi_grid_error_generic(const kfi_grid_error_args *a)
{
    float lanes[KFI_LANES] = {0};
    const float inverse = a->scale == 0.0f ? 0.0f : 1.0f / a->scale; /* 0: all on the offset */
    for (size_t i = 0; i < a->n; i++) {
        const float w = a->weights[i];
        const float e = w - nearest(a, inverse, w);
        const float importance = a->importance != NULL ? a->importance[i] : 1.0f;
        float *const lane = &lanes[i % KFI_LANES];
        *lane = fmaf(importance, kfi_error_power(e * e, a->exponent), *lane);
    }
    return kfi_lanes_sum(lanes);
}

uint32_t kfi_sum_lines_generic(const void *src, size_t n_lines)
{
    const uint8_t *p = src;
    uint32_t sum = 0;
    for (size_t i = 0; i < n_lines * KFI_LINE_BYTES; i += sizeof sum) {
        uint32_t word = 0;
        memcpy(&word, p + i, sizeof word);
        sum += word;
    }
    return sum;
}
