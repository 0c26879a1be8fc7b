/* repair_fixture.h - a layer rounded to the nearest, and what a repair leaves of its error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_REPAIR_FIXTURE_H
#define KERF_TESTS_REPAIR_FIXTURE_H

#include "round_fixture.h"

/* A layer rounded to the nearest, and a pair for it. */
typedef struct repaired {
    round_layer layer;
    kfi_round_job round;
    kfi_repair_job job;
} repaired;

/* The job is set but for its knobs; repaired_deinit(). */
void repaired_init(repaired *r, size_t rows, size_t cols, const char *format, size_t n_tokens,
                   uint64_t seed);
void repaired_deinit(repaired *r);
/* Runs a method of stage repair; iterations: of the methods that have them, or NULL. */
kf_status repaired_by(repaired *r, const char *name, size_t rank, const char *iterations,
                      kf_error *err);
/* P = E - B A in double. */
double *repaired_rest(const repaired *r);
/* tr(P R P^T), R the layer's Gram matrix. */
double repaired_error_of(const double *p, const repaired *r);
double repaired_error(const repaired *r);
/* The output error without a pair, from the codes. */
double rounded_error(const repaired *r);

#endif /* KERF_TESTS_REPAIR_FIXTURE_H */
