/* threads.h - work split over a pool.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_THREADS_H
#define KFI_BASE_THREADS_H

#include <stddef.h>

#include "kerf/pool.h"

/* One piece of work: item i of n, run by worker i_thread (0 … threads-1, to choose a workspace). */
typedef void kfi_task(void *ctx, size_t i_item, size_t i_thread);

/* Runs task for i_item = 0 … n_items-1 and returns when all are done. Items are handed out one by
 * one in ascending order, so that uneven ones balance; which thread runs an item must not change
 * any result. Never allocates. pool NULL runs them here. A task must not call kfi_pool_run on the
 * same pool. */
void kfi_pool_run(kf_pool *pool, kfi_task *task, void *ctx, size_t n_items);

/* Splits n units into pieces that are a multiple of quantum, about pieces_per_thread a thread; the
 * range of piece i is [kfi_split_begin(i), kfi_split_begin(i+1)). Only for work whose result does
 * not depend on the split. */
typedef struct kfi_split {
    size_t n, quantum, n_pieces;
} kfi_split;
kfi_split kfi_split_make(const kf_pool *pool, size_t n, size_t quantum, size_t pieces_per_thread);
size_t kfi_split_begin(const kfi_split *split, size_t i_piece);

#endif /* KFI_BASE_THREADS_H */
