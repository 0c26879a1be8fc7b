/* selfcheck.h - one small known case for each family of kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_SELFCHECK_H
#define KFI_KERNELS_SELFCHECK_H

#include <stdbool.h>

#include "kernels/kernels_list.h"

/* True when a kernel gives the bits of the plain C one. Cost: 2 ms for the slowest, no allocation.
 */
#define KFI_SELFCHECK(family) bool kfi_selfcheck_##family(kfi_##family##_fn *kernel);
KFI_FAMILIES(KFI_SELFCHECK)
#undef KFI_SELFCHECK

#endif /* KFI_KERNELS_SELFCHECK_H */
