/* kernels.h - the inner loops, chosen once for the CPU.
 *
 * Every function here is pure: it works on the caller's buffers, allocates nothing, and its result
 * does not depend on how callers split the work over threads. Each has one definition in plain C
 * (generic/) that says what it computes, in which order; the vector variants give the same bits.
 * The order of float steps:
 *
 *   matmul_int8   per row, for each segment ascending in k (the finer of weight group and
 *                 activation group, at most 32 768 columns, half as many of e3m2.h):
 *                     isum = sum q x - z sum x, exact in int32
 *                     acc = fma((float)isum, s_w s_x, acc)
 *                 zero kind offset: isum = sum q x, and then
 *                     acc = fma((float)sum x, o s_x, acc)
 *                 two-level scales: for each activation group (at most 65 536 columns)
 *                     isum = sum over its segments m (sum q x - z sum x), exact in int32
 *                     acc = fma((float)isum, s_x, acc)
 *                 and in the end acc = acc S
 *   matmul_float  per row, for each group ascending:
 *                     t = fma(q - z, x_k, t) for k ascending, from t = 0
 *                     acc = fma(t, s, acc)                    two-level scales: s = S m
 *                 zero kind offset: t over q x, u += x_k for k ascending, and then
 *                     acc = fma(u, o, acc)
 *   matmul_sparse per row:
 *                     acc = fma(v, x_k, acc) for its weights ascending in k, from acc = 0
 *                     y = y + acc
 *   gemm          per element, for each block of KFI_GEMM_DEPTH products ascending in k (the last
 *                 block may be shorter):
 *                     t = fma(a_k, b_k, t) for k ascending, from t = 0
 *                     c = t for the first block of a product that is not added, else c = c + t
 *   reductions    over 16 lanes (element i goes to lane i mod 16), joined by the tree
 *                 (0+8, 1+9, ...), (0+4, ...), (0+2, 1+3), (0+1)
 *   attention     scores by fma ascending in d; softmax over fixed chunks of 256 keys, merged in
 *                 ascending order; exp by exp.h
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_KERNELS_H
#define KFI_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/callbacks.h"
#include "kerf/error.h"
#include "kernels/packed.h"
#include "kernels/packed_kv.h"

#define KFI_ATTENTION_CHUNK 256u

/* y[t * ld_y + row] = sum_k w[row][k] x[t][k], for all rows of panels panel_begin … panel_end-1
 * that exist and all tokens of x. scratch: kfi_matmul_scratch_bytes(w->cols), 64-byte aligned, one
 * a thread. */
typedef void kfi_matmul_int8_fn(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                                size_t panel_end, const kfi_activations *x, void *scratch);

/* The same against float activations. */
typedef void kfi_matmul_float_fn(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                                 size_t panel_end, const kfi_float_activations *x, void *scratch);

/* y[t * ld_y + row] += sum over the row's single weights of v x[t][column], for rows row_begin …
 * row_end-1 and all tokens of x. */
typedef void kfi_matmul_sparse_fn(float *y, size_t ld_y, const kfi_sparse *w, size_t row_begin,
                                  size_t row_end, const kfi_token_panels *x);

/* Products that are summed before they are added to an element: a constant of the definition. A
 * panel of b of this depth and 32 columns is 24 KiB and stays in the first-level cache; and the
 * error of a sum grows with the block and the number of blocks, not with k. */
#define KFI_GEMM_DEPTH 192u

/* How the operands of c[m][n] = op(a)[m][k] op(b)[k][n] lie in memory. All are row-major with a row
 * stride in elements. */
typedef enum kfi_gemm_kind {
    KFI_GEMM_NN, /* a[m][k], b[k][n] */
    KFI_GEMM_NT, /* a[m][k], b[n][k] */
    KFI_GEMM_TN  /* a[k][m], b[k][n] */
} kfi_gemm_kind;

