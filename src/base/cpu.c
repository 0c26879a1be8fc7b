/* cpu.c - what the processor can execute, by CPUID, XGETBV and the kernel's word; on Arm by the
 * latter alone.
 *
 * CPUID alone is not enough: it says that the instructions exist, XGETBV that the operating system
 * saves their registers, and AMX needs the kernel's permission for this process on top. (The
 * compilers' own __builtin_cpu_supports knows different names in gcc 12 and clang 14.)
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/cpu.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "kerf/machine.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#define XCR0_AVX    0x6u     /* xmm, ymm */
#define XCR0_AVX512 0xE6u    /* and masks, zmm */
#define XCR0_AMX    0x60000u /* tile configuration, tile data */

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_TILE_DATA  18

static uint64_t read_xcr0(void)
{
    uint32_t low = 0;
    uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has_bits(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

uint32_t kfi_cpu_features(void)
{
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t c = 0;
    uint32_t d = 0;
    const uint32_t base = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has_bits(c, base)) {
        return 0;
    }
    const uint64_t xcr0 = read_xcr0();
    uint32_t leaf7_1 = 0;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        leaf7_1 = a;
    }
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has_bits(b, bit_AVX2) ||
        (xcr0 & XCR0_AVX) != XCR0_AVX) {
        return 0;
    }
    uint32_t features = KFI_CPU_AVX2;
    if (has_bits(leaf7_1, 1u << 4)) {
        features |= KFI_CPU_AVXVNNI;
    }
    const uint32_t avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    if (has_bits(b, avx512) && has_bits(c, bit_AVX512VNNI) && (xcr0 & XCR0_AVX512) == XCR0_AVX512) {
        features |= KFI_CPU_AVX512VNNI;
    }
    const uint32_t amx = 1u << 24 | 1u << 25; /* AMX-TILE, AMX-INT8 */
    if ((features & KFI_CPU_AVX512VNNI) != 0 && has_bits(d, amx) && (xcr0 & XCR0_AMX) == XCR0_AMX &&
        syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_TILE_DATA) == 0) {
        features |= KFI_CPU_AMX;
    }
    return features;
}

/* The brand string lies in three leaves of 16 bytes. */
static bool read_name(char brand[static 49])
{
    memset(brand, 0, 49);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t words[4] = {0};
        if (!__get_cpuid(0x80000002u + i, &words[0], &words[1], &words[2], &words[3])) {
            return false;
        }
        memcpy(brand + 16 * i, words, sizeof words);
    }
    return true;
}

#else

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

uint32_t kfi_cpu_features(void)
{
    const bool has_dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    return KFI_CPU_NEON | (has_dotprod ? KFI_CPU_DOTPROD : 0);
}
#else
uint32_t kfi_cpu_features(void)
{
    return 0;
}
#endif

static bool read_name(char brand[static 49])
{
    FILE *f = fopen("/proc/cpuinfo", "re");
    bool found = false;
    char line[256];
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        const char *colon = strchr(line, ':');
        if (colon != NULL && strncmp(line, "model name", 10) == 0) {
            (void)snprintf(brand, 49, "%.48s", colon + 1);
            found = true;
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return found;
}

#endif

/* What KERF_ISA may name, and the features up to it; those that have a bit in the order of bits. */
static const struct {
    const char *name;
    uint32_t bit, allowed;
} caps[] = {
    {"generic", 0, 0},
    {"avx2", KFI_CPU_AVX2, KFI_CPU_AVX2},
    {"avxvnni", KFI_CPU_AVXVNNI, KFI_CPU_AVX2 | KFI_CPU_AVXVNNI},
    {"avx512vnni", KFI_CPU_AVX512VNNI, KFI_CPU_AVX2 | KFI_CPU_AVXVNNI | KFI_CPU_AVX512VNNI},
    {"amx", KFI_CPU_AMX, KFI_CPU_AVX2 | KFI_CPU_AVXVNNI | KFI_CPU_AVX512VNNI | KFI_CPU_AMX},
    {"neon", KFI_CPU_NEON, KFI_CPU_NEON},
    {"dotprod", KFI_CPU_DOTPROD, KFI_CPU_NEON | KFI_CPU_DOTPROD},
    {"native", 0, UINT32_MAX},
};

kf_status kfi_cpu_features_capped(uint32_t *features, kf_error *err)
{
    *features = kfi_cpu_features();
    const char *cap = getenv("KERF_ISA");
    if (cap == NULL || cap[0] == '\0') {
        return KF_OK;
    }
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        if (strcmp(cap, caps[i].name) == 0) {
            *features &= caps[i].allowed;
            return KF_OK;
        }
    }
    return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                    "KERF_ISA is '%s', expected generic, avx2, avxvnni, avx512vnni, amx, neon, "
                    "dotprod or native",
                    cap);
}

const char *kf_cpu_feature(size_t i)
{
    const uint32_t features = kfi_cpu_features();
    for (size_t k = 0; k < sizeof caps / sizeof caps[0]; k++) {
        if ((features & caps[k].bit) != 0 && i-- == 0) {
            return caps[k].name;
        }
    }
    return NULL;
}

void kf_cpu_name(char *name, size_t n)
{
    char brand[49];
    const bool known = read_name(brand);
    const char *begin = brand;
    while (known && *begin == ' ') {
        begin++;
    }
    size_t length = known ? strcspn(begin, "\r\n") : 0;
    while (length > 0 && begin[length - 1] == ' ') {
        length--;
    }
    if (length == 0) {
        (void)snprintf(name, n, "unknown");
    } else {
        (void)snprintf(name, n, "%.*s", (int)length, begin);
    }
}
