/* clock.h - monotonic time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_CLOCK_H
#define KFI_BASE_CLOCK_H

/* Seconds since an arbitrary start. */
double kfi_clock_seconds(void);

#endif /* KFI_BASE_CLOCK_H */
