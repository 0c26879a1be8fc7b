/* attention.h - causal attention of one kv head; the steps of attention_inline.h.
 *
 * Six rows (token, head) go through the keys together, a chunk of 256 keys at a time:
 *
 *     scores     lane = key, panels of 16: for every d a load a panel, six broadcasts, fma
 *     softmax    each row for itself
 *     values     lane = d: for every key one load a 16 values, a broadcast a row, fma
 *
 * Rows of a block belong to neighbouring tokens and see a few keys more or less: what all see goes
 * through the tile, the rest row by row, so that nothing behind a row's last key is touched.
 *
 * Included once by each attention_VARIANT.c, after their lanes and VARIANT.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "kernels/attention_inline.h"
#include "kernels/kernels_list.h"
#include "kernels/lanes/merge.h"
#include "kernels/lanes/names.h"
#include "kernels/lanes/unpack.h" /* UNROLL */

#define ROWS ((int)KFI_ATTENTION_ROWS)

/* The rows of a block; where fewer are left the last one stands in for the others. */
typedef struct row_block {
    const float *q[ROWS];
    float *dst[ROWS];
    size_t n_visible[ROWS]; /* keys a row sees, not descending */
    size_t n_rows;
    const kfi_attention_args *args;
    kfi_attention_scores *scores;
    float *results; /* [ROWS][head_dim] of the current chunk */
} row_block;

/* ---- scores ---- */

/* Of n_panels (a constant) panels of keys from `keys` on, for all rows, to column `first` of the
 * scores. */
INLINE void score_panels(const row_block *b, const float *keys, size_t first, const int n_panels)
{
    const float *const *q = b->q;
    const size_t panel_floats = b->args->head_dim * KFI_PANEL_ROWS;
    const lanes scale = lanes_set1(b->args->scale);
    lanes sum[ROWS][TILE_PANELS];
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            sum[r][p] = lanes_zero();
        }
    }
    for (size_t d = 0; d < b->args->head_dim; d++) {
        lanes k[TILE_PANELS];
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            k[p] = lanes_load(keys + (size_t)p * panel_floats + d * KFI_PANEL_ROWS);
        }
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            const lanes x = lanes_set1(q[r][d]);
            UNROLL
            for (int p = 0; p < n_panels; p++) {
                sum[r][p] = lanes_fma(x, k[p], sum[r][p]);
            }
        }
    }
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            float *const scores = b->scores->p[r] + first + (size_t)p * KFI_PANEL_ROWS;
            lanes_store(scores, lanes_mul(sum[r][p], scale));
        }
    }
}

/* Of the first n keys. */
static void score_keys(const row_block *b, const float *keys, size_t n)
{
    size_t i = 0;
    for (; i + (TILE_PANELS - 1) * KFI_PANEL_ROWS < n; i += TILE_PANELS * KFI_PANEL_ROWS) {
        score_panels(b, keys + i * b->args->head_dim, i, TILE_PANELS);
    }
    for (; i < n; i += KFI_PANEL_ROWS) {
        score_panels(b, keys + i * b->args->head_dim, i, 1);
    }
}

/* ---- softmax ---- */

/* p[i] = e^(p[i] - max) for the n keys of a row. */
static kfi_attention_state soften(float *p, size_t n)
{
    lanes greatest = lanes_set1(-INFINITY);
    lanes sums = lanes_zero();
    for (size_t i = 0; i < n; i += KFI_LANES) {
        greatest = lanes_max(lanes_first(lanes_load(p + i), greatest, n - i), greatest);
    }
    const float max = lanes_greatest(greatest);
    for (size_t i = 0; i < n; i += KFI_LANES) {
        const lanes e = lanes_exp(lanes_sub(lanes_load(p + i), lanes_set1(max)));
        const lanes seen = lanes_first(e, lanes_zero(), n - i);
        lanes_store(p + i, seen);
        sums = lanes_add(sums, seen);
    }
    return (kfi_attention_state){max, lanes_sum(sums)};
}

/* ---- values ---- */

/* results[.][d … d+15] = sum of p v over the first n keys, for all rows. */
static void weigh_tile(const row_block *b, const float *values, size_t n, size_t d)
{
    const size_t dim = b->args->head_dim;
    const size_t n_d = dim - d;
    lanes sum[ROWS];
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        sum[r] = lanes_zero();
    }
    for (size_t i = 0; i < n; i++) {
        const lanes v = lanes_load_n(values + i * dim + d, n_d);
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            sum[r] = lanes_fma(lanes_set1(b->scores->p[r][i]), v, sum[r]);
        }
    }
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        lanes_store_n(b->results + (size_t)r * dim + d, sum[r], n_d);
    }
}

