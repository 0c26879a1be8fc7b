/* quantease_exchange.c - QuantEase's exchanges of the weights that stay in 16 bits; quantease.c
 * tells what they are for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>

#include "base/half.h"
#include "linalg/matrix.h"
#include "quantize/round/quantease_descent.h"

/* What happens to f = tr(D H D^T) where one weight of a row changes. */
typedef struct change {
    size_t col;
    float d;    /* D becomes larger by this */
    float loss; /* f becomes larger by this */
    uint8_t code;
} change;

static float loss_of(float d, float product, float h)
{
    return d * (2.0f * product + d * h);
}

/* A weight outside of S comes in: its value is the best one. product: a row of D H. */
static change enter(const kfi_descent *run, const float *product, size_t c)
{
    const float h = run->gram[c * run->job->cols + c] + run->lambda;
    const float d = h > 0.0f ? -kfi_half_to_float(kfi_sparse_half(product[c] / h)) : 0.0f;
    return (change){.col = c, .d = d, .loss = loss_of(d, product[c], h)};
}

/* One of S goes back to the grid. d: a row of D. */
static change leave(const kfi_descent *run, size_t row, const float *d, const float *product,
                    size_t c)
{
    const kfi_round_job *job = run->job;
    const size_t i = row * job->cols + c;
    const kfi_grid *grid = &job->grids[row * run->n_groups + c / run->group];
    const float h = run->gram[c * job->cols + c] + run->lambda;
    const float value = run->weights[i] - d[c];
    const float beta = h > 0.0f ? value + product[c] / h : 0.0f;
    change back = {.col = c, .code = kfi_grid_encode(grid, run->levels, beta)};
    back.d = value - kfi_grid_decode(grid, run->levels, back.code);
    back.loss = loss_of(back.d, product[c], h);
    return back;
}

/* The best that can come in or go out; col is cols where there is none. */
static change find_best(const kfi_descent *run, size_t row, const float *d, const float *product,
                        bool of_sparse)
{
    const size_t cols = run->job->cols;
    change best = {.col = cols, .loss = (float)INFINITY};
    for (size_t c = 0; c < cols; c++) {
        if (kfi_descent_is_sparse(run, row * cols + c) == of_sparse) {
            const change one = of_sparse ? leave(run, row, d, product, c) : enter(run, product, c);
            best = one.loss < best.loss ? one : best;
        }
    }
    return best;
}

static void apply(const kfi_descent *run, float *d, float *product, const change *c)
{
    const size_t cols = run->job->cols;
    const float *h = run->gram + c->col * cols;
    for (size_t k = 0; k < cols; k++) {
        product[k] += c->d * h[k];
    }
    product[c->col] += c->d * run->lambda;
    d[c->col] += c->d;
}

/* Exchanges the best two where f falls by a part of what it gains; returns whether it did. */
static bool exchange_once(const kfi_descent *run, size_t row, float *d, float *product)
{
    const size_t cols = run->job->cols;
    const change out = find_best(run, row, d, product, true);
    const change in = find_best(run, row, d, product, false);
    if (out.col == cols || in.col == cols) {
        return false;
    }
    const float both = 2.0f * in.d * out.d * run->gram[in.col * cols + out.col];
    if (!(in.loss + out.loss + both < 1e-3f * in.loss)) {
        return false;
    }
    run->job->codes[row * cols + out.col] = out.code;
    run->job->sparse.marks[row * cols + out.col] = 0;
    run->job->sparse.marks[row * cols + in.col] = 1;
    apply(run, d, product, &out);
    apply(run, d, product, &in);
    return true;
}

void kfi_descent_exchange(const kfi_descent *run, kfi_descent_tile *tile)
{
    const size_t cols = run->job->cols;
    const kfi_gemm of_errors = {.kind = KFI_GEMM_NN,
                                .m = tile->n,
                                .n = cols,
                                .k = cols,
                                .a = tile->d,
                                .ld_a = cols,
                                .b = run->gram,
                                .ld_b = cols,
                                .c = tile->all,
                                .ld_c = cols};
    kfi_matrix_multiply(NULL, &of_errors);
    tile->exchanges = false;
    for (size_t r = 0; r < tile->n; r++) {
        float *d = tile->d + r * cols;
        float *product = tile->all + r * cols;
        for (size_t c = 0; c < cols; c++) {
            product[c] += run->lambda * d[c];
        }
        for (size_t k = 0; k < cols && exchange_once(run, tile->first + r, d, product); k++) {
            tile->exchanges = true;
        }
    }
}
