/* kerf/export.h - visibility and result attributes of the public API.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_EXPORT_H
#define KERF_EXPORT_H

#if defined(__GNUC__)
/** Part of the library's interface: visible outside. */
#define KF_API __attribute__((visibility("default")))
/** The result must be looked at. */
#define KF_NODISCARD __attribute__((warn_unused_result))
/** A printf-like function: the numbers of its format and of its first argument, from 1. */
#define KF_PRINTF(format_index, first_argument)                                                    \
    __attribute__((format(printf, format_index, first_argument)))
#else
#define KF_API
#define KF_NODISCARD
#define KF_PRINTF(format_index, first_argument)
#endif

#endif /* KERF_EXPORT_H */
