/* clock.c - monotonic time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/clock.h"

#include <time.h>

double kfi_clock_seconds(void)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock is mandatory on Linux */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
