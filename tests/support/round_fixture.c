/* round_fixture.c - see round_fixture.h.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "round_fixture.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "check.h"

void round_layer_init(round_layer *l, size_t rows, size_t cols, const char *format, uint64_t seed)
{
    kf_error err = {0};
    *l = (round_layer){.rows = rows, .cols = cols};
    CHECK_OK(kf_format_parse(&l->format, format, &err), &err);
    l->weights = calloc(rows * cols, sizeof *l->weights);
    l->codes = calloc(rows * cols, 1);
    l->grids = calloc(rows * cols, sizeof *l->grids);
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < rows * cols; i++) {
        l->weights[i] = kfi_rng_normal(&rng) * 0.05f;
    }
    const kfi_statistics_request request = {.needs = KFI_NEED_GRAM, .first_token_weight = 1.0};
    CHECK_OK(kfi_statistics_init(&l->statistics, cols, &request, NULL, &err), &err);
}

void round_layer_deinit(round_layer *l)
{
    free(l->weights);
    free(l->codes);
    free(l->grids);
    kfi_statistics_deinit(&l->statistics);
}

/* Tokens whose columns have different sizes and share a few common directions. */
void round_layer_add_tokens(round_layer *l, size_t n, uint64_t seed)
{
    enum {
        DIRECTIONS = 8
    };
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    float *mix = calloc(l->cols * DIRECTIONS, sizeof *mix);
    float *x = calloc(n * l->cols, sizeof *x);
    for (size_t i = 0; i < l->cols * DIRECTIONS; i++) {
        mix[i] = kfi_rng_normal(&rng);
    }
    for (size_t t = 0; t < n; t++) {
        float common[DIRECTIONS];
        for (size_t d = 0; d < DIRECTIONS; d++) {
            common[d] = kfi_rng_normal(&rng);
        }
        for (size_t c = 0; c < l->cols; c++) {
            float value = kfi_rng_normal(&rng) * 0.5f;
            for (size_t d = 0; d < DIRECTIONS; d++) {
                value += common[d] * mix[c * DIRECTIONS + d];
            }
            x[t * l->cols + c] = value * (c % 7 == 0 ? 4.0f : 1.0f);
        }
    }
    kfi_statistics_add(&l->statistics, NULL, x, n);
    kfi_statistics_finish(&l->statistics, NULL);
    free(mix);
    free(x);
}

void round_layer_diagonal_gram(round_layer *l)
{
    for (size_t c = 0; c < l->cols; c++) {
        l->statistics.gram[c * l->cols + c] = 1.0f + (float)(c * 7 % 11);
    }
    l->statistics.weight = 100.0;
}

void round_layer_set(round_layer *l, const kfi_method *method, const char *name, const char *value)
{
    kf_error err = {0};
    const size_t i = kfi_knob_find(method, name, strlen(name));
    assert_true(i < method->about.n_knobs);
    CHECK_OK(kfi_knob_parse(&l->knobs[i], method, i, value, &err), &err);
}

void round_layer_mute(round_layer *l, size_t i)
{
    for (size_t c = 0; c < l->cols; c++) {
        l->statistics.gram[i * l->cols + c] = 0.0f;
        l->statistics.gram[c * l->cols + i] = 0.0f;
    }
}

void round_layer_assert_zero(const round_layer *l, size_t i)
{
    const size_t n_groups = kfi_format_groups(l->format, l->cols);
    const size_t group = kfi_format_group(l->format, l->cols);
    for (size_t r = 0; r < l->rows; r++) {
        assert_true(kfi_grid_decode(&l->grids[r * n_groups + i / group],
                                    kfi_format_levels(l->format, NULL),
                                    l->codes[r * l->cols + i]) == 0.0f); /* exact: a grid's own 0 */
    }
}

const kfi_method *round_method_named(const char *name)
{
    const kfi_method *method = kfi_method_find(name, strlen(name));
    assert_non_null(method);
    return method;
}

kfi_round_job round_layer_job(round_layer *l, kf_pool *pool)
{
    return (kfi_round_job){.weights = l->weights,
                           .rows = l->rows,
                           .cols = l->cols,
                           .format = l->format,
                           .statistics = &l->statistics,
                           .knobs = l->knobs,
                           .pool = pool,
                           .codes = l->codes,
                           .grids = l->grids};
}

/* Rounds by a method with the knobs as they are; returns its loss. */
double round_layer_round(round_layer *l, const kfi_method *method, kf_pool *pool)
{
    kf_error err = {0};
    void *shared = NULL;
    kfi_round_job job = round_layer_job(l, pool);
    if (method->prepare != NULL) {
        CHECK_OK(method->prepare(&shared, &l->statistics, l->knobs, NULL, &err), &err);
    }
    CHECK_OK(method->round(&job, shared, &err), &err);
    memcpy(l->table, job.table, sizeof l->table);
    if (method->release != NULL) {
        method->release(shared, NULL);
    }
    return job.loss;
}

kfi_round_error round_layer_measure(round_layer *l)
{
    kf_error err = {0};
    kfi_round_error error = {0};
    kfi_round_job job = round_layer_job(l, NULL);
    memcpy(job.table, l->table, sizeof job.table);
    CHECK_OK(kfi_round_measure(&error, &job, &err), &err);
    return error;
}

void round_layer_keep(round_layer *l, uint8_t **codes, kfi_grid **grids)
{
    *codes = calloc(l->rows * l->cols, 1);
    *grids = calloc(l->rows * l->cols, sizeof **grids);
    memcpy(*codes, l->codes, l->rows * l->cols);
    memcpy(*grids, l->grids, l->rows * kfi_format_groups(l->format, l->cols) * sizeof **grids);
}

void round_layer_assert_same(const round_layer *l, uint8_t *codes, kfi_grid *grids)
{
    const size_t n_grids = l->rows * kfi_format_groups(l->format, l->cols);
    assert_memory_equal(l->codes, codes, l->rows * l->cols);
    for (size_t i = 0; i < n_grids; i++) {
        assert_true(l->grids[i].scale == grids[i].scale && l->grids[i].zero == grids[i].zero &&
                    l->grids[i].offset == grids[i].offset &&
                    l->grids[i].row_scale == grids[i].row_scale &&
                    l->grids[i].multiplier == grids[i].multiplier);
    }
    free(codes);
    free(grids);
}

/* tr(E H E^T) with H = Gram matrix + damping, in double, column by column. */
double round_layer_direct_loss(const round_layer *l, double damping)
{
    const size_t n = l->cols;
    const size_t group = kfi_format_group(l->format, n);
    const size_t n_groups = kfi_format_groups(l->format, n);
    double mean = 0.0;
    for (size_t c = 0; c < n; c++) {
        mean += (double)l->statistics.gram[c * n + c] / (double)n;
    }
    double *e = calloc(n, sizeof *e);
    double sum = 0.0;
    for (size_t r = 0; r < l->rows; r++) {
        for (size_t c = 0; c < n; c++) {
            const kfi_grid *grid = &l->grids[r * n_groups + c / group];
            e[c] = (double)l->weights[r * n + c] -
                   (double)kfi_grid_decode(grid, kfi_format_levels(l->format, l->table),
                                           l->codes[r * n + c]);
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++) {
                const double h = (double)l->statistics.gram[i * n + j];
                sum += e[i] * (h + (i == j ? damping * mean : 0.0)) * e[j];
            }
        }
    }
    free(e);
    return sum;
}
