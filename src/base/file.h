/* file.h - files: mapping, whole reads, atomic writes, directories.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_FILE_H
#define KFI_BASE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "kerf/error.h"

/* A whole file mapped read-only, or bytes in its stead: {data, size} of somebody who keeps them.
 * The size is read once; a file that is truncated afterwards is the caller's risk. */
typedef struct kfi_file_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    bool is_mapped;         /* false: closing and dropping leave the bytes alone */
    uint64_t device, inode; /* which file it is; 0 where it is none */
} kfi_file_map;

/* Maps path. KF_INPUT: missing, unreadable or not a regular file; KF_NOMEM: no address space. */
KF_NODISCARD kf_status kfi_file_map_open(kfi_file_map *map, const char *path, kf_error *err);
void kfi_file_map_close(kfi_file_map *map);
/* Whether path leads to the file that is mapped. */
bool kfi_file_map_is(const kfi_file_map *map, const char *path);

/* Tells the system that a range of the map is no longer needed, so that resident memory stays
 * bounded. Only whole pages are dropped. */
void kfi_file_map_drop(const kfi_file_map *map, uint64_t offset, uint64_t n);

/* Appends the whole file to buf (whose max is the ceiling: KF_RANGE above it). "-" is standard
 * input. */
KF_NODISCARD kf_status kfi_file_read(kfi_buf *buf, const char *path, kf_error *err);

/* A file that appears under its name only when complete: written beside it as "PATH.NUMBER.tmp", a
 * name that nobody has, synced, renamed. A link is followed; a device or pipe is written as it is.
 * Failures are KF_IO. */
typedef struct kfi_file_writer {
    const kf_allocator *alloc;
    int fd;          /* -1 when closed */
    char *path;      /* final name, of the file that a link leads to */
    char *temporary; /* name while writing; NULL: written directly */
    uint64_t n;      /* bytes written so far */
} kfi_file_writer;

KF_NODISCARD kf_status kfi_file_writer_open(kfi_file_writer *writer, const char *path,
                                            const kf_allocator *alloc, kf_error *err);
KF_NODISCARD kf_status kfi_file_writer_write(kfi_file_writer *writer, const void *data, size_t n,
                                             kf_error *err);
/* Syncs, renames and syncs the directory; the writer is closed in any case. */
KF_NODISCARD kf_status kfi_file_writer_commit(kfi_file_writer *writer, kf_error *err);
/* Removes the temporary file; fine on a closed writer. */
void kfi_file_writer_abort(kfi_file_writer *writer);

/* All of a small file at once, atomically. */
KF_NODISCARD kf_status kfi_file_write(const char *path, const void *data, size_t n, kf_error *err);

/* Predicates; false also on any error. */
bool kfi_file_exists(const char *path);
bool kfi_file_is_directory(const char *path);
bool kfi_file_is_link(const char *path);
/* Whether both paths lead to one file, or to one place where none is yet. */
bool kfi_file_is_same(const char *a, const char *b);
/* Whether inside is the directory itself or lies in it, links followed. */
bool kfi_path_contains(const char *directory, const char *inside);

/* mkdir -p. */
KF_NODISCARD kf_status kfi_file_make_directories(const char *path, kf_error *err);
/* Locks a directory for this process, or another open of it, until *fd is closed. KF_RANGE:
 * somebody else holds it, or it has just been renamed. Where the file system knows no locks it
 * succeeds. */
KF_NODISCARD kf_status kfi_file_lock_directory(int *fd, const char *path, kf_error *err);
void kfi_file_unlock(int fd); /* -1 is fine */
/* Removes a file or a directory with all in it (symbolic links are removed, not followed); missing
 * is fine. */
KF_NODISCARD kf_status kfi_file_remove_tree(const char *path, kf_error *err);
/* Renames and syncs the directory of the new name. */
KF_NODISCARD kf_status kfi_file_rename(const char *from, const char *to, kf_error *err);
/* Calls visit for each name in a directory but "." and "..", in byte order of the names; stops at
 * the first failure. */
KF_NODISCARD kf_status kfi_file_list(const char *path,
                                     kf_status (*visit)(void *ctx, const char *name, kf_error *err),
                                     void *ctx, kf_error *err);

/* "directory/name", owned by the caller: kfi_free_text. NULL without memory. */
char *kfi_path_join(const kf_allocator *alloc, const char *directory, const char *name);
/* The part behind the last slash. */
const char *kfi_path_name(const char *path);

/* Free bytes of the file system that holds path, or UINT64_MAX. */
uint64_t kfi_file_free_space(const char *path);

#endif /* KFI_BASE_FILE_H */