/* A product of float matrices, or with `add` what is added to c. k >= 1; m and n may be 0. c
 * overlaps neither operand; a and b may be the same. */
typedef struct kfi_gemm {
    kfi_gemm_kind kind;
    bool add;
    size_t m, n, k;
    const float *a;
    size_t ld_a;
    const float *b;
    size_t ld_b;
    float *c;
    size_t ld_c;
} kfi_gemm;

/* An element depends on its row of op(a), its column of op(b) and its old value only: a product may
 * be cut by rows and columns of c at will. Cost: b is read once, and a once for every 32 columns of
 * b (16 with AVX2): a few hundred rows of a at a time are best. Uses 24 KiB of stack. */
typedef void kfi_gemm_fn(const kfi_gemm *g);

/* A group of activations whose largest value is below it counts as zero: its inverse would leave
 * the floats. */
#define KFI_QUANTIZE_LEAST 0x1p-100f

/* Where the codes of a group of activations lie. */
typedef enum kfi_quantize_kind {
    KFI_QUANTIZE_SYMMETRIC,   /* -most … most */
    KFI_QUANTIZE_ASYMMETRIC,  /* 0 … most, from which the group's own zero point is taken off */
    KFI_QUANTIZE_POWER_OF_TWO /* as symmetric, under a scale that is a power of two */
} kfi_quantize_kind;

/* How a token becomes codes. */
typedef struct kfi_quantizer {
    kfi_quantize_kind kind;
    size_t group; /* columns of a scale, a multiple of 32 */
    int32_t most; /* 3 … 127 */
    float clip;   /* the part of the range that codes reach, above 0; 1: all of it */
} kfi_quantizer;

/* Quantizes one token: codes[cols_padded], scales[n_groups], sums[cols_padded / 32]. Per group x is
 * about scale * code, in the steps of quantize_inline.h. |code| <= most. */
typedef void kfi_quantize_fn(int8_t *codes, float *scales, int32_t *sums, const float *x,
                             size_t cols, const kfi_quantizer *how);

/* Rounds one token to 8-bit floats E4M3 under a scale a group: dst[i] = scale * fp8(x[i] / scale),
 * scale = max|x| / 448, in the steps of quantize_inline.h. dst may be x. */
typedef void kfi_round_fp8_fn(float *dst, const float *x, size_t cols, size_t group);

/* dst[i] = src[i] / sqrt(mean(src^2) + epsilon) * weight[i]. */
typedef void kfi_rms_norm_fn(float *dst, const float *src, const float *weight, size_t n,
                             float epsilon);

/* dst[i] = silu(gate[i]) * up[i]; dst may be gate. */
typedef void kfi_silu_mul_fn(float *dst, const float *gate, const float *up, size_t n);

/* dst[i] += src[i] */
typedef void kfi_add_fn(float *dst, const float *src, size_t n);

/* Rotates n_heads heads in place; cosine and sine have head_dim / 2 values of one position. Pairs
 * are (i, i + head_dim/2). */
typedef void kfi_rope_fn(float *x, size_t n_heads, size_t head_dim, const float *cosine,
                         const float *sine);

/* Rotates n_heads heads in place by the normalised Walsh-Hadamard matrix, which is its own inverse:
 * a head as a whole where its size is a power of two, else block by block, a block being the
 * greatest power of two that divides it (96: 32). Butterflies of neighbours first, then of strides
 * 2, 4, …; each sum is multiplied by 1 / sqrt(block) at the end. */
typedef void kfi_hadamard_fn(float *x, size_t n_heads, size_t head_dim);

/* Greatest order of the matrix that a rotation mixes blocks with. */
#define KFI_ROTATION_MOST 512u

/* A rotation of rows of m blocks, each of a power of two of elements; linalg/hadamard.h makes them.
 */
