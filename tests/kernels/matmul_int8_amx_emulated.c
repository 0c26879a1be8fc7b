/* matmul_int8_amx_emulated.c - the kernel for AMX over tiles in plain C, for machines without.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define KFI_TILES_EMULATED
#include "../../src/kernels/x86/matmul_int8_amx.c"
