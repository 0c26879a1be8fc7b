/* rotate_neon.c - rotations for neon.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/arm/lanes_neon.h"
#define VARIANT neon
#include "kernels/lanes/rotate.h"
