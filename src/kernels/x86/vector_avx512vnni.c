/* vector_avx512vnni.c - the loops over one vector for avx512vnni.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx512.h"
#define VARIANT avx512vnni
#include "kernels/lanes/vector.h"
