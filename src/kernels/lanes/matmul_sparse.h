/* matmul_sparse.h - products with single weights; the same steps as
 * generic/matmul_sparse_generic.c.
 *
 * Of many tokens 16 go at once: a weight is broadcast and meets its column of a panel, one line.
 * The sums of 16 rows are a tile that is turned before it is added to y:
 *
 *      row's weights      panel [cols][16 tokens]       tile [16 rows][16 tokens]
 *      v  column ───────▶ ████████████████ ── fma ────▶ ████████████████ ─ turn ─▶ y[token][16
 * rows]
 *
 * Of one token a row is a chain of fused steps; those of other rows fill the time between them.
 * Either way values become floats 16 at a time, ahead of their use. A load, a broadcast and a fused
 * step a weight.
 *
 * Included once by each matmul_sparse_VARIANT.c, after their lanes and VARIANT.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "kernels/kernels_list.h"
#include "kernels/lanes/names.h"
#include "kernels/lanes_inline.h"

#define AHEAD (4 * KFI_LANES)

/* Goes through the values of some rows once, in their order. */
typedef struct reader {
    const uint16_t *values;
    size_t begin, end; /* what `floats` holds; begin + AHEAD at most */
    size_t last;       /* of all values */
    float floats[AHEAD];
} reader;

/* The next values from i on. */
static void read_ahead(reader *r, size_t i)
{
    const size_t n = r->last - i < AHEAD ? r->last - i : AHEAD;
    uint16_t rest[KFI_LANES] = {0};
    size_t k = 0;
    for (; k + KFI_LANES <= n; k += KFI_LANES) {
        lanes_store(r->floats + k, lanes_of_halves(r->values + i + k));
    }
    if (k < n) {
        memcpy(rest, r->values + i + k, (n - k) * sizeof *rest);
        lanes_store(r->floats + k, lanes_of_halves(rest));
    }
    r->begin = i;
    r->end = i + n;
}

INLINE reader reader_of(const kfi_sparse *w, size_t row_begin, size_t row_end)
{
    reader r;
    r.values = w->values;
    r.begin = r.end = w->starts[row_begin];
    r.last = w->starts[row_end];
    return r;
}

INLINE float value_at(reader *r, size_t i)
{
    if (i == r->end) {
        read_ahead(r, i);
    }
    return r->floats[i - r->begin];
}

static void multiply_one(float *y, const kfi_sparse *w, size_t row_begin, size_t row_end,
                         const float *x)
{
    reader values = reader_of(w, row_begin, row_end);
    size_t i = values.begin;
    for (size_t r = row_begin; r < row_end; r++) {
        float acc = 0.0f;
        for (; i < w->starts[r + 1]; i++) {
            acc = fmaf(value_at(&values, i), x[w->columns[i]], acc);
        }
        y[r] += acc;
    }
}

/* Rows row_begin … row_end-1, at most 16, of n <= 16 tokens. */
static void multiply_tile(float *y, size_t ld_y, const kfi_sparse *w, size_t row_begin,
                          size_t row_end, const float *panel, size_t n)
{
    lanes tile[KFI_LANES];
    reader values = reader_of(w, row_begin, row_end);
    size_t i = values.begin;
    const size_t n_rows = row_end - row_begin;
    for (size_t r = 0; r < KFI_LANES; r++) {
        const size_t end = r < n_rows ? w->starts[row_begin + r + 1] : i;
        lanes acc = lanes_zero();
        for (; i < end; i++) {
            const lanes x = lanes_load(panel + (size_t)w->columns[i] * KFI_TOKEN_PANEL);
            acc = lanes_fma(lanes_set1(value_at(&values, i)), x, acc);
        }
        tile[r] = acc;
    }
    lanes_transpose(tile);
    for (size_t t = 0; t < n; t++) {
        float *dst = y + t * ld_y + row_begin;
        lanes_store_n(dst, lanes_add(lanes_load_n(dst, n_rows), tile[t]), n_rows);
    }
}

void KERNEL_NAME(matmul_sparse)(float *y, size_t ld_y, const kfi_sparse *w, size_t row_begin,
                                size_t row_end, const kfi_token_panels *x)
{
    if (x->n_tokens == 1) {
        multiply_one(y, w, row_begin, row_end, x->x);
        return;
    }
    for (size_t r = row_begin; r < row_end; r += KFI_LANES) {
        const size_t end = row_end - r < KFI_LANES ? row_end : r + KFI_LANES;
        for (size_t t = 0; t < x->n_tokens; t += KFI_TOKEN_PANEL) {
            const size_t n = x->n_tokens - t < KFI_TOKEN_PANEL ? x->n_tokens - t : KFI_TOKEN_PANEL;
            multiply_tile(y + t * ld_y, ld_y, w, r, end, x->x + t * x->cols, n);
        }
    }
}
