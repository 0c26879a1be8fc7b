/* machine_limits.h - what this machine gives at most, measured in the run that is compared with it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_BENCH_MACHINE_LIMITS_H
#define KERF_BENCH_MACHINE_LIMITS_H

#include "base/threads.h"

/* What is read: beyond any cache, and as much as the benchmark of a kernel walks through. */
#define MACHINE_READ_BYTES ((size_t)256 << 20)

typedef struct machine_limits {
    double read_bytes;       /* a second, from memory beyond the caches */
    double int8_operations;  /* a second: 2 a product of the widest integer dot product in use */
    double float_operations; /* a second: 2 a fused multiply-add */
} machine_limits;

/* Measures with all threads of the pool; ends the program where that is not possible. Operations
 * are 0 where there is no loop for the instructions. Cost: about half a second. */
machine_limits machine_limits_measure(kf_pool *pool);

/* Least seconds for reading so many bytes and for so many operations, of which the machine does
 * `rate` a second; 0: not known, and no limit. */
double machine_least_seconds(const machine_limits *limits, double bytes, double operations,
                             double rate);

#endif /* KERF_BENCH_MACHINE_LIMITS_H */
