/* report.c - calling a kf_callbacks that may be NULL or have NULL members.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fail.h"

#define SECONDS_BETWEEN_REPORTS 0.1

void kfi_report_init(kfi_report *report, const kf_callbacks *callbacks)
{
    *report = (kfi_report){.callbacks = callbacks, .last = -1.0};
}

void kfi_report_progress(kfi_report *report, const char *task, const char *unit, uint64_t done,
                         uint64_t total)
{
    const kf_callbacks *callbacks = report->callbacks;
    if (callbacks == NULL || callbacks->progress == NULL) {
        return;
    }
    const double now = kfi_clock_seconds();
    const bool first = report->last < 0;
    const bool last = total > 0 && done == total;
    if (!first && !last && now - report->last < SECONDS_BETWEEN_REPORTS) {
        return;
    }
    report->last = now;
    const kf_progress progress = {.task = task, .unit = unit, .done = done, .total = total};
    callbacks->progress(callbacks->ctx, &progress);
}

void kfi_report_warn(const kf_callbacks *callbacks, const char *format, ...)
{
    if (callbacks == NULL || callbacks->warn == NULL) {
        return;
    }
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    kfi_fail_sanitize(message, sizeof message);
    callbacks->warn(callbacks->ctx, message);
}

bool kfi_report_cancelled(const kf_callbacks *callbacks)
{
    return callbacks != NULL && callbacks->cancelled != NULL &&
           callbacks->cancelled(callbacks->ctx);
}
