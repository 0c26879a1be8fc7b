/* machine_limits.c - loops that do nothing but multiply in registers, beside those that read.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "machine_limits.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "kerf/machine.h"
#if defined(__x86_64__)
#include "kernels/x86/tiles_amx.h"
#endif

#define ROUNDS 5
#define STEPS  2000000 /* of a loop of 16 instructions */

#if defined(__x86_64__)
/* Each loop does 12 independent instructions a step; operands are zero, which takes as long. */
#define TWELVE(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)
#define DPBUSD(n) "vpdpbusd %%zmm13, %%zmm12, %%zmm" #n "\n\t"
#define FMA512(n) "vfmadd231ps %%zmm13, %%zmm12, %%zmm" #n "\n\t"
#define FMA256(n) "vfmadd231ps %%ymm13, %%ymm12, %%ymm" #n "\n\t"
/* AVX2 has no such instruction; a product of pairs and its sum in 16 bits stand for one. */
#define MADD(n)                                                                                    \
    "vpmaddubsw %%ymm13, %%ymm12, %%ymm14\n\tvpaddw %%ymm14, %%ymm" #n ", %%ymm" #n "\n\t"
#define CLOBBERED                                                                                  \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define LOOP_FUNCTION(name, body)                                                                  \
    static void loop_##name(void *ctx, size_t i, size_t thread)                                    \
    {                                                                                              \
        (void)ctx;                                                                                 \
        (void)i;                                                                                   \
        (void)thread;                                                                              \
        __asm__ volatile("vzeroall" ::: CLOBBERED);                                                \
        for (int step = 0; step < STEPS; step++) {                                                 \
            __asm__ volatile(body ::: CLOBBERED);                                                  \
        }                                                                                          \
        __asm__ volatile("vzeroupper");                                                            \
    }

LOOP_FUNCTION(dpbusd, TWELVE(DPBUSD))
LOOP_FUNCTION(fma512, TWELVE(FMA512))
LOOP_FUNCTION(fma256, TWELVE(FMA256))
LOOP_FUNCTION(madd, TWELVE(MADD))

/* Four products of full tiles; a step has twelve of them. */
#define TDPBSUD_4                                                                                  \
    "tdpbsud %%tmm6, %%tmm4, %%tmm0\n\ttdpbsud %%tmm7, %%tmm4, %%tmm1\n\t"                         \
    "tdpbsud %%tmm6, %%tmm5, %%tmm2\n\ttdpbsud %%tmm7, %%tmm5, %%tmm3\n\t"
#define TILE_SHARE 16 /* fewer steps: one of them is 16 cycles */

static void loop_tdpbsud(void *ctx, size_t i, size_t thread)
{
    (void)ctx;
    (void)i;
    (void)thread;
    tiles_configure(&full_tiles);
    __asm__ volatile("tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7" ::);
    for (int step = 0; step < STEPS / TILE_SHARE; step++) {
        __asm__ volatile(TDPBSUD_4 TDPBSUD_4 TDPBSUD_4 ::);
    }
    tiles_release();
}

/* Operations a second of a loop of 12 instructions with so many operations each. */
static double loop_rate(kf_pool *pool, kfi_task *loop, double operations)
{
    const size_t n = kf_pool_threads(pool);
    double best = 0.0;
    for (int round = 0; round < ROUNDS; round++) {
        const double start = kfi_clock_seconds();
        kfi_pool_run(pool, loop, NULL, n);
        const double seconds = kfi_clock_seconds() - start;
        const double rate = (double)n * STEPS * 12.0 * operations / seconds;
        best = rate > best ? rate : best;
    }
    return best;
}
#endif

machine_limits machine_limits_measure(kf_pool *pool)
{
    machine_limits limits = {0};
    uint32_t features = 0;
    kf_error err = {0};
    if (kf_read_bandwidth(&limits.read_bytes, pool, MACHINE_READ_BYTES, NULL, &err) != KF_OK ||
        kfi_cpu_features_capped(&features, &err) != KF_OK) {
        (void)fprintf(stderr, "no limits of this machine: %s\n", err.msg);
        exit(1);
    }
#if defined(__x86_64__)
    if ((features & KFI_CPU_AVX512VNNI) != 0) {
        limits.int8_operations = loop_rate(pool, loop_dpbusd, 2.0 * 64);
        limits.float_operations = loop_rate(pool, loop_fma512, 2.0 * 16);
    } else if ((features & KFI_CPU_AVX2) != 0) {
        limits.int8_operations = loop_rate(pool, loop_madd, 2.0 * 32);
        limits.float_operations = loop_rate(pool, loop_fma256, 2.0 * 8);
    }
    if ((features & KFI_CPU_AMX) != 0) {
        limits.int8_operations = loop_rate(pool, loop_tdpbsud, 2.0 * 16 * 16 * 64) / TILE_SHARE;
    }
#endif
    return limits;
}

double machine_least_seconds(const machine_limits *limits, double bytes, double operations,
                             double rate)
{
    const double reading = bytes / limits->read_bytes;
    const double computing = rate > 0.0 ? operations / rate : 0.0;
    return reading > computing ? reading : computing;
}
