/* report.h - calling a kf_callbacks that may be NULL or have NULL members.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_REPORT_H
#define KFI_BASE_REPORT_H

#include "kerf/callbacks.h"
#include "kerf/export.h"

/* Limits progress calls to about ten a second. */
typedef struct kfi_report {
    const kf_callbacks *callbacks;
    double last; /* clock of the last call */
} kfi_report;

void kfi_report_init(kfi_report *report, const kf_callbacks *callbacks);
/* The last unit (done == total) is always reported. */
void kfi_report_progress(kfi_report *report, const char *task, const char *unit, uint64_t done,
                         uint64_t total);
void kfi_report_warn(const kf_callbacks *callbacks, const char *format, ...) KF_PRINTF(2, 3);
bool kfi_report_cancelled(const kf_callbacks *callbacks);

#endif /* KFI_BASE_REPORT_H */