typedef struct kfi_rotation {
    size_t m, block;
    const float *matrix;   /* [m][m], 1 and -1, m a multiple of 4; NULL where m is 1 */
    const int8_t *signs;   /* [m block], 1 and -1: those of the input; NULL: none are changed */
    const int8_t *undoing; /* the same of the result */
} kfi_rotation;

/* Rotates one row x[m][block] in place: x = undoing M W (signs x). W is hadamard() of every block;
 * M sums blocks in ascending order, block a of the result being 1 / sqrt(m) * sum over j of
 * matrix[a][j] * block j. */
typedef void kfi_rotate_fn(float *x, const kfi_rotation *rotation);

/* log(sum exp(x)), in double over the fixed lanes; also the index of the first maximum. */
typedef double kfi_log_sum_exp_fn(const float *x, size_t n, size_t *arg_max);

/* Sum over n weights of importance |w - w~|^exponent, w~ being w on the grid scale (q - zero) +
 * offset, q = 0 … q_max: what a fit of the grid makes small. With a table, q_max + 1 ascending
 * entries, the grid is scale * table[q]. q is found by multiplying with 1 / scale, so that a weight
 * halfway between two codes may take the other one. With is_e3m2 it is scale * level, the levels
 * those of e3m2.h. scale 0: all weights on the offset. importance
 * NULL: all 1. Over 16 lanes; the power is exact for exponent 2, within 1e-4 for others (power.h).
 */
typedef struct kfi_grid_error_args {
    const float *weights;
    const float *importance;
    size_t n;
    float scale, offset;
    int32_t zero, q_max;
    const int8_t *table; /* or NULL */
    bool is_e3m2;
    float exponent;
} kfi_grid_error_args;
typedef float kfi_grid_error_fn(const kfi_grid_error_args *args);

/* The sum modulo 2^32 of all 32-bit words of n_lines lines of 64 bytes, 64-byte aligned: a loop
 * that does nothing but load, to measure how fast memory can be read. */
typedef uint32_t kfi_sum_lines_fn(const void *src, size_t n_lines);

/* What a query has gathered from some of its keys: the largest score, and the sum of e^(score -
 * max). Beside it stands the sum of the values with these weights. */
typedef struct kfi_attention_state {
    float max, sum;
} kfi_attention_state;

/* What all keys in codes share in front of RoPE, a vector c, which their codes lack: key i, counted
 * from the first one, stands for R(i) (k_i + c), R(i) turning pair j by i times its frequency f_j.
 * With one vector w of weights a query,
 *
 *     q R(i) c = sum_j w_j cos(i f_j) + w_(j + head_dim/2) sin(i f_j)
 *
 * so that a score costs head_dim products more, whatever the keys. Angles are split at whole
 * chunks: w is turned once a chunk, and the table of a chunk's tokens serves all layers, heads and
 * chunks. */
typedef struct kfi_common_key {
    const float *weights;     /* as queries lie, or NULL: they share nothing */
    const float *chunk_turns; /* [chunk][head_dim]: cosines, and sines negated, of i = 256 chunk */
    const float *token_turns; /* [16 panels][head_dim][16]: cosines and sines of i = 0 … 255 */
} kfi_common_key;

/* Causal attention of one kv head. Query token t (0 … n_tokens-1) stands at position first + t and
 * sees keys 0 … first + t of the n_keys that there are. Its n_heads query heads (those that share
 * this kv head) lie at q + t * ld_q + h * head_dim, the results likewise in dst. keys: panels of 16
 * tokens [position / 16][head_dim][16]; values [position][head_dim]. Scores are scaled by scale.
 * scratch: kfi_attention_scratch_bytes(head_dim), one a thread. Callers split over kv heads and
 * token tiles of any size: the result of a token does not depend on the tile.
 *
 * With `state` ([n_tokens][n_heads]) the work of a query can be split over its keys, too: the
 * result is left undivided, its state is written, and attention_merge() ends the work. With
 * `continues`, dst and state hold what the keys before these gave. */
