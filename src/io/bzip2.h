/* bzip2.h - unpacks what bzip2 packed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_BZIP2_H
#define KFI_IO_BZIP2_H

#include <stdint.h>

#include "base/buf.h"
#include "kerf/error.h"

/* Appends the bytes of one or more bzip2 streams, one after the other, to dst, whose max is the
 * ceiling. KF_FORMAT with the byte where reading stopped, KF_RANGE (above the ceiling), KF_NOMEM.
 */
KF_NODISCARD kf_status kfi_bzip2_unpack(kfi_buf *dst, const uint8_t *data, size_t n, kf_error *err);

#endif /* KFI_IO_BZIP2_H */
