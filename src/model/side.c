/* side.c - what packed layers add to the product with their matrix.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/side.h"

#include <string.h>

#include "base/fail.h"
#include "format/format.h"
#include "model/workspace.h"

/* Of x_o and t: a step is 1/127 of the largest of 32 values. That moves the low-rank part by about
 * 0.5 % of it, and it is itself only a part of the layer. */
static const kfi_quantizer input_quantizer = {KFI_QUANTIZE_SYMMETRIC, KFI_CHUNK_COLS, 127, 1.0f};

size_t kfi_side_width(const kfi_side_paths *side)
{
    const size_t rank = side->low_rank_a.codes == NULL ? 0 : side->low_rank_a.rows;
    const size_t n_outliers = side->outliers.codes == NULL ? 0 : side->outliers.cols;
    return rank > n_outliers ? rank : n_outliers;
}

bool kfi_side_is_set(const kfi_side_paths *side)
{
    return kfi_side_width(side) > 0 || side->sparse.starts != NULL;
}

static size_t count_outliers(const kfi_side_paths *side)
{
    return side->outliers.codes == NULL ? 0 : side->outliers.cols;
}

bool kfi_side_shares_input(const kfi_side_paths *a, const kfi_side_paths *b)
{
    const size_t n = count_outliers(a);
    return n == count_outliers(b) &&
           (n == 0 || memcmp(a->columns, b->columns, n * sizeof *a->columns) == 0);
}

/* ---- memory ---- */

kf_status kfi_workspace_reserve_side(kfi_workspace *workspace, size_t width, kf_error *err)
{
    kfi_side_space *s = &workspace->side;
    const size_t padded = kfi_round_up(width, KFI_CHUNK_COLS);
    if (padded <= s->width) {
        return KF_OK;
    }
    const size_t n_tokens = KFI_SIDE_INPUTS * workspace->batch;
    const size_t n_results = 2 * KFI_PANEL_ROWS * (workspace->batch < 64 ? 64 : workspace->batch);
    const size_t n_scales = kfi_round_up(n_tokens * (padded / KFI_CHUNK_COLS), KFI_PANEL_ROWS);
    const size_t n_values = n_tokens * padded;
    const size_t bytes = n_values * (sizeof(float) + 1) + n_scales * 2 * sizeof(float) +
                         n_results * kf_pool_threads(workspace->pool) * sizeof(float);
    unsigned char *memory = kfi_alloc(workspace->alloc, kfi_round_up(bytes, KFI_ALIGN));
    if (memory == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET,
                        "no memory for side paths of %zu columns, %zu bytes", width, bytes);
    }
    kfi_workspace_free_side(workspace);
    /* Pieces of whole lines: every row of values and results is aligned, and so are the codes. */
    s->memory = memory;
    s->memory_bytes = kfi_round_up(bytes, KFI_ALIGN);
    s->width = padded;
    s->n_results = n_results;
    s->values = (float *)memory;
    s->scales = s->values + n_values;
    s->sums = (int32_t *)(s->scales + n_scales);
    s->results = (float *)(s->sums + n_scales);
    s->codes = (int8_t *)(s->results + n_results * kf_pool_threads(workspace->pool));
    return KF_OK;
}

void kfi_workspace_free_side(kfi_workspace *workspace)
{
    kfi_free(workspace->alloc, workspace->side.memory, workspace->side.memory_bytes);
    workspace->side = (kfi_side_space){0};
}

/* ---- inputs ---- */

/* Floats of input i of the run, from token t on; rows are as long as its padded width. */
static float *values_of(const kfi_side_run *run, size_t i_input, size_t t, size_t padded)
{
    const kfi_side_space *s = &run->workspace->side;
    return s->values + i_input * run->workspace->batch * s->width + t * padded;
}

/* The codes of input i. */
static kfi_activations codes_of(const kfi_side_run *run, size_t i_input, size_t cols)
{
    const kfi_side_space *s = &run->workspace->side;
    const size_t padded = kfi_round_up(cols, KFI_CHUNK_COLS);
    const size_t first = i_input * run->workspace->batch;
    const size_t n_groups = padded / KFI_CHUNK_COLS;
    return (kfi_activations){.n_tokens = run->n_tokens,
                             .cols = cols,
                             .cols_padded = padded,
                             .group = KFI_CHUNK_COLS,
                             .n_groups = n_groups,
                             .codes = s->codes + first * s->width,
                             .scales = s->scales + first * (s->width / KFI_CHUNK_COLS),
                             .sums = s->sums + first * (s->width / KFI_CHUNK_COLS)};
}

static void quantize_row(const kfi_side_run *run, size_t i_input, size_t t, size_t cols)
{
    const kfi_activations a = codes_of(run, i_input, cols);
    run->workspace->kernels->quantize(
        a.codes + t * a.cols_padded, a.scales + t * a.n_groups, a.sums + t * a.n_groups,
        values_of(run, i_input, t, a.cols_padded), cols, &input_quantizer);
}

const float *kfi_side_gather(const kfi_side_run *run, size_t t, float *scratch)
{
    const kfi_side_paths *side = &run->linears[0]->side; /* of all layers: they share it */
    const size_t n = count_outliers(side);
    const float *x = run->x + t * run->cols;
    if (n == 0) {
        return x;
    }
    float *gathered = values_of(run, 0, t, kfi_round_up(n, KFI_CHUNK_COLS));
    for (size_t i = 0; i < n; i++) {
        gathered[i] = x[side->columns[i]];
    }
    if (run->floats == run->x) {
        return x; /* the matrix is 0 there */
    }
    if (run->floats == NULL) {
        quantize_row(run, 0, t, n);
    }
    memcpy(scratch, x, run->cols * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        scratch[side->columns[i]] = 0.0f;
    }
    return scratch;
}

