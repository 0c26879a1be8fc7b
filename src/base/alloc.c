/* alloc.c - memory of the library: the allocator's front and arenas.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/alloc.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Smaller blocks of malloc() lie among others, which huge pages are not asked for. */
#define STREAMED_LEAST    ((size_t)1 << 20)
#define ARENA_FIRST_CHUNK ((size_t)4096)
#define ARENA_LAST_CHUNK  ((size_t)1 << 20)

struct kfi_arena_chunk {
    kfi_arena_chunk *next;
    size_t size; /* bytes of the whole block, this header included */
};

void *kfi_alloc(const kf_allocator *alloc, size_t size)
{
    if (size == 0) {
        size = 1;
    }
    if (alloc != NULL) {
        return alloc->alloc(alloc->ctx, KFI_ALIGN, size);
    }
    if (size > SIZE_MAX - KFI_ALIGN) {
        return NULL;
    }
    return aligned_alloc(KFI_ALIGN, kfi_round_up(size, KFI_ALIGN));
}

void *kfi_alloc_streamed(const kf_allocator *alloc, size_t size)
{
    void *ptr = kfi_alloc(alloc, size);
    if (ptr == NULL || alloc != NULL || size < STREAMED_LEAST) {
        return ptr;
    }
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const size_t before = (size_t)((page - (uintptr_t)ptr % page) % page);
    /* A hint: may fail. */
    (void)madvise((uint8_t *)ptr + before, (size - before) / page * page, MADV_HUGEPAGE);
    return ptr;
}

void *kfi_calloc(const kf_allocator *alloc, size_t n, size_t size)
{
    size_t bytes = 0;
    if (!kfi_mul_size(n, size, &bytes)) {
        return NULL;
    }
    void *ptr = kfi_alloc(alloc, bytes);
    if (ptr != NULL) {
        memset(ptr, 0, bytes);
    }
    return ptr;
}

void kfi_free(const kf_allocator *alloc, void *ptr, size_t size)
{
    if (ptr == NULL) {
        return;
    }
    if (alloc != NULL) {
        alloc->free(alloc->ctx, ptr, size == 0 ? 1 : size);
        return;
    }
    free(ptr);
}

char *kfi_strndup(const kf_allocator *alloc, const char *text, size_t n)
{
    return kfi_concat(alloc, text, n, "");
}

char *kfi_concat(const kf_allocator *alloc, const char *text, size_t n, const char *suffix)
{
    const size_t n_suffix = strlen(suffix) + 1;
    size_t bytes = 0;
    if (!kfi_add_size(n, n_suffix, &bytes)) {
        return NULL;
    }
    char *joined = kfi_alloc(alloc, bytes);
    if (joined != NULL) {
        memcpy(joined, text, n);
        memcpy(joined + n, suffix, n_suffix);
    }
    return joined;
}

void kfi_free_text(const kf_allocator *alloc, char *text)
{
    if (text != NULL) {
        kfi_free(alloc, text, strlen(text) + 1);
    }
}

void kfi_arena_init(kfi_arena *arena, const kf_allocator *alloc, size_t max_total)
{
    *arena = (kfi_arena){.alloc = alloc, .max_total = max_total};
}

/* Adds a chunk that holds at least size bytes behind its header. */
static bool arena_grow(kfi_arena *arena, size_t size)
{
    size_t chunk_size = arena->chunks == NULL ? ARENA_FIRST_CHUNK : 2 * arena->chunks->size;
    if (chunk_size > ARENA_LAST_CHUNK) {
        chunk_size = ARENA_LAST_CHUNK;
    }
    size_t needed = 0;
    if (!kfi_add_size(size, KFI_ALIGN, &needed)) {
        return false;
    }
    if (chunk_size < needed) {
        chunk_size = needed;
    }
    if (chunk_size > arena->max_total - arena->total) {
        chunk_size = needed;
    }
    if (chunk_size > arena->max_total - arena->total) {
        return false;
    }
    kfi_arena_chunk *chunk = kfi_alloc(arena->alloc, chunk_size);
    if (chunk == NULL) {
        return false;
    }
    chunk->next = arena->chunks;
    chunk->size = chunk_size;
    arena->chunks = chunk;
    arena->used = KFI_ALIGN;
    arena->total += chunk_size;
    return true;
}

void *kfi_arena_alloc(kfi_arena *arena, size_t align, size_t size)
{
    assert(align > 0 && align <= KFI_ALIGN && (align & (align - 1)) == 0);
    if (arena->chunks != NULL) {
        const size_t start = kfi_round_up(arena->used, align);
        if (start <= arena->chunks->size && size <= arena->chunks->size - start) {
            arena->used = start + size;
            return (char *)arena->chunks + start;
        }
    }
    if (!arena_grow(arena, size)) {
        return NULL;
    }
    void *ptr = (char *)arena->chunks + arena->used;
    arena->used += size;
    return ptr;
}

char *kfi_arena_strndup(kfi_arena *arena, const char *text, size_t n)
{
    size_t bytes = 0;
    if (!kfi_add_size(n, 1, &bytes)) {
        return NULL;
    }
    char *copy = kfi_arena_alloc(arena, 1, bytes);
    if (copy != NULL) {
        memcpy(copy, text, n);
        copy[n] = '\0';
    }
    return copy;
}

void kfi_arena_deinit(kfi_arena *arena)
{
    kfi_arena_chunk *chunk = arena->chunks;
    while (chunk != NULL) {
        kfi_arena_chunk *next = chunk->next;
        kfi_free(arena->alloc, chunk, chunk->size);
        chunk = next;
    }
    kfi_arena_init(arena, arena->alloc, arena->max_total);
}
