/* kerf/callbacks.h - how long work reports progress, warns, and is cancelled.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CALLBACKS_H
#define KERF_CALLBACKS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One report of progress; every pointer is borrowed for the call only. */
typedef struct kf_progress {
    const char *task; /**< What is going on, e.g. "downloading" or "block 3 of 30". */
    const char *unit; /**< What is counted, e.g. "bytes" or "tokens". */
    uint64_t done;    /**< Units done. */
    uint64_t total;   /**< Units to do, or 0 when not known. */
} kf_progress;

/**
 * What a long operation tells its caller. Every member may be NULL.
 *
 * All are called from the thread that started the operation, never from a worker.
 */
typedef struct kf_callbacks {
    /** Called some ten times a second at most. */
    void (*progress)(void *ctx, const kf_progress *progress);
    /** One warning: a line of text without a line feed. */
    void (*warn)(void *ctx, const char *message);
    /** Asked often; true ends the work with KF_CANCELLED, finished parts kept. */
    bool (*cancelled)(void *ctx);
    void *ctx; /**< Handed to all. */
} kf_callbacks;

#ifdef __cplusplus
}
#endif
#endif /* KERF_CALLBACKS_H */
