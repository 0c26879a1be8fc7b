/* lapack.h - what every call of LAPACK in this room begins with.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_LINALG_LAPACK_H
#define KFI_LINALG_LAPACK_H

/* The threads are ours: OpenBLAS's own would change the bits with their number. */
void kfi_lapack_begin(void);

#endif /* KFI_LINALG_LAPACK_H */