/* The same, four times 16 values at once. */
static void weigh_wide_tile(const row_block *b, const float *values, size_t n, size_t d)
{
    const size_t dim = b->args->head_dim;
    lanes sum[ROWS][WIDE];
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int j = 0; j < WIDE; j++) {
            sum[r][j] = lanes_zero();
        }
    }
    for (size_t i = 0; i < n; i++) {
        lanes v[WIDE];
        UNROLL
        for (int j = 0; j < WIDE; j++) {
            v[j] = lanes_load(values + i * dim + d + (size_t)j * KFI_LANES);
        }
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            const lanes p = lanes_set1(b->scores->p[r][i]);
            UNROLL
            for (int j = 0; j < WIDE; j++) {
                sum[r][j] = lanes_fma(p, v[j], sum[r][j]);
            }
        }
    }
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int j = 0; j < WIDE; j++) {
            lanes_store(b->results + (size_t)r * dim + d + (size_t)j * KFI_LANES, sum[r][j]);
        }
    }
}

/* Goes on with keys begin … end-1 for one row. */
static void weigh_rest(const row_block *b, size_t row, const float *values, size_t begin,
                       size_t end)
{
    const size_t dim = b->args->head_dim;
    for (size_t d = 0; d < dim; d += KFI_LANES) {
        float *result = b->results + row * dim + d;
        lanes sum = lanes_load_n(result, dim - d);
        for (size_t i = begin; i < end; i++) {
            const lanes v = lanes_load_n(values + i * dim + d, dim - d);
            sum = lanes_fma(lanes_set1(b->scores->p[row][i]), v, sum);
        }
        lanes_store_n(result, sum, dim - d);
    }
}

/* ---- chunks ---- */

static void attend_chunk(const row_block *b, size_t begin)
{
    const size_t dim = b->args->head_dim;
    const float *keys = b->args->keys + begin * dim; /* a chunk is whole panels */
    const float *values = b->args->values + begin * dim;
    const size_t most = least(b->n_visible[ROWS - 1] - begin, KFI_ATTENTION_CHUNK);
    const size_t common = b->n_visible[0] > begin ? least(b->n_visible[0] - begin, most) : 0;
    kfi_attention_state more[ROWS];
    score_keys(b, keys, most);
    for (size_t r = 0; r < b->n_rows; r++) {
        if (b->n_visible[r] > begin) {
            more[r] = soften(b->scores->p[r], least(b->n_visible[r] - begin, most));
        }
    }
    size_t d = 0;
    for (; d + WIDE * KFI_LANES <= dim; d += WIDE * KFI_LANES) {
        weigh_wide_tile(b, values, common, d);
    }
    for (; d < dim; d += KFI_LANES) {
        weigh_tile(b, values, common, d);
    }
    for (size_t r = 0; r < b->n_rows; r++) {
        if (b->n_visible[r] > begin) {
            weigh_rest(b, r, values, common, least(b->n_visible[r] - begin, most));
            merge(b->dst[r], &b->scores->state[r], b->results + r * dim, more[r],
                  begin == 0 && !b->args->continues, dim);
        }
    }
}

static row_block block_make(const kfi_attention_args *a, size_t first)
{
    kfi_attention_scores *const scores = a->scratch;
    row_block b = {.n_rows = least(a->n_tokens * a->n_heads - first, KFI_ATTENTION_ROWS),
                   .args = a,
                   .scores = scores,
                   .results = (float *)(scores + 1)};
    for (size_t r = 0; r < KFI_ATTENTION_ROWS; r++) {
        const size_t row = first + least(r, b.n_rows - 1);
        b.q[r] = kfi_attention_query(a, row);
        b.dst[r] = kfi_attention_result(a, row);
        b.n_visible[r] = kfi_attention_visible(a, row);
    }
    return b;
}

void KERNEL_NAME(attention)(const kfi_attention_args *a)
{
    const size_t n_rows = a->n_tokens * a->n_heads;
    for (size_t first = 0; first < n_rows; first += KFI_ATTENTION_ROWS) {
        const row_block b = block_make(a, first);
        kfi_attention_state *const state = b.scores->state;
        if (a->continues) {
            memcpy(state, a->state + first, b.n_rows * sizeof *state);
        }
        for (size_t begin = 0; begin < b.n_visible[ROWS - 1]; begin += KFI_ATTENTION_CHUNK) {
            attend_chunk(&b, begin);
        }
        if (a->state != NULL) {
            memcpy(a->state + first, state, b.n_rows * sizeof *state);
            continue;
        }
        for (size_t r = 0; r < b.n_rows; r++) {
            divide(b.dst[r], state[r].sum, a->head_dim);
        }
    }
}

void KERNEL_NAME(attention_merge)(const kfi_attention_merge_args *a)
{
    kfi_attention_state state = {0};
    for (size_t i = 0; i < a->n; i++) {
        merge(a->dst, &state, a->results + i * a->ld, a->states[i * a->n_states], i == 0,
              a->head_dim);
    }
    divide(a->dst, state.sum, a->head_dim);
}
