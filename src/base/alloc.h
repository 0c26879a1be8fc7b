/* alloc.h - memory of the library: the allocator's front, checked sizes, arenas.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_ALLOC_H
#define KFI_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#include "kerf/alloc.h"
#include "kerf/error.h"

/* Every block is aligned to this: one cache line, one zmm register. */
#define KFI_ALIGN 64u

/* Returns 64-byte aligned memory, not cleared, or NULL. size 0 gives a block of one byte. alloc may
 * be NULL. */
void *kfi_alloc(const kf_allocator *alloc, size_t size);

/* The same, cleared, of n elements of the given size; NULL also where the product overflows. */
void *kfi_calloc(const kf_allocator *alloc, size_t n, size_t size);

/* As kfi_alloc(), for large blocks that are read from end to end again and again, as weights are:
 * without an allocator of the caller's, the system is asked for huge pages, which it reads a few
 * percent faster. Not for blocks of which only parts are used. */
void *kfi_alloc_streamed(const kf_allocator *alloc, size_t size);

/* Frees what kfi_alloc, kfi_alloc_streamed or kfi_calloc returned; size is that of the block (n
 * times size). NULL is fine. */
void kfi_free(const kf_allocator *alloc, void *ptr, size_t size);

/* Texts: each is a string in a block of just its size, returned owned for kfi_free_text, or NULL
 * without memory. kfi_strndup copies n bytes; kfi_concat puts suffix behind them. */
char *kfi_strndup(const kf_allocator *alloc, const char *text, size_t n);
char *kfi_concat(const kf_allocator *alloc, const char *text, size_t n, const char *suffix);
/* NULL is fine. */
void kfi_free_text(const kf_allocator *alloc, char *text);

/* Checked size arithmetic: false when the result does not fit, and *result is then unchanged. */
static inline bool kfi_mul_size(size_t a, size_t b, size_t *result)
{
    size_t r = 0;
    if (__builtin_mul_overflow(a, b, &r)) {
        return false;
    }
    *result = r;
    return true;
}

static inline bool kfi_add_size(size_t a, size_t b, size_t *result)
{
    size_t r = 0;
    if (__builtin_add_overflow(a, b, &r)) {
        return false;
    }
    *result = r;
    return true;
}

/* Rounds up to a multiple; the caller guarantees that it fits. */
static inline size_t kfi_round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

static inline size_t kfi_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* An arena: many small blocks freed in one call. Blocks come from chunks that double up to 1 MiB.
 */
typedef struct kfi_arena_chunk kfi_arena_chunk;

typedef struct kfi_arena {
    const kf_allocator *alloc;
    kfi_arena_chunk *chunks;
    size_t used;      /* bytes taken of the newest chunk */
    size_t total;     /* bytes of all chunks */
    size_t max_total; /* a ceiling for total: hostile input cannot ask for more */
} kfi_arena;

/* Prepares an empty arena; nothing is allocated before the first block. */
void kfi_arena_init(kfi_arena *arena, const kf_allocator *alloc, size_t max_total);

/* Returns a block aligned to align (a power of two up to 64), or NULL without memory or above the
 * ceiling. */
void *kfi_arena_alloc(kfi_arena *arena, size_t align, size_t size);

/* Copies a string of n bytes and a NUL into the arena. */
char *kfi_arena_strndup(kfi_arena *arena, const char *text, size_t n);

/* Frees every block; the arena may be used again. */
void kfi_arena_deinit(kfi_arena *arena);

#endif /* KFI_BASE_ALLOC_H */
