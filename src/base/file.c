/* file.c - mapping and reading files, predicates, paths.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fail.h"

#define READ_BYTES ((size_t)64 << 10)

/* Opens a file for reading that must be a regular one, and tells about it. */
static kf_status open_regular(int *fd, kfi_file_map *map, const char *path, kf_error *err)
{
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without a writer would block */
    if (*fd < 0) {
        return kfi_fail_os(err, KF_INPUT, errno, "cannot open '%s'", path);
    }
    kf_status st = KF_OK;
    if (fstat(*fd, &info) != 0) {
        st = kfi_fail_os(err, KF_INPUT, errno, "cannot read '%s'", path);
    } else if (!S_ISREG(info.st_mode)) {
        st = kfi_fail(err, KF_INPUT, KF_NO_OFFSET, "'%s' is %s, expected a regular file", path,
                      S_ISDIR(info.st_mode) ? "a directory" : "a device or pipe");
    } else if ((uintmax_t)info.st_size > SIZE_MAX) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "'%s' does not fit the address space", path);
    }
    if (st != KF_OK) {
        (void)close(*fd);
        return st;
    }
    *map =
        (kfi_file_map){.size = (size_t)info.st_size, .device = info.st_dev, .inode = info.st_ino};
    return KF_OK;
}

kf_status kfi_file_map_open(kfi_file_map *map, const char *path, kf_error *err)
{
    int fd = -1;
    *map = (kfi_file_map){.data = NULL};
    KFI_TRY(open_regular(&fd, map, path, err));
    kf_status st = KF_OK;
    if (map->size > 0) {
        void *data = mmap(NULL, map->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            const kf_status code = errno == ENOMEM ? KF_NOMEM : KF_INPUT;
            st = kfi_fail_os(err, code, errno, "cannot map %zu bytes of '%s'", map->size, path);
            *map = (kfi_file_map){.data = NULL};
        } else {
            map->data = data;
            map->is_mapped = true;
        }
    }
    (void)close(fd); /* the mapping keeps the file */
    return st;
}

/* A mapping of the library is const for its readers; only these few lines hand it to the system. */
static void *map_address(const kfi_file_map *map, size_t offset)
{
    return (void *)((uintptr_t)map->data + offset);
}

void kfi_file_map_close(kfi_file_map *map)
{
    if (map->is_mapped) {
        (void)munmap(map_address(map, 0), map->size);
    }
    *map = (kfi_file_map){.data = NULL};
}

void kfi_file_map_drop(const kfi_file_map *map, uint64_t offset, uint64_t n)
{
    if (!map->is_mapped || offset >= map->size) {
        return;
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t end = n > map->size - offset ? map->size : (size_t)(offset + n);
    const size_t first = kfi_round_up((size_t)offset, page);
    /* Nobody else lives in the file's last page, which may be a part of one. */
    const size_t last = end == map->size ? end : end / page * page;
    if (first < last) { /* a hint: may fail */
        (void)madvise(map_address(map, first), last - first, MADV_DONTNEED);
    }
}

/* read() that is not disturbed by signals. */
static ssize_t read_some(int fd, void *data, size_t n)
{
    ssize_t got = 0;
    do {
        got = read(fd, data, n);
    } while (got < 0 && errno == EINTR);
    return got;
}

static kf_status read_all(kfi_buf *buf, int fd, const char *path, kf_error *err)
{
    for (;;) {
        const size_t room = buf->max - buf->n < READ_BYTES ? buf->max - buf->n : READ_BYTES;
        unsigned char probe = 0;
        if (!kfi_buf_reserve(buf, room)) {
            return kfi_fail(err, KF_NOMEM, buf->n, "no memory to read '%s'", path);
        }
        /* With the buffer full one more byte tells whether the file ends here. */
        void *into = room > 0 ? (void *)(buf->data + buf->n) : &probe;
        const ssize_t got = read_some(fd, into, room > 0 ? room : 1);
        if (got < 0) {
            return kfi_fail_os(err, KF_INPUT, errno, "cannot read '%s'", path);
        }
        if (got == 0) {
            return KF_OK;
        }
        if (room == 0) {
            return kfi_fail(err, KF_RANGE, buf->max, "'%s' is longer than %zu bytes", path,
                            buf->max);
        }
        buf->n += (size_t)got;
        buf->data[buf->n] = '\0';
    }
}

kf_status kfi_file_read(kfi_buf *buf, const char *path, kf_error *err)
{
    if (strcmp(path, "-") == 0) {
        return read_all(buf, STDIN_FILENO, "standard input", err);
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return kfi_fail_os(err, KF_INPUT, errno, "cannot open '%s'", path);
    }
    const kf_status st = read_all(buf, fd, path, err);
    (void)close(fd);
    return st;
}

bool kfi_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool kfi_file_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool kfi_file_is_link(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

static bool stat_directory_of(struct stat *info, const char *path)
{
    char directory[PATH_MAX];
    const size_t n = (size_t)(kfi_path_name(path) - path);
    if (n + 2 > sizeof directory) {
        return false;
    }
    memcpy(directory, path, n);
    memcpy(directory + n, ".", 2);
    return stat(directory, info) == 0;
}

bool kfi_file_is_same(const char *a, const char *b)
{
    struct stat one;
    struct stat other;
    bool found = stat(a, &one) == 0;
    if ((stat(b, &other) == 0) != found) {
        return false;
    }
    if (!found) {
        found = strcmp(kfi_path_name(a), kfi_path_name(b)) == 0 && stat_directory_of(&one, a) &&
                stat_directory_of(&other, b);
    }
    return found && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

bool kfi_file_map_is(const kfi_file_map *map, const char *path)
{
    struct stat info;
    return map->inode != 0 && stat(path, &info) == 0 && info.st_dev == map->device &&
           info.st_ino == map->inode;
}

bool kfi_path_contains(const char *directory, const char *inside)
{
    char outer[PATH_MAX];
    char inner[PATH_MAX];
    if (realpath(directory, outer) == NULL || realpath(inside, inner) == NULL) {
        return false;
    }
    const size_t n = strcmp(outer, "/") == 0 ? 0 : strlen(outer);
    return strncmp(outer, inner, n) == 0 && (inner[n] == '/' || inner[n] == '\0');
}

char *kfi_path_join(const kf_allocator *alloc, const char *directory, const char *name)
{
    const size_t n_directory = strlen(directory);
    const size_t n_name = strlen(name);
    const bool slash = n_directory > 0 && directory[n_directory - 1] != '/';
    char *path = kfi_alloc(alloc, n_directory + slash + n_name + 1);
    if (path == NULL) {
        return NULL;
    }
    memcpy(path, directory, n_directory);
    if (slash) {
        path[n_directory] = '/';
    }
    memcpy(path + n_directory + slash, name, n_name + 1);
    return path;
}

const char *kfi_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

uint64_t kfi_file_free_space(const char *path)
{
    struct statvfs info;
    char parent[4096];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof parent) {
        return UINT64_MAX;
    }
    memcpy(parent, path, n + 1);
    /* What does not exist yet will be made in the first directory above that does. */
    while (statvfs(parent, &info) != 0) {
        char *slash = strrchr(parent, '/');
        if (errno != ENOENT || strcmp(parent, ".") == 0 || strcmp(parent, "/") == 0) {
            return UINT64_MAX;
        }
        if (slash == NULL) {
            memcpy(parent, ".", 2);
        } else {
            slash[slash == parent] = '\0';
        }
    }
    return (uint64_t)info.f_bavail * info.f_frsize;
}
