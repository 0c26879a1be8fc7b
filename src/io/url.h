/* url.h - http and https addresses: joining, comparing, escaping, showing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_URL_H
#define KFI_IO_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "kerf/error.h"

/* A longer address is refused; those that hubs sign are about 2000 characters long. */
#define KFI_URL_MAX 8192u

/* Writes the absolute address of link as it stands on the page at base (NULL: link is absolute
 * itself), without its fragment, to dst of KFI_URL_MAX bytes. KF_FORMAT: not an address, not http
 * or https, or too long. */
KF_NODISCARD kf_status kfi_url_resolve(char *dst, const char *base, const char *link,
                                       kf_error *err);

/* True when both have the same scheme, host and port: what a password is good for. */
bool kfi_url_is_same_origin(const char *a, const char *b);

/* True when a step from one address to the other gives up encryption. */
bool kfi_url_is_downgrade(const char *from, const char *to);

/* The user and password that an address carries, decoded; each at most n - 1 bytes. False when it
 * has none, or they do not fit. */
bool kfi_url_login(const char *url, char *user, char *password, size_t n);

/* For messages: without user, password and query, cut with "..." in the middle where it is longer
 * than n - 1 bytes (n >= 16). */
void kfi_url_show(char *dst, size_t n, const char *url);

/* Appends text with all but letters, digits and "-._~" as %XX; slashes stay where keep_slashes. */
bool kfi_url_append_escaped(kfi_buf *buf, const char *text, bool keep_slashes);

#endif /* KFI_IO_URL_H */
