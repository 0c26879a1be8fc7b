/* fixtures.c - what tests stand on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "fixtures.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

const char *fixture_model(void)
{
    const char *path = getenv("KERF_TEST_MODEL");
    return path != NULL && path[0] != '\0' && access(path, R_OK) == 0 ? path : NULL;
}

const char *fixture_qwen(void)
{
    static char path[4096];
    const char *given = getenv("KERF_TEST_QWEN");
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    const bool has_cache = cache != NULL && cache[0] != '\0';
    (void)snprintf(path, sizeof path, "%s%s/kerf/models/qwen2.5-coder-0.5b-instruct.gguf",
                   has_cache      ? cache
                   : home != NULL ? home
                                  : "",
                   has_cache ? "" : "/.cache");
    if (given != NULL && given[0] != '\0') {
        (void)snprintf(path, sizeof path, "%s", given);
    }
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *fixture_data(const char *relative)
{
    static char path[4096];
    const char *data = getenv("KERF_DATA");
    const char *source = getenv("KERF_SOURCE_ROOT");
    if (data != NULL && data[0] != '\0') {
        (void)snprintf(path, sizeof path, "%s/%s", data, relative);
    } else {
        (void)snprintf(path, sizeof path, "%s/../shared/data/%s", source != NULL ? source : ".",
                       relative);
    }
    return access(path, R_OK) == 0 ? path : NULL;
}

char *fixture_directory_new(void)
{
    const char *base = getenv("TMPDIR");
    char *path =
        kfi_path_join(NULL, base != NULL && base[0] != '\0' ? base : "/tmp", "kerf-test-XXXXXX");
    if (path == NULL || mkdtemp(path) == NULL) {
        perror("temporary directory");
        abort();
    }
    return path;
}

void fixture_directory_free(char *directory)
{
    kf_error err = {0};
    if (kfi_file_remove_tree(directory, &err) != KF_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    kfi_free_text(NULL, directory);
}

int fixture_directory_set_up(void **state)
{
    *state = fixture_directory_new();
    return 0;
}

int fixture_directory_tear_down(void **state)
{
    fixture_directory_free(*state);
    return 0;
}

/* In front of each block: the size asked for. One alignment unit, so that the block stays aligned.
 */
#define HEADER_BYTES KFI_ALIGN

static void keep_most(atomic_size_t *most, size_t value)
{
    size_t before = atomic_load(most);
    while (before < value && !atomic_compare_exchange_weak(most, &before, value)) {
    }
}

static void *counted_alloc(void *ctx, size_t align, size_t size)
{
    fixture_allocator *a = ctx;
    const size_t n_call = atomic_fetch_add(&a->n_calls, 1) + 1;
    if ((a->fail_at != 0 && n_call >= a->fail_at) || align > KFI_ALIGN ||
        size > SIZE_MAX - HEADER_BYTES) {
        return NULL;
    }
    unsigned char *block = kfi_alloc(NULL, size + HEADER_BYTES);
    if (block == NULL) {
        return NULL;
    }
    memcpy(block, &size, sizeof size);
    atomic_fetch_add(&a->n_live, 1);
    keep_most(&a->n_most, atomic_fetch_add(&a->n_bytes, size) + size);
    return block + HEADER_BYTES;
}

static void counted_free(void *ctx, void *ptr, size_t size)
{
    fixture_allocator *a = ctx;
    unsigned char *block = (unsigned char *)ptr - HEADER_BYTES;
    size_t asked = 0;
    memcpy(&asked, block, sizeof asked);
    if (asked != size) {
        atomic_fetch_add(&a->n_wrong, 1);
    }
    atomic_fetch_sub(&a->n_live, 1);
    atomic_fetch_sub(&a->n_bytes, asked);
    kfi_free(NULL, block, asked + HEADER_BYTES);
}

void fixture_allocator_init(fixture_allocator *a, size_t fail_at)
{
    memset(a, 0, sizeof *a);
    a->allocator = (kf_allocator){.alloc = counted_alloc, .free = counted_free, .ctx = a};
    a->fail_at = fail_at;
}

bool fixture_allocator_is_clean(const fixture_allocator *a)
{
    return a->n_live == 0 && a->n_bytes == 0 && a->n_wrong == 0;
}
