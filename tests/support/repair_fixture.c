/* repair_fixture.c - a layer rounded to the nearest, and what a repair leaves of its error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "repair_fixture.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "fixtures.h"
#include "round_fixture.h"

void repaired_init(repaired *r, size_t rows, size_t cols, const char *format, size_t n_tokens,
                   uint64_t seed)
{
    kf_error err = {0};
    const kfi_method *rtn = round_method_named("rtn");
    round_layer_init(&r->layer, rows, cols, format, seed);
    round_layer_add_tokens(&r->layer, n_tokens, seed + 1000);
    r->layer.statistics.abs_sum = calloc(cols, sizeof(double));
    for (size_t c = 0; c < cols; c++) { /* of a normal distribution */
        const double square = (double)r->layer.statistics.gram[c * cols + c];
        r->layer.statistics.abs_sum[c] = 0.8 * sqrt(square * (double)n_tokens);
    }
    kfi_knobs_default(r->layer.knobs, rtn);
    r->round = round_layer_job(&r->layer, NULL);
    CHECK_OK(rtn->round(&r->round, NULL, &err), &err);
    r->job = (kfi_repair_job){.round = &r->round, .method = rtn};
    r->job.error = calloc(rows * cols, sizeof(float));
    kfi_round_error_rows(r->job.error, &r->round, 0, rows);
}

static void free_pair(repaired *r)
{
    free(r->job.a);
    free(r->job.b);
    free(r->job.energy);
}

void repaired_deinit(repaired *r)
{
    free_pair(r);
    free(r->job.error);
    free(r->layer.statistics.abs_sum);
    r->layer.statistics.abs_sum = NULL;
    round_layer_deinit(&r->layer);
}

kf_status repaired_by(repaired *r, const char *name, size_t rank, const char *iterations,
                      kf_error *err)
{
    const kfi_method *method = round_method_named(name);
    static double knobs[KFI_KNOBS_MAX];
    kfi_knobs_default(knobs, method);
    if (iterations != NULL) {
        CHECK_OK(
            kfi_knob_parse(&knobs[KFI_REPAIR_N_KNOBS], method, KFI_REPAIR_N_KNOBS, iterations, err),
            err);
    }
    free_pair(r);
    r->job.knobs = knobs;
    r->job.rank = rank;
    r->job.a = calloc(rank * r->layer.cols, sizeof(float));
    r->job.b = calloc(rank * r->layer.rows, sizeof(float));
    r->job.energy = calloc(rank, sizeof(double));
    return method->repair(&r->job, err);
}

double *repaired_rest(const repaired *r)
{
    const size_t rows = r->layer.rows;
    const size_t cols = r->layer.cols;
    const size_t rank = r->job.rank;
    double *p = calloc(rows * cols, sizeof *p);
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            double sum = (double)r->job.error[i * cols + c];
            for (size_t k = 0; k < rank; k++) {
                sum -= (double)r->job.b[i * rank + k] * (double)r->job.a[k * cols + c];
            }
            p[i * cols + c] = sum;
        }
    }
    return p;
}

double repaired_error_of(const double *p, const repaired *r)
{
    const size_t cols = r->layer.cols;
    double sum = 0.0;
    for (size_t i = 0; i < r->layer.rows; i++) {
        for (size_t c = 0; c < cols; c++) {
            double product = 0.0;
            for (size_t j = 0; j < cols; j++) {
                product += p[i * cols + j] * (double)r->layer.statistics.gram[j * cols + c];
            }
            sum += product * p[i * cols + c];
        }
    }
    return sum;
}

double repaired_error(const repaired *r)
{
    double *p = repaired_rest(r);
    const double error = repaired_error_of(p, r);
    free(p);
    return error;
}

double rounded_error(const repaired *r)
{
    return round_layer_direct_loss(&r->layer, 0.0);
}
