/* kerf/export.h - visibility and result attributes of the public API.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_EXPORT_H
#define KERF_EXPORT_H

#if defined(__GNUC__)
#define KF_API       __attribute__((visibility("default")))
#define KF_NODISCARD __attribute__((warn_unused_result))
#define KF_PRINTF(format_index, first_argument)                                                    \
    __attribute__((format(printf, format_index, first_argument)))
#else
#define KF_API
#define KF_NODISCARD
#define KF_PRINTF(format_index, first_argument)
#endif

#endif /* KERF_EXPORT_H */
