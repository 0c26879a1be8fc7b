/* kerf/pool.h - a fixed set of worker threads, and what machine they run on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_POOL_H
#define KERF_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "kerf/alloc.h"
#include "kerf/error.h"
#include "kerf/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A pool of threads; opaque. */
typedef struct kf_pool kf_pool;

/**
 * Starts a pool of threads that models share.
 *
 * The calling thread takes part in the work, so that n_threads = 1 starts none. Workers spin for
 * some microseconds between two pieces of work and then sleep.
 *
 * @param[out] pool       the pool, returned owned; free with kf_pool_free()
 * @param      n_threads  1..1024, or 0 for kf_cpu_count()
 * @param      alloc      allocator, borrowed, or NULL
 * @param[out] err        failure report, or NULL
 *
 * @retval KF_OK     started
 * @retval KF_RANGE  n_threads above 1024
 * @retval KF_NOMEM  no memory, or the system refused a thread
 *
 * Cost: one thread creation a worker. Threads: a pool runs one piece of work at a time; it may be
 * used from any one thread at a time. Numerics: no result of this library depends on the number of
 * threads.
 *
 * @see kf_pool_free()
 */
KF_API KF_NODISCARD kf_status kf_pool_new(kf_pool **pool, size_t n_threads,
                                          const kf_allocator *alloc, kf_error *err);

/** Ends the workers and frees the pool; NULL is fine. */
KF_API void kf_pool_free(kf_pool *pool);

/** Returns the number of threads that work, the caller's included (>= 1); 1 without a pool. */
KF_API size_t kf_pool_threads(const kf_pool *pool);

/**
 * Counts the CPUs this process may use: its affinity mask and its control group's quota, rounded
 * up.
 *
 * @return at least 1
 *
 * Cost: reads a few small system files. Threads: reentrant.
 */
KF_API size_t kf_cpu_count(void);

/**
 * Tells how much memory this process may still take: the least of what the system has available and
 * what its control group allows.
 *
 * @return bytes, or UINT64_MAX when nothing is known
 *
 * Cost: reads a few small system files. Threads: reentrant.
 */
KF_API uint64_t kf_memory_available(void);

/** Returns the peak resident memory of this process in bytes, or 0 when not known. */
KF_API uint64_t kf_memory_peak(void);

#ifdef __cplusplus
}
#endif
#endif /* KERF_POOL_H */
