/* kerf/alloc.h - where an object's memory comes from.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_ALLOC_H
#define KERF_ALLOC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * An allocator with a context, given in the options of an object; NULL means the 64-byte aligned
 * heap.
 *
 * Borrowed: it must outlive every object made with it. It may be called from several threads.
 */
typedef struct kf_allocator {
    /** Returns @p size bytes aligned to @p align (a power of two), or NULL. */
    void *(*alloc)(void *ctx, size_t align, size_t size);
    /** Frees what alloc returned, with the size asked for then; @p ptr is never NULL. */
    void (*free)(void *ctx, void *ptr, size_t size);
    void *ctx; /**< Handed to both. */
} kf_allocator;

#ifdef __cplusplus
}
#endif
#endif /* KERF_ALLOC_H */
