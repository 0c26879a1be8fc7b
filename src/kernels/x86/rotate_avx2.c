/* rotate_avx2.c - rotations for avx2.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx2.h"
#define VARIANT avx2
#include "kernels/lanes/rotate.h"
