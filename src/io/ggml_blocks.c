/* ggml_blocks.c - the block types of GGUF: a few fp16 scales, then packed integers.
 *
 * Source: the GGUF specification and the block drawings of ggml (github.com/ggml-org/ggml,
 * docs/gguf.md and ggml-common.h); decoders written from the layouts drawn below, checked bit for
 * bit against the `dequantize` of the PyPI package gguf. Products are taken in the same order as
 * there: first scale times sub-scale, then times the integer, last the minimum.
 *
 * "lo, hi" means: byte i holds element i in its low half and element i + half in its high half.
 *
 *   type  block  bytes
 *   Q4_0     32     18  d:fp16 qs[16] lo,hi                      w = d (q - 8)
 *   Q4_1     32     20  d m:fp16 qs[16] lo,hi                    w = d q + m
 *   Q5_0     32     22  d:fp16 qh:u32 qs[16] lo,hi               w = d (q - 16)
 *   Q5_1     32     24  d m:fp16 qh:u32 qs[16] lo,hi             w = d q + m
 *   Q8_0     32     34  d:fp16 q[32]:int8                        w = d q
 *   Q2_K    256     84  scales[16] qs[64] d dmin:fp16            16 groups of 16
 *   Q3_K    256    110  hmask[32] qs[64] scales[12] d:fp16       16 groups of 16
 *   Q4_K    256    144  d dmin:fp16 scales[12] qs[128]           8 groups of 32
 *   Q5_K    256    176  d dmin:fp16 scales[12] qh[32] qs[128]    8 groups of 32
 *   Q6_K    256    210  ql[128] qh[64] scales[16]:int8 d:fp16    16 groups of 16
 *
 * Bit i of the qh of Q5_0 and Q5_1 is bit 4 of element i.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/half.h"
#include "io/bytes.h"
#include "io/tensor.h"

static float load_half(const uint8_t *src)
{
    return kfi_half_to_float(kfi_load_u16(src));
}

/* Types whose blocks have one grid each. */
static const kfi_block_grid block_grids[KFI_DTYPE_COUNT] = {
    [KFI_DTYPE_Q4_0] = {.bits = 4, .zero = 8},   [KFI_DTYPE_Q4_1] = {.bits = 4, .has_offset = true},
    [KFI_DTYPE_Q5_0] = {.bits = 5, .zero = 16},  [KFI_DTYPE_Q5_1] = {.bits = 5, .has_offset = true},
    [KFI_DTYPE_Q8_0] = {.bits = 8, .zero = 128},
};

const kfi_block_grid *kfi_block_grid_get(kfi_dtype dtype)
{
    return block_grids[dtype].bits != 0 ? &block_grids[dtype] : NULL;
}

void kfi_block_read(uint8_t codes[KFI_GRID_BLOCK], float *scale, float *offset, kfi_dtype dtype,
                    const uint8_t *src)
{
    const kfi_block_grid *grid = &block_grids[dtype];
    uint32_t high = 0;
    *scale = load_half(src);
    *offset = grid->has_offset ? load_half(src + 2) : 0.0f;
    src += grid->has_offset ? 4 : 2;
    if (grid->bits == 8) { /* signed: the zero is in the middle */
        for (int i = 0; i < 32; i++) {
            codes[i] = src[i] ^ 0x80u;
        }
        return;
    }
    if (grid->bits == 5) {
        high = kfi_load_u32(src);
        src += 4;
    }
    for (int i = 0; i < 16; i++) {
        codes[i] = (uint8_t)((src[i] & 15u) | (high >> i & 1u) << 4);
        codes[i + 16] = (uint8_t)(src[i] >> 4 | (high >> (i + 16) & 1u) << 4);
    }
}

static void decode_grid(float *dst, kfi_dtype dtype, const uint8_t *src)
{
    const kfi_block_grid *grid = &block_grids[dtype];
    uint8_t codes[KFI_GRID_BLOCK];
    float scale = 0;
    float offset = 0;
    kfi_block_read(codes, &scale, &offset, dtype, src);
    for (int i = 0; i < 32; i++) {
        dst[i] = scale * (float)(codes[i] - grid->zero);
    }
    for (int i = 0; i < 32 && grid->has_offset; i++) { /* + 0 would lose a negative zero */
        dst[i] += offset;
    }
}

/* Two-bit element i of a 256-block: two halves of 128 elements share 32 bytes each; within a half,
 * bits 2k, 2k + 1 of the bytes are its elements 32 k … 32 k + 31. Used by Q2_K, Q3_K and for the
 * high bits of Q6_K. */
static int two_bits(const uint8_t *bytes, int i)
{
    const int half = i / 128;
    return bytes[32 * half + i % 32] >> (2 * (i % 128 / 32)) & 3;
}

/* scales[g]: low nibble the scale of group g, high nibble its minimum. */
static void decode_q2_k(float *dst, const uint8_t *src)
{
    const uint8_t *scales = src;
    const uint8_t *qs = src + 16;
    const float d = load_half(src + 80);
    const float dmin = load_half(src + 82);
    for (int g = 0; g < 16; g++) {
        const float scale = d * (float)(scales[g] & 15);
        const float minimum = dmin * (float)(scales[g] >> 4);
        for (int i = 16 * g; i < 16 * g + 16; i++) {
            dst[i] = scale * (float)two_bits(qs, i) - minimum;
        }
    }
}

