/* attention_neon.c - attention for neon.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/arm/lanes_neon.h"
#define VARIANT neon
#include "kernels/lanes/attention.h"
