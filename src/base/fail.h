/* fail.h - filling in a kf_error.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_FAIL_H
#define KFI_BASE_FAIL_H

#include <inttypes.h>
#include <stddef.h>

#include "kerf/error.h"

/* Fills err (may be NULL) and returns code. A message too long is cut at a character boundary. */
kf_status kfi_fail(kf_error *err, kf_status code, uint64_t offset, const char *format, ...)
    KF_PRINTF(4, 5);

/* As kfi_fail, and appends ": " and the system's text for os_errno. */
kf_status kfi_fail_os(kf_error *err, kf_status code, int os_errno, const char *format, ...)
    KF_PRINTF(4, 5);

/* Puts a prefix in front of a message already there ("model.gguf: …"), to say where from outside.
 */
void kfi_fail_prefix(kf_error *err, const char *format, ...) KF_PRINTF(2, 3);

/* Keeps text that was printed into capacity bytes one line of UTF-8, so that a name out of a file
 * cannot drive the terminal: the bytes of control characters and those that are no UTF-8, as a name
 * has them that was cut, become '?'; a character that the capacity cuts is dropped. */
void kfi_fail_sanitize(char *msg, size_t capacity);

/* Forwards a failure; only where nothing is held. */
#define KFI_TRY(call)                                                                              \
    do {                                                                                           \
        const kf_status kfi_try_status = (call);                                                   \
        if (kfi_try_status != KF_OK) {                                                             \
            return kfi_try_status;                                                                 \
        }                                                                                          \
    } while (0)

#endif /* KFI_BASE_FAIL_H */
