/* kerf/version.h - the version of the library, and what it was built from.
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

/** Returns a hash of the library's sources, 16 hexadecimal digits; static. Between two versions it
 * tells builds apart whose results may differ; nothing that Kerf writes for other programs has it.
 */
KF_API const char *kf_source_hash(void);

/** Returns the compiler that built the library, "gcc 12.2.0"; static. */
KF_API const char *kf_compiler(void);

#ifdef __cplusplus
}
#endif
#endif /* KERF_VERSION_H */
