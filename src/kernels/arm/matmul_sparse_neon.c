/* matmul_sparse_neon.c - products with single weights for neon.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/arm/lanes_neon.h"
#define VARIANT neon
#include "kernels/lanes/matmul_sparse.h"