void kfi_side_project(const kfi_side_run *run, const kfi_activations *x, size_t begin, size_t end,
                      void *scratch)
{
    const kfi_kernels *kernels = run->workspace->kernels;
    for (size_t i = 0; i < run->n_linears; i++) {
        const kfi_packed *a = &run->linears[i]->side.low_rank_a;
        if (a->codes == NULL) {
            continue;
        }
        const size_t padded = kfi_round_up(a->rows, KFI_CHUNK_COLS);
        float *values = values_of(run, 1 + i, begin, padded);
        if (run->floats != NULL) {
            const kfi_float_activations some = {end - begin, run->floats + begin * run->cols,
                                                run->cols};
            kernels->matmul_float(values, padded, a, 0, a->n_panels, &some, scratch);
            continue;
        }
        const kfi_activations some = kfi_activations_from(x, begin, end - begin);
        kernels->matmul_int8(values, padded, a, 0, a->n_panels, &some, scratch);
        for (size_t t = begin; t < end; t++) {
            quantize_row(run, 1 + i, t, a->rows);
        }
    }
}

/* ---- panels of tokens ---- */

/* n columns of a token from c on, `step` apart: what its codes stand for, or its floats. The
 * columns share a scale. */
static void spread_columns(float *dst, size_t step, const kfi_side_run *run,
                           const kfi_activations *x, size_t t, size_t c, size_t n)
{
    if (run->floats != NULL) {
        for (size_t i = 0; i < n; i++) {
            dst[i * step] = run->floats[t * run->cols + c + i];
        }
        return;
    }
    const int8_t *codes = x->codes + t * x->cols_padded + c;
    const float scale = x->scales[t * x->n_groups + c / x->group];
    for (size_t i = 0; i < n; i++) {
        dst[i * step] = scale * (float)codes[i];
    }
}

static bool has_sparse(const kfi_side_run *run)
{
    bool has = false;
    for (size_t i = 0; i < run->n_linears; i++) {
        has = has || run->linears[i]->side.sparse.starts != NULL;
    }
    return has;
}

/* A chunk of columns of all tokens at a time: what they write to stays in the first-level cache. */
void kfi_side_spread(const kfi_side_run *run, const kfi_activations *x, size_t begin, size_t end)
{
    const size_t step = run->n_tokens == 1 ? 1 : KFI_TOKEN_PANEL;
    for (size_t c = 0; has_sparse(run) && c < run->cols; c += KFI_CHUNK_COLS) {
        const size_t n = run->cols - c < KFI_CHUNK_COLS ? run->cols - c : KFI_CHUNK_COLS;
        for (size_t t = begin; t < end; t++) {
            float *dst = run->workspace->panels + kfi_token_place(run->n_tokens, run->cols, t);
            spread_columns(dst + c * step, step, run, x, t, c, n);
        }
    }
}

/* ---- products ---- */

static void multiply(float *dst, const kfi_side_run *run, size_t i_input, const kfi_packed *w,
                     void *scratch)
{
    const kfi_kernels *kernels = run->workspace->kernels;
    if (run->floats != NULL) {
        const size_t padded = kfi_round_up(w->cols, KFI_CHUNK_COLS);
        const kfi_float_activations x = {run->n_tokens, values_of(run, i_input, 0, padded), padded};
        kernels->matmul_float(dst, w->rows, w, 0, w->n_panels, &x, scratch);
    } else {
        const kfi_activations x = codes_of(run, i_input, w->cols);
        kernels->matmul_int8(dst, w->rows, w, 0, w->n_panels, &x, scratch);
    }
}

/* y += the product with panels begin … end-1 of w, as many at a time as the buffer holds. */
static void add_product(const kfi_side_run *run, size_t i_input, const kfi_packed *w, float *y,
                        size_t begin, size_t end, size_t i_thread)
{
    const kfi_workspace *workspace = run->workspace;
    const kfi_side_space *s = &workspace->side;
    float *results = s->results + i_thread * s->n_results;
    const size_t step = s->n_results / (KFI_PANEL_ROWS * run->n_tokens);
    if (w->codes == NULL) {
        return;
    }
    for (size_t p = begin; p < end; p += step) {
        const kfi_packed part = kfi_packed_panels(w, p, p + step < end ? p + step : end);
        multiply(results, run, i_input, &part, kfi_workspace_scratch(workspace, i_thread));
        for (size_t t = 0; t < run->n_tokens; t++) {
            workspace->kernels->add(y + t * w->rows + p * KFI_PANEL_ROWS, results + t * part.rows,
                                    part.rows);
        }
    }
}

void kfi_side_add(const kfi_side_run *run, size_t i_linear, float *y, size_t begin, size_t end,
                  size_t i_thread)
{
    const kfi_side_paths *side = &run->linears[i_linear]->side;
    add_product(run, 0, &side->outliers, y, begin, end, i_thread);
    add_product(run, 1 + i_linear, &side->low_rank_b, y, begin, end, i_thread);
    if (side->sparse.starts != NULL) {
        const size_t rows = side->sparse.rows;
        const size_t row_end = end * KFI_PANEL_ROWS < rows ? end * KFI_PANEL_ROWS : rows;
        const kfi_token_panels x = {run->n_tokens, run->cols, run->workspace->panels};
        run->workspace->kernels->matmul_sparse(y, rows, &side->sparse, begin * KFI_PANEL_ROWS,
                                               row_end, &x);
    }
}
