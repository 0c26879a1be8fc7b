/* rotate_avx512vnni.c - rotations for avx512vnni.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx512.h"
#define VARIANT avx512vnni
#include "kernels/lanes/rotate.h"
