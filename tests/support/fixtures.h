/* fixtures.h - what tests stand on: the real model and data where they exist, a directory of their
 * own, and an allocator that fails when told.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_FIXTURES_H
#define KERF_TESTS_FIXTURES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "kerf/alloc.h"

/* The default model as a GGUF: $KERF_TEST_MODEL, which ./dev test sets; NULL when there is none. */
const char *fixture_model(void);

/* The Qwen2 model that tools/fetch_qwen.sh brings ($KERF_TEST_QWEN, or in the cache), or NULL. */
const char *fixture_qwen(void);

/* A file of the evaluation data: $KERF_DATA/relative, by default ../shared/data beside the source;
 * NULL when it is not there. The string is static and overwritten by the next call. */
const char *fixture_data(const char *relative);

/* Ends a cmocka test as skipped, with a line that says why, where what is NULL. */
#define SKIP_WITHOUT(what, name)                                                                   \
    do {                                                                                           \
        if ((what) == NULL) {                                                                      \
            print_message("skipped: %s is not there\n", (name));                                   \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

/* Makes an empty directory under $TMPDIR or /tmp; the caller frees it with
 * fixture_directory_free(), which removes all that is in it. Aborts the test on failure. */
char *fixture_directory_new(void);
void fixture_directory_free(char *directory);

/* A cmocka test whose state is such a directory, a char *. */
#define IN_DIRECTORY(test)                                                                         \
    cmocka_unit_test_setup_teardown(test, fixture_directory_set_up, fixture_directory_tear_down)
int fixture_directory_set_up(void **state);
int fixture_directory_tear_down(void **state);

/* An allocator that counts what is live and fails on the n-th allocation (counted from 1; 0 never
 * fails). Use &a.allocator. Blocks are also checked against the size that is freed. */
typedef struct fixture_allocator {
    kf_allocator allocator;
    atomic_size_t n_calls; /* allocations asked for so far */
    size_t fail_at;        /* this one returns NULL, and all later ones too */
    atomic_size_t n_live;  /* blocks not freed */
    atomic_size_t n_bytes; /* bytes not freed */
    atomic_size_t n_most;  /* the most that they were at any time */
    atomic_size_t n_wrong; /* frees with another size than was asked for */
} fixture_allocator;

void fixture_allocator_init(fixture_allocator *a, size_t fail_at);
/* Nothing leaked and every free named its size. */
bool fixture_allocator_is_clean(const fixture_allocator *a);

#endif /* KERF_TESTS_FIXTURES_H */
