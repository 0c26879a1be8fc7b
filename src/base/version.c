/* version.c - the version that the build file names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kerf/version.h"

const char *kf_version(void)
{
    return KERF_VERSION;
}
