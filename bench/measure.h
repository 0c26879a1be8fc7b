/* measure.h - what the programs here share: their options, the clock, one pass a number of threads.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_BENCH_MEASURE_H
#define KERF_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/rng.h"
#include "kerf/pool.h"

typedef struct options {
    const char *program;
    bool json;
    const char *word; /* NULL: all */
} options;

/* Reads "[--json] [WORD]"; ends the program with a line of usage where it is something else. */
options options_read(int argc, char **argv, const char *program);

/* Whether what is called so is to be measured. */
bool is_wanted(const options *o, const char *name);

/* The block; ends the program where it is NULL. */
void *must(void *block);
/* The same where a call failed. */
void must_succeed(kf_status status, const kf_error *err);

/* Numbers of -1 … 1; kfi_free(NULL, …). */
float *random_floats(size_t n, kfi_rng *rng);

/* Seconds of one call of work: enough calls for 40 ms, best of so many rounds. */
double seconds_of(void (*work)(void *ctx), void *ctx, int rounds);

/* Runs a pass with one thread, and with all of them; returns the exit code. */
int measure_passes(const options *o, void (*pass)(const options *o, kf_pool *pool));

#endif /* KERF_BENCH_MEASURE_H */
