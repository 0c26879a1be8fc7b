/* matmul_float_neon.c - packed weights times float activations for neon.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/arm/lanes_neon.h"
#define VARIANT neon
#include "kernels/lanes/matmul_float.h"
