/* quantile.h - the value below which a part of some numbers lies.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_QUANTILE_H
#define KFI_BASE_QUANTILE_H

#include <stddef.h>

/* The value below which a part of n values lies; sorts them. part in 0 … 1; linear between
 * neighbours. */
double kfi_quantile(double *values, size_t n, double part);

#endif /* KFI_BASE_QUANTILE_H */
