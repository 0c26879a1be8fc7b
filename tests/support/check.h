/* check.h - what every test includes: cmocka with its prerequisites, and a check of a status that
 * prints the report.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_CHECK_H
#define KERF_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kerf/error.h"

/* Fails the test with the error's message when a call did not succeed. */
#define CHECK_OK(call, err)                                                                        \
    do {                                                                                           \
        const kf_status check_status = (call);                                                     \
        if (check_status != KF_OK) {                                                               \
            fail_msg("%s: %s: %s", #call, kf_status_text(check_status), (err)->msg);               \
        }                                                                                          \
    } while (0)

#endif /* KERF_TESTS_CHECK_H */
