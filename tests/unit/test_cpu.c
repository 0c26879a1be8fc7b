/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "base/cpu.h"
#include "fixtures.h"
#include "kerf/machine.h"

/* A feature implies those that its kernels build on. */
static void features_come_with_what_they_build_on(void **state)
{
    (void)state;
    const uint32_t features = kfi_cpu_features();
    if ((features & (KFI_CPU_AVX512VNNI | KFI_CPU_AVXVNNI)) != 0) {
        assert_true((features & KFI_CPU_AVX2) != 0);
    }
    if ((features & KFI_CPU_AMX) != 0) {
        assert_true((features & KFI_CPU_AVX512VNNI) != 0);
    }
    assert_int_equal(features, kfi_cpu_features());
}

/* /proc/cpuinfo is the kernel's own reading of the same registers. */
static void agrees_with_the_kernel(void **state)
{
    (void)state;
#if defined(__aarch64__)
    static const char title[] = "Features";
#else
    static const char title[] = "flags";
#endif
    FILE *f = fopen("/proc/cpuinfo", "r");
    SKIP_WITHOUT(f, "/proc/cpuinfo");
    char line[8192];
    bool found = false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        found = strncmp(line, title, strlen(title)) == 0;
    }
    (void)fclose(f);
    if (!found) {
        print_message("skipped: no %s in /proc/cpuinfo\n", title);
        skip();
    }
    const uint32_t features = kfi_cpu_features();
    assert_int_equal((features & KFI_CPU_DOTPROD) != 0, strstr(line, " asimddp ") != NULL);
    assert_int_equal((features & KFI_CPU_AVX2) != 0, strstr(line, " avx2 ") != NULL);
    assert_int_equal((features & KFI_CPU_AVX512VNNI) != 0, strstr(line, " avx512_vnni ") != NULL);
    assert_int_equal((features & KFI_CPU_AVXVNNI) != 0, strstr(line, " avx_vnni ") != NULL);
}

static uint32_t capped(const char *cap)
{
    kf_error err = {0};
    uint32_t features = 0;
    assert_int_equal(setenv("KERF_ISA", cap, 1), 0);
    CHECK_OK(kfi_cpu_features_capped(&features, &err), &err);
    assert_int_equal(unsetenv("KERF_ISA"), 0);
    return features;
}

static void the_environment_caps_the_features(void **state)
{
    (void)state;
    const uint32_t all = kfi_cpu_features();
    assert_int_equal(capped("generic"), 0);
    assert_int_equal(capped("avx2"), all & KFI_CPU_AVX2);
    assert_int_equal(capped("avxvnni"), all & (KFI_CPU_AVX2 | KFI_CPU_AVXVNNI));
    assert_int_equal(capped("avx512vnni"),
                     all & (KFI_CPU_AVX2 | KFI_CPU_AVXVNNI | KFI_CPU_AVX512VNNI));
    assert_int_equal(capped("amx"), all & ~(KFI_CPU_NEON | KFI_CPU_DOTPROD));
    assert_int_equal(capped("neon"), all & KFI_CPU_NEON);
    assert_int_equal(capped("dotprod"), all & (KFI_CPU_NEON | KFI_CPU_DOTPROD));
    assert_int_equal(capped("native"), all);
    assert_int_equal(capped(""), all);
}

static void refuses_an_unknown_cap(void **state)
{
    (void)state;
    kf_error err = {0};
    uint32_t features = 0;
    assert_int_equal(setenv("KERF_ISA", "sse9", 1), 0);
    assert_int_equal(kfi_cpu_features_capped(&features, &err), KF_INVALID);
    assert_non_null(strstr(err.msg, "'sse9'"));
    assert_int_equal(features, kfi_cpu_features());
    assert_int_equal(unsetenv("KERF_ISA"), 0);
}

static void names_what_the_processor_executes(void **state)
{
    (void)state;
    static const char *const names[] = {"avx2", "avxvnni", "avx512vnni",
                                        "amx",  "neon",    "dotprod"}; /* by bit */
    const uint32_t features = kfi_cpu_features();
    size_t n = 0;
    assert_int_equal(setenv("KERF_ISA", "generic", 1), 0); /* changes nothing */
    for (size_t bit = 0; bit < 6; bit++) {
        if ((features >> bit & 1u) != 0) {
            assert_string_equal(kf_cpu_feature(n++), names[bit]);
        }
    }
    assert_null(kf_cpu_feature(n));
    assert_null(kf_cpu_feature(SIZE_MAX));
    assert_int_equal(unsetenv("KERF_ISA"), 0);
}

static void the_name_fits_its_buffer(void **state)
{
    (void)state;
    char name[64];
    kf_cpu_name(name, sizeof name);
    assert_true(strlen(name) > 0);
    assert_true(name[0] != ' ' && name[strlen(name) - 1] != ' ');
    char small[5];
    kf_cpu_name(small, sizeof small);
    assert_int_equal(strlen(small), strlen(name) < 4 ? strlen(name) : 4);
    assert_memory_equal(small, name, strlen(small));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_come_with_what_they_build_on),
        cmocka_unit_test(agrees_with_the_kernel),
        cmocka_unit_test(the_environment_caps_the_features),
        cmocka_unit_test(refuses_an_unknown_cap),
        cmocka_unit_test(names_what_the_processor_executes),
        cmocka_unit_test(the_name_fits_its_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
