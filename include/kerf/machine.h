/* kerf/machine.h - the processor, the kernels chosen for it, and how fast its memory can be read.
 *
 * What a measured speed is to be told with: the same program is a different one on another
 * processor, or under another KERF_ISA.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_MACHINE_H
#define KERF_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include "kerf/alloc.h"
#include "kerf/error.h"
#include "kerf/export.h"
#include "kerf/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Tells what the processor calls itself, "AMD EPYC …"; "unknown" where nothing tells.
 *
 * @param[out] name  NUL-terminated, cut to n - 1 bytes
 * @param      n     bytes of @p name, >= 1
 *
 * Cost: some microseconds. Threads: reentrant.
 */
KF_API void kf_cpu_name(char *name, size_t n);

/**
 * Names the i-th set of instructions that this library knows, which the processor executes and the
 * operating system supports: "avx2", "avxvnni", "avx512vnni", "amx", "neon", "dotprod". KERF_ISA
 * does not change it.
 *
 * @param i  0, 1, …
 * @return static, or NULL past the end
 *
 * Cost: some microseconds. Threads: reentrant.
 */
KF_API const char *kf_cpu_feature(size_t i);

/**
 * Tells which kernels run: of each family of loops the variant that was chosen, once, when kernels
 * were first used. It is the fastest that the processor executes, KERF_ISA allows, and a comparison
 * with plain C found right.
 *
 * @param      i        0, 1, …
 * @param[out] family   "matmul_int8", static; NULL past the end
 * @param[out] variant  "generic" or the name of a set of instructions, static; NULL past the end
 * @return false past the end
 *
 * Cost: the first call chooses, about a millisecond. Threads: reentrant.
 */
KF_API bool kf_kernel_in_use(size_t i, const char **family, const char **variant);

/** A warning from that choice (a dropped kernel, an unknown KERF_ISA), or NULL; static. */
KF_API const char *kf_kernel_warning(void);

/**
 * Measures how fast the threads of a pool together read a buffer of this size: what decoding a
 * token, which reads as many bytes of weights, cannot exceed. A buffer that caches hold is read
 * faster than memory, and so are weights of that size.
 *
 * Each thread sums one part of the buffer with the widest loads of the kernels in use, as often as
 * a fifth of a second needs and five times at least, after once to warm up. The median counts.
 *
 * @param[out] bytes_per_second  the rate
 * @param      pool              borrowed; NULL reads in the calling thread
 * @param      bytes             size of the buffer, > 0; rounded up to 64
 * @param      alloc             of the buffer, borrowed, or NULL
 * @param[out] err               failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_RANGE  no bytes
 * @retval KF_NOMEM  no memory for the buffer
 *
 * Cost: allocates the buffer, in huge pages where the system gives some, writes and reads it;
 * about 0.3 s, more above a few hundred megabytes.
 * Threads: uses the pool. Numerics: a measurement; other work on the machine lowers it.
 */
KF_API KF_NODISCARD kf_status kf_read_bandwidth(double *bytes_per_second, kf_pool *pool,
                                                size_t bytes, const kf_allocator *alloc,
                                                kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_MACHINE_H */
