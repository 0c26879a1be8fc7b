/* kerf/version.h - the version of the library.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_VERSION_H
#define KERF_VERSION_H

#include "kerf/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Returns the version, "0.1.0"; static. */
KF_API const char *kf_version(void);

/** Returns the compiler that built the library, "gcc 12.2.0"; static. */
KF_API const char *kf_compiler(void);

#ifdef __cplusplus
}
#endif
#endif /* KERF_VERSION_H */