typedef struct kfi_attention_args {
    float *dst;
    size_t ld_dst;
    const float *q;
    size_t ld_q;
    size_t n_tokens, n_heads, head_dim, first, n_keys;
    const float *keys;
    const float *values;
    kfi_packed_kv kv; /* of attention_packed(), as is what follows */
    kfi_common_key common;
    float scale;
    kfi_attention_state *state; /* or NULL: all keys are here, the result is divided */
    bool continues;
    void *scratch;
} kfi_attention_args;
typedef void kfi_attention_fn(const kfi_attention_args *args);

/* The same against keys and values in codes, `kv` in place of `keys` and `values`, n_keys of them
 * from a block on. A query is cut to 16 bits, too, and so are the weights of a chunk, so that all
 * products are exact sums of integers; attention_packed_inline.h states the steps. head_dim is at
 * most KFI_PACKED_HEAD_DIM_MOST. scratch: kfi_attention_packed_scratch_bytes(head_dim). */
typedef kfi_attention_fn kfi_attention_packed_fn;

/* Merges what one query gathered from n runs of keys, in their order, and divides by the sum:
 * results + i * ld and states[i * n_states] are of run i. A run is a fixed chunk of 256 keys, but
 * the first may be all that was merged before. dst may be the first result. */
typedef struct kfi_attention_merge_args {
    float *dst;
    const float *results;
    size_t ld;
    const kfi_attention_state *states;
    size_t n_states;
    size_t n, head_dim;
} kfi_attention_merge_args;
typedef void kfi_attention_merge_fn(const kfi_attention_merge_args *args);

/* Appends one token's key and value (head_dim floats each) at a position of one kv head's cache. */
void kfi_kv_store(float *keys, float *values, size_t position, const float *key, const float *value,
                  size_t head_dim);
/* Reads a key back. */
void kfi_kv_load_key(float *key, const float *keys, size_t position, size_t head_dim);

/* Tokens that an unpacked panel serves, and what is kept of them for 32 rows where columns are
 * taken in blocks, too: a float and an integer each. */
#define KFI_MATMUL_TOKENS    256u
#define KFI_MATMUL_SUM_BYTES (KFI_MATMUL_TOKENS * 32u * 8u)

/* 128 bytes a column, and KFI_MATMUL_SUM_BYTES. */
size_t kfi_matmul_scratch_bytes(size_t cols);
size_t kfi_attention_scratch_bytes(size_t head_dim);
size_t kfi_attention_packed_scratch_bytes(size_t head_dim);

/* The kernels in use. Each family: function and the name of its variant ("avx512vnni"). */
typedef struct kfi_kernels {
    kfi_matmul_int8_fn *matmul_int8;
    kfi_matmul_float_fn *matmul_float;
    kfi_matmul_sparse_fn *matmul_sparse;
    kfi_gemm_fn *gemm;
    kfi_quantize_fn *quantize;
    kfi_round_fp8_fn *round_fp8;
    kfi_rms_norm_fn *rms_norm;
    kfi_silu_mul_fn *silu_mul;
    kfi_add_fn *add;
    kfi_rope_fn *rope;
    kfi_hadamard_fn *hadamard;
    kfi_rotate_fn *rotate;
    kfi_log_sum_exp_fn *log_sum_exp;
    kfi_attention_fn *attention;
    kfi_attention_packed_fn *attention_packed;
    kfi_attention_merge_fn *attention_merge;
    kfi_grid_error_fn *grid_error;
    kfi_sum_lines_fn *sum_lines;
} kfi_kernels;

/* The table, filled on the first call: what the CPU has, capped by KERF_ISA, each vector kernel
 * compared once with plain C (a wrong one is dropped); kf_kernel_in_use() of kerf/machine.h names
 * them. Never fails. Threads: reentrant. */
const kfi_kernels *kfi_kernels_get(void);

#endif /* KFI_KERNELS_KERNELS_H */
