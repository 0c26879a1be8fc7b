/* attention_neon.c - attention for neon.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/arm/lanes_neon.h"
#define VARIANT neon
#include "kernels/x86/attention_x86.h"