/* Six-bit scale of group g of Q3_K, 0 … 63: the low four bits are nibbles of bytes 0 … 7 (groups
 * 0 … 7 low, 8 … 15 high), the high two lie in bytes 8 … 11, group g in bits 2 (g / 4). */
static int q3_scale(const uint8_t *scales, int g)
{
    const int low = g < 8 ? scales[g] & 15 : scales[g - 8] >> 4;
    const int high = scales[8 + g % 4] >> (2 * (g / 4)) & 3;
    return low | high << 4;
}

/* hmask: bit i / 32 of byte i % 32 is the third bit of element i. */
static void decode_q3_k(float *dst, const uint8_t *src)
{
    const uint8_t *hmask = src;
    const uint8_t *qs = src + 32;
    const float d = load_half(src + 108);
    for (int g = 0; g < 16; g++) {
        const float scale = d * (float)(q3_scale(src + 96, g) - 32);
        for (int i = 16 * g; i < 16 * g + 16; i++) {
            const int high = hmask[i % 32] >> (i / 32) & 1;
            dst[i] = scale * (float)((two_bits(qs, i) | high << 2) - 4);
        }
    }
}

/* Six-bit scale and minimum of group g of Q4_K and Q5_K in 12 bytes: groups 0 … 3 in the low six
 * bits of bytes g and g + 4; groups 4 … 7 have their low four bits in the nibbles of byte g + 4 and
 * their high two on top of bytes g - 4 and g. */
static void q4_scales(const uint8_t *packed, int g, int *scale, int *minimum)
{
    if (g < 4) {
        *scale = packed[g] & 63;
        *minimum = packed[g + 4] & 63;
    } else {
        *scale = (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4;
        *minimum = packed[g + 4] >> 4 | (packed[g] >> 6) << 4;
    }
}

/* Groups 2k and 2k + 1 are the low and high nibbles of the k-th 32 bytes. */
static int q4_k_code(const uint8_t *qs, int g, int i)
{
    return qs[32 * (g / 2) + i] >> (4 * (g % 2)) & 15;
}

static void decode_q4_k(float *dst, const uint8_t *src)
{
    const float d = load_half(src);
    const float dmin = load_half(src + 2);
    for (int g = 0; g < 8; g++) {
        int scale_code = 0;
        int minimum_code = 0;
        q4_scales(src + 4, g, &scale_code, &minimum_code);
        const float scale = d * (float)scale_code;
        const float minimum = dmin * (float)minimum_code;
        for (int i = 0; i < 32; i++) {
            dst[32 * g + i] = scale * (float)q4_k_code(src + 16, g, i) - minimum;
        }
    }
}

/* qh: bit g of byte i is the fifth bit of element i of group g. */
static void decode_q5_k(float *dst, const uint8_t *src)
{
    const float d = load_half(src);
    const float dmin = load_half(src + 2);
    const uint8_t *qh = src + 16;
    for (int g = 0; g < 8; g++) {
        int scale_code = 0;
        int minimum_code = 0;
        q4_scales(src + 4, g, &scale_code, &minimum_code);
        const float scale = d * (float)scale_code;
        const float minimum = dmin * (float)minimum_code;
        for (int i = 0; i < 32; i++) {
            const int code = q4_k_code(src + 48, g, i) | (qh[i] >> g & 1) << 4;
            dst[32 * g + i] = scale * (float)code - minimum;
        }
    }
}

/* ql: each half of 128 elements has 64 bytes; elements 0 … 63 are their low nibbles, 64 … 127 their
 * high ones. */
static void decode_q6_k(float *dst, const uint8_t *src)
{
    const uint8_t *ql = src;
    const uint8_t *qh = src + 128;
    const float d = load_half(src + 208);
    for (int g = 0; g < 16; g++) {
        const float scale = d * (float)(int8_t)src[192 + g];
        for (int i = 16 * g; i < 16 * g + 16; i++) {
            const int low = ql[64 * (i / 128) + i % 64] >> (4 * (i % 128 / 64)) & 15;
            dst[i] = scale * (float)((low | two_bits(qh, i) << 4) - 32);
        }
    }
}

typedef void block_decoder(float *dst, const uint8_t *src);

static block_decoder *const decoders[KFI_DTYPE_COUNT] = {
    [KFI_DTYPE_Q2_K] = decode_q2_k, [KFI_DTYPE_Q3_K] = decode_q3_k, [KFI_DTYPE_Q4_K] = decode_q4_k,
    [KFI_DTYPE_Q5_K] = decode_q5_k, [KFI_DTYPE_Q6_K] = decode_q6_k,
};

void kfi_ggml_decode(float *dst, kfi_dtype dtype, const uint8_t *src, size_t n)
{
    const kfi_dtype_info *info = kfi_dtype_get(dtype);
    for (size_t i = 0; i < n / info->block; i++) {
        float *values = dst + i * info->block;
        const uint8_t *block = src + i * info->block_bytes;
        if (decoders[dtype] != NULL) {
            decoders[dtype](values, block);
        } else {
            decode_grid(values, dtype, block);
        }
    }
}
