/* pull_cache.c - the cache's lock, and what a finished directory of it holds.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/report.h"
#include "io/pull.h"

/* flock() belongs to the open file, so it also keeps two threads of one process apart, and goes
 * with the process that dies. The file itself stays: removing it would let a third process lock a
 * new one while a second still waits for the old. */
kf_status kfi_pull_lock(kfi_puller *puller, int *fd, const char *path, kf_error *err)
{
    bool warned = false;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd < 0) {
        return kfi_fail_os(err, KF_IO, errno, "cannot open the lock '%s'", path);
    }
    while (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return kfi_fail_os(err, KF_IO, errno, "cannot lock '%s'", path);
        }
        if (kfi_report_cancelled(puller->callbacks)) {
            return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled while waiting for '%s'",
                            path);
        }
        if (!warned) {
            kfi_report_warn(puller->callbacks, "another process downloads this; waiting for '%s'",
                            path);
            warned = true;
        }
        (void)nanosleep(&(struct timespec){0, 50000000L}, NULL);
    }
    return KF_OK;
}

void kfi_pull_unlock(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* What a directory has, found by kfi_file_list. */
typedef struct contents {
    kfi_puller *puller;
    const char *gguf; /* a name */
    bool has_config;
} contents;

static kf_status look_at(void *ctx, const char *name, kf_error *err)
{
    contents *c = ctx;
    if (c->gguf == NULL && kfi_text_ends_with((kfi_text){name, strlen(name)}, ".gguf")) {
        KFI_TRY(kfi_pull_text(c->puller, &c->gguf, err, "%s", name));
    }
    c->has_config = c->has_config || strcmp(name, "config.json") == 0;
    return KF_OK;
}

kf_status kfi_pull_find_model(kfi_puller *puller, const char **model, const char *directory,
                              kf_error *err)
{
    contents c = {.puller = puller};
    *model = NULL;
    if (!kfi_file_is_directory(directory)) {
        return KF_OK;
    }
    KFI_TRY(kfi_file_list(directory, look_at, &c, err));
    if (c.gguf != NULL) {
        return kfi_pull_text(puller, model, err, "%s/%s", directory, c.gguf);
    }
    *model = c.has_config ? directory : NULL;
    return KF_OK;
}
