/* bundle.h - the files of one directory in one input, for readers that open paths.
 *
 *     --- config.json\n  BYTES  \n--- model.safetensors\n  BYTES  …
 *
 * A file begins behind a line that names it and ends in front of the next such line, so that bytes
 * put in or taken out move nothing else. Only names that the target lists are written: no input
 * chooses a path.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_FUZZ_BUNDLE_H
#define KERF_FUZZ_BUNDLE_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "walk_tensors.h"

#define BUNDLE_MARK   "\n--- "
#define BUNDLE_NAMES  8u
#define BUNDLE_PREFIX "kerf-bundle-"
#define BUNDLE_TRIES  16u

/* Empty until bundle_path() makes it, and which names the last bundle had. */
static char bundle_directory[64];
static uint32_t bundle_there;

static inline void bundle_remove(void)
{
    (void)!kfi_file_remove_tree(bundle_directory, NULL);
}

/* Removes the directory of a target that crashed or was killed: nobody holds its lock. */
static inline kf_status bundle_sweep(void *ctx, const char *name, kf_error *err)
{
    char path[512];
    int fd = -1;
    (void)err;
    if (strncmp(name, BUNDLE_PREFIX, sizeof BUNDLE_PREFIX - 1) != 0) {
        return KF_OK;
    }
    (void)snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    if (kfi_file_lock_directory(&fd, path, NULL) == KF_OK) {
        (void)!kfi_file_remove_tree(path, NULL);
    }
    kfi_file_unlock(fd);
    return KF_OK;
}

/* Locked until this process ends, however it does. Another one's sweep may come in between making
 * and locking; then the directory is gone, and the next one is tried. */
static inline void bundle_make(void)
{
    char memory[] = "/dev/shm";
    char disk[] = "/tmp";
    char *base = access(memory, W_OK) == 0 ? memory : disk;
    int lock = -1;
    (void)!kfi_file_list(base, bundle_sweep, base, NULL);
    for (unsigned i = 0; i < BUNDLE_TRIES && lock < 0; i++) {
        (void)snprintf(bundle_directory, sizeof bundle_directory, "%s/" BUNDLE_PREFIX "XXXXXX",
                       base);
        require(mkdtemp(bundle_directory) != NULL);
        (void)!kfi_file_lock_directory(&lock, bundle_directory, NULL);
    }
    require(lock >= 0 && atexit(bundle_remove) == 0);
}

/* DIRECTORY/name, or the directory itself where name is "". The directory is this process's own,
 * in memory where there is such a place, and is removed at the end. */
static inline void bundle_path(char dst[256], const char *name)
{
    if (bundle_directory[0] == '\0') {
        bundle_make();
    }
    (void)snprintf(dst, 256, "%s%s%s", bundle_directory, name[0] == '\0' ? "" : "/", name);
}

/* Without the sync of kfi_file_write(): ten thousand of them would take minutes. */
static inline void bundle_write(const char *name, const void *data, size_t n)
{
    char path[256];
    bundle_path(path, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    require(close(fd) == 0);
}

/* Index of the file that the line of n bytes names, or BUNDLE_NAMES. */
static inline size_t bundle_find(const char *const names[BUNDLE_NAMES], const char *line, size_t n)
{
    size_t i = 0;
    while (i < BUNDLE_NAMES &&
           (names[i] == NULL || strlen(names[i]) != n || memcmp(names[i], line, n) != 0)) {
        i++;
    }
    return i;
}

/* Writes the files of a bundle and removes those that it lacks. Bit i of the result: names[i] is
 * there. */
static inline uint32_t bundle_unpack(const char *const names[BUNDLE_NAMES], const void *data,
                                     size_t n)
{
    const size_t n_mark = sizeof BUNDLE_MARK - 1;
    const char *at = data;
    const char *end = at + n;
    uint32_t found = 0;
    /* The first file's line begins the input. */
    at += n >= n_mark - 1 && memcmp(at, &BUNDLE_MARK[1], n_mark - 1) == 0 ? n_mark - 1 : n;
    while (at < end) {
        const char *body = memchr(at, '\n', (size_t)(end - at));
        body = body == NULL ? end : body;
        const char *next = memmem(body, (size_t)(end - body), BUNDLE_MARK, n_mark);
        const char *stop = next == NULL ? end : next;
        const size_t i = bundle_find(names, at, (size_t)(body - at));
        body += body < stop; /* the line's own end */
        if (i < BUNDLE_NAMES) {
            bundle_write(names[i], body, (size_t)(stop - body));
            found |= 1u << i;
        }
        at = next == NULL ? end : next + n_mark;
    }
    for (size_t i = 0; i < BUNDLE_NAMES; i++) {
        char path[256];
        if ((bundle_there & ~found) >> i & 1u) {
            bundle_path(path, names[i]);
            require(unlink(path) == 0);
        }
    }
    bundle_there = found;
    return found;
}

/* Appends a file to a bundle. */
static inline void bundle_add(kfi_buf *buf, const char *name, const void *data, size_t n)
{
    (void)kfi_buf_printf(buf, "%s%s\n", buf->n == 0 ? &BUNDLE_MARK[1] : BUNDLE_MARK, name);
    (void)kfi_buf_append(buf, data, n);
}

#endif /* KERF_FUZZ_BUNDLE_H */
