/* matmul_sparse_avx512vnni.c - products with single weights for avx512vnni.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx512.h"
#define VARIANT avx512vnni
#include "kernels/lanes/matmul_sparse.h"
