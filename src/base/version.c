/* version.c - the version that the build file names, the hash of the sources, and the compiler.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kerf/version.h"

#include "base/source_hash.h" /* made by the build */

const char *kf_version(void)
{
    return KERF_VERSION;
}

const char *kf_source_hash(void)
{
    return KFI_SOURCE_HASH;
}

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

const char *kf_compiler(void)
{
#if defined(__clang__)
    return "clang " TEXT(__clang_major__) "." TEXT(__clang_minor__) "." TEXT(__clang_patchlevel__);
#else
    return "gcc " TEXT(__GNUC__) "." TEXT(__GNUC_MINOR__) "." TEXT(__GNUC_PATCHLEVEL__);
#endif
}
