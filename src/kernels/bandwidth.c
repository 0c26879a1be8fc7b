/* bandwidth.c - how fast the threads of a pool read memory.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/quantile.h"
#include "base/threads.h"
#include "kerf/machine.h"
#include "kernels/kernels.h"

#define LEAST_PASSES 5
#define MOST_PASSES  1001
#define SECONDS      0.2

/* Pieces a thread: one that another process interrupts does not keep the others waiting. */
#define PIECES_PER_THREAD 4

typedef struct reading {
    uint8_t *bytes;
    kfi_split split; /* of lines */
} reading;

static void touch_piece(void *ctx, size_t i_item, size_t i_thread)
{
    const reading *r = ctx;
    const size_t begin = kfi_split_begin(&r->split, i_item);
    const size_t end = kfi_split_begin(&r->split, i_item + 1);
    (void)i_thread;
    memset(r->bytes + begin * KFI_LINE_BYTES, 1, (end - begin) * KFI_LINE_BYTES);
}

static void read_piece(void *ctx, size_t i_item, size_t i_thread)
{
    const reading *r = ctx;
    const size_t begin = kfi_split_begin(&r->split, i_item);
    const size_t end = kfi_split_begin(&r->split, i_item + 1);
    (void)i_thread;
    (void)kfi_kernels_get()->sum_lines(r->bytes + begin * KFI_LINE_BYTES, end - begin);
}

static double time_pass(reading *r, kf_pool *pool)
{
    const double started = kfi_clock_seconds();
    kfi_pool_run(pool, read_piece, r, r->split.n_pieces);
    return kfi_clock_seconds() - started;
}

/* Seconds of the median pass. */
static double time_passes(reading *r, kf_pool *pool)
{
    double seconds[MOST_PASSES];
    double total = 0.0;
    size_t n = 0;
    (void)time_pass(r, pool);
    while (n < LEAST_PASSES || (total < SECONDS && n < MOST_PASSES)) {
        seconds[n] = time_pass(r, pool);
        total += seconds[n++];
    }
    return kfi_quantile(seconds, n, 0.5);
}

kf_status kf_read_bandwidth(double *bytes_per_second, kf_pool *pool, size_t bytes,
                            const kf_allocator *alloc, kf_error *err)
{
    *bytes_per_second = 0.0;
    if (bytes == 0 || bytes > SIZE_MAX - KFI_LINE_BYTES) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "a buffer of %zu bytes to read", bytes);
    }
    const size_t n_lines = kfi_round_up(bytes, KFI_LINE_BYTES) / KFI_LINE_BYTES;
    reading r = {.bytes = kfi_alloc_streamed(alloc, n_lines * KFI_LINE_BYTES),
                 .split = kfi_split_make(pool, n_lines, 1, PIECES_PER_THREAD)};
    if (r.bytes == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to read, %zu bytes", bytes);
    }
    kfi_pool_run(pool, touch_piece, &r, r.split.n_pieces);
    *bytes_per_second = (double)(n_lines * KFI_LINE_BYTES) / time_passes(&r, pool);
    kfi_free(alloc, r.bytes, n_lines * KFI_LINE_BYTES);
    return KF_OK;
}
