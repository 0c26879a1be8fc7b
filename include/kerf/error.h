/* kerf/error.h - the status every fallible function returns, and the report beside it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_ERROR_H
#define KERF_ERROR_H

#include <stdint.h>

#include "kerf/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Every status as KF_STATUS(name, value, text); values are never renumbered. */
#define KF_STATUS_MAP(KF_STATUS)                                                                   \
    KF_STATUS(OK, 0, "ok")                                                                         \
    KF_STATUS(NOMEM, 1, "out of memory")                                                           \
    KF_STATUS(INVALID, 2, "invalid argument")                                                      \
    KF_STATUS(RANGE, 3, "value out of range")                                                      \
    KF_STATUS(IO, 4, "input/output error")                                                         \
    KF_STATUS(FORMAT, 5, "malformed input")                                                        \
    KF_STATUS(UNSUPPORTED, 6, "not supported by this build or CPU")                                \
    KF_STATUS(CANCELLED, 7, "cancelled by the caller")                                             \
    KF_STATUS(INTERNAL, 8, "internal invariant broken")                                            \
    KF_STATUS(INPUT, 9, "input missing or unreadable")

/** What a call that can fail returns; KF_OK is 0. */
typedef enum kf_status {
/** @cond */
#define KF_STATUS_ENUM(name, value, text) KF_##name = value,
    KF_STATUS_MAP(KF_STATUS_ENUM)
#undef KF_STATUS_ENUM
    /** @endcond */
} kf_status;

/** The value of kf_error.offset when no byte offset applies. */
#define KF_NO_OFFSET UINT64_MAX

/**
 * A failure report: 256 bytes, owned by the caller, never allocates.
 *
 * @c msg says what was found, what was expected and where; lower case, one line, no full stop.
 * A function that succeeds leaves it untouched.
 */
typedef struct kf_error {
    kf_status code;  /**< The value the call returned. */
    int os_errno;    /**< errno at the failing system call, else 0. */
    uint64_t offset; /**< Byte offset (or index) in the input, or KF_NO_OFFSET. */
    char msg[240];   /**< UTF-8, NUL-terminated. */
} kf_error;

/**
 * Names a status in words, "malformed input" for KF_FORMAT.
 *
 * @param status  any value
 * @return a static string, "unknown status" for a value that is none
 *
 * Cost: O(1). Threads: reentrant.
 */
KF_API const char *kf_status_text(kf_status status);

#ifdef __cplusplus
}
#endif
#endif /* KERF_ERROR_H */
