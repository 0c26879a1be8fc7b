/* packed.h - a quantized matrix as it lies in the file and in memory ("panel-16").
 *
 * A matrix of `rows` output rows and `cols` inputs is cut into panels of 16 rows and chunks of 32
 * columns. One line of 64 bytes holds 16 rows x 4 consecutive columns (one VNNI operand):
 *
 *     byte 4r + c  =  row r, column c   (r = 0…15, c = 0…3)
 *
 * A chunk (16 rows x 32 columns) is exactly `bits` lines, its planes one after the other:
 *
 *     8-bit plane  8 lines; line i            holds columns 4i … 4i+3
 *     4-bit plane  4 lines; line i, nibble h  holds columns 8i+4h …    (h = 0 low, 1 high)
 *     2-bit plane  2 lines; line i, crumb  j  holds columns 16i+4j …   (j = 0…3, low bits first)
 *     1-bit plane  1 line;           bit    b  holds columns 4b …       (b = 0…7)
 *
 *     bits 8: [8]   7: [4][2][1]   6: [4][2]   5: [4][1]   4: [4]   3: [2][1]   2: [2]
 *     the first plane has the code's low bits, the next ones what is above them.
 *
 * Tensor in the file: header (64 bytes) | codes [panel][chunk][bits][64] | two-level scales only:
 * row scales [panel][16] | scales [panel][group][16] | zeros [panel][group][16], each plane padded
 * to 64 bytes. Codes are unsigned; rows and columns of padding have code 0 and scale 0.
 *
 *     w[r][k] = s[r][g] (q[r][k] - z[r][g]),  g = k / group
 *     zero none: z = 2^(bits-1);  integer: one byte;  offset: w = s q + o, o an fp16
 *     two-level scales: s[r][g] = S[r] m[r][g], S a float32 of 16 significant bits, m a signed byte
 *     with |m| (2^bits - 1) <= 255; z < 2^bits: so |m (q - z)| <= 255, and every product is exact
 *     ternary: bits 2, q = 0, 1, 2 and z = 1
 *     codebooks: w = s table[q], 2^bits entries of -128 … 127 that the tensor has in its header.
 *     One byte shuffle after unpacking makes table[q] + 128 of q, an 8-bit code with z = 128.
 *     floats of 6 bits: w = s level(q), e3m2.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_PACKED_H
#define KFI_KERNELS_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/format.h"
#include "kernels/e3m2.h"

#define KFI_PANEL_ROWS   16u
#define KFI_CHUNK_COLS   32u
#define KFI_LINE_BYTES   64u
#define KFI_HEADER_BYTES 64u

/* What is farther from zero, in steps of a grid, is beyond every grid: codes and zeros are below
 * 256. Clamped to it, a number can be rounded by base/round.h. */
#define KFI_STEPS_MOST 1024.0f

typedef struct kfi_packed {
    kf_format format;
    size_t rows, cols;
    size_t group;    /* columns a group, a multiple of 32 (row: all of them, padded) */
    size_t n_panels; /* rows / 16, rounded up */
    size_t n_chunks; /* cols / 32, rounded up */
    size_t n_groups; /* a row */
    const uint8_t *codes;
    const float *row_scales; /* two-level scales, else NULL */
    const void *scales;      /* uint16_t fp16, uint8_t exponents, or int8_t multipliers */
    const void *zeros;       /* uint8_t, uint16_t fp16, or NULL */
    const int8_t *table; /* codebooks: KFI_TABLE_ENTRIES, those behind 2^bits are 0; else NULL */
    int32_t zero;        /* zero kind none: z, as kfi_format_zero() gives it */
} kfi_packed;

/* Every entry of a codebook is a signed byte; as an unsigned one it has 128 added. */
#define KFI_TABLE_ENTRIES 16u
#define KFI_TABLE_ZERO    128

static inline bool kfi_element_has_table(unsigned element)
{
    return element == KF_ELEMENT_CODEBOOK || element == KF_ELEMENT_NF || element == KF_ELEMENT_E2M1;
}

/* Whether codes are the levels themselves, less a zero. */
static inline bool kfi_element_is_integer(unsigned element)
{
    return element == KF_ELEMENT_INT || element == KF_ELEMENT_MXINT ||
           element == KF_ELEMENT_TERNARY;
}

/* What kernels take off a code, or what they have made of it, of a format that stores no zeros. */
static inline int32_t kfi_format_zero(kf_format format)
{
    return kfi_element_has_table(format.element)  ? KFI_TABLE_ZERO
           : format.element == KF_ELEMENT_E3M2    ? KFI_E3M2_ZERO
           : format.element == KF_ELEMENT_TERNARY ? 1
                                                  : (int32_t)1 << (format.bits - 1);
}

/* Activations of n_tokens tokens: x = scale * code. cols_padded is a multiple of 32, the padding is
 * 0. */
typedef struct kfi_activations {
    size_t n_tokens, cols, cols_padded;
    size_t group;    /* columns a scale, a multiple of 32 (per token: cols_padded) */
    size_t n_groups; /* scales a token */
    int8_t *codes;   /* [token][cols_padded], 64-byte aligned rows where cols_padded allows */
    float *scales;   /* [token][n_groups] */
    int32_t *sums;   /* [token][cols_padded / 32], sum of the codes of each chunk */
} kfi_activations;

/* Tokens first … first + n - 1 of them. */
static inline kfi_activations kfi_activations_from(const kfi_activations *x, size_t first, size_t n)
{
    kfi_activations some = *x;
    some.n_tokens = n;
    some.codes += first * x->cols_padded;
    some.scales += first * x->n_groups;
    some.sums += first * (x->cols_padded / KFI_CHUNK_COLS);
    return some;
}

/* Activations that are left in float: x[token][ld], of which the matrix's columns are read. */
typedef struct kfi_float_activations {
    size_t n_tokens;
    const float *x;
    size_t ld;
} kfi_float_activations;

/* Single weights that stand beside a packed matrix, compressed by rows: those of row r are
 * starts[r] … starts[r + 1] - 1, in ascending columns, each column of a row once. */
#define KFI_SPARSE_COLS_MOST 65536u /* columns are 16 bits */

typedef struct kfi_sparse {
    size_t rows, cols;
    const uint32_t *starts;  /* [rows + 1], from 0 on; NULL: there are none */
    const uint16_t *columns; /* [starts[rows]] */
    const uint16_t *values;  /* [starts[rows]], fp16 */
} kfi_sparse;

/* Tokens whose columns lie together: of one token alone [cols]; of more panels of 16, [n_tokens /
 * 16, rounded up][cols][16], in which tokens that do not exist may be anything. */
#define KFI_TOKEN_PANEL 16u

typedef struct kfi_token_panels {
    size_t n_tokens, cols;
    const float *x;
} kfi_token_panels;

/* Where a token's column 0 lies; the next is KFI_TOKEN_PANEL behind it, or 1 of a token alone. */
static inline size_t kfi_token_place(size_t n_tokens, size_t cols, size_t t)
{
    return n_tokens == 1 ? 0 : t / KFI_TOKEN_PANEL * KFI_TOKEN_PANEL * cols + t % KFI_TOKEN_PANEL;
}

#endif /* KFI_KERNELS_PACKED_H */
