/* names.h - the name of a kernel's variant, from VARIANT of the file that includes this.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_KERNELS_LANES_NAMES_H
#define KFI_KERNELS_LANES_NAMES_H

#define NAME_JOIN(family, variant)   kfi_##family##_##variant
#define NAME_EXPAND(family, variant) NAME_JOIN(family, variant)
#define KERNEL_NAME(family)          NAME_EXPAND(family, VARIANT)

#endif /* KFI_KERNELS_LANES_NAMES_H */
