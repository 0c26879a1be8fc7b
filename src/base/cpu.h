/* cpu.h - what the processor can execute.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_CPU_H
#define KFI_BASE_CPU_H

#include <stddef.h>
#include <stdint.h>

#include "kerf/error.h"

/* Bits of kfi_cpu_features(). Each stands for all that the kernels of that name use, instructions
 * and the registers' support by the operating system (XGETBV). */
#define KFI_CPU_AVX2       (1u << 0) /* AVX2, FMA, F16C */
#define KFI_CPU_AVXVNNI    (1u << 1) /* AVX2 and AVX-VNNI */
#define KFI_CPU_AVX512VNNI (1u << 2) /* AVX-512 F, BW, VL, DQ and VNNI, and AVX2 */
#define KFI_CPU_AMX        (1u << 3) /* AMX-TILE and AMX-INT8, permission granted, and AVX512VNNI */
#define KFI_CPU_NEON       (1u << 4) /* Advanced SIMD of 64-bit Arm, which all of them have */
#define KFI_CPU_DOTPROD    (1u << 5) /* NEON and its dot products of bytes */

/* Reads CPUID and XGETBV and asks the kernel for AMX, or reads what the kernel says. Cost: some
 * microseconds; call once and keep. */
uint32_t kfi_cpu_features(void);

/* The features up to the cap that KERF_ISA names (generic, avx2, avxvnni, avx512vnni, amx, neon,
 * dotprod, native; unset or empty = native). KF_INVALID for another word, *features is then all. */
KF_NODISCARD kf_status kfi_cpu_features_capped(uint32_t *features, kf_error *err);

#endif /* KFI_BASE_CPU_H */
