/* pull_fixture.h - a server, a cache and an environment of their own, for tests of kf_pull.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_PULL_FIXTURE_H
#define KERF_TESTS_PULL_FIXTURE_H

#include "http_server.h"
#include "kerf/pull.h"

typedef struct pull_fixture {
    http_server *server;
    char *cache; /* a directory of its own */
    char path[4096];
    kf_error err;
    char warning[512]; /* the last one */
    kf_callbacks callbacks;
    const kf_allocator *alloc;
} pull_fixture;

/* For cmocka: the user's own settings don't reach the test. */
int pull_fixture_set_up(void **state);
int pull_fixture_tear_down(void **state);

/* Starts the server and makes it package index and model hub. */
void pull_fixture_start(pull_fixture *f, const http_reply *replies, size_t n_replies);
#define PULL_START(f, replies)                                                                     \
    pull_fixture_start((f), (replies), sizeof(replies) / sizeof((replies)[0]))

/* kf_pull without patience: two attempts, no pause. */
kf_status pull_fixture_run(pull_fixture *f, const char *name);

/* Fails the test unless the path ends so, and the file holds text (NULL: a directory). */
void pull_fixture_check_path(pull_fixture *f, const char *end, const char *text);
/* Fails the test unless a file of the cache holds text. */
void pull_fixture_check_file(pull_fixture *f, const char *relative, const char *text);
/* Fails the test unless the report has this in it. */
void pull_fixture_check_message(const pull_fixture *f, const char *part);
bool pull_fixture_exists(const pull_fixture *f, const char *relative);

#endif /* KERF_TESTS_PULL_FIXTURE_H */
