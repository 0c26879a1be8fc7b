/* attention_packed_avx512vnni.c - attention over packed keys and values with vpdpwssd.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kernels/x86/lanes_avx512.h"

/* Assembly, because gcc 12 spills accumulators around the intrinsic. */
INLINE bytes dot_pairs(bytes sum, bytes codes, bytes x)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(x));
    return sum;
}

/* 32 registers. */
INLINE int units_of(const int rows)
{
    return rows <= 4 ? 4 : 2;
}

#define VARIANT avx512vnni
#include "kernels/lanes/attention_packed.h"
