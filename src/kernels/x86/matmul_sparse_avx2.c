/* matmul_sparse_avx2.c - products with single weights for avx2.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx2.h"
#define VARIANT avx2
#include "kernels/lanes/matmul_sparse.h"
