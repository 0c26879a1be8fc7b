/* dispatch.c - which variant of each kernel this process uses.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/once.h"
#include "kerf/machine.h"
#include "kernels/selfcheck.h"

#define NAME(family) #family,
static const char *const families[] = {KFI_FAMILIES(NAME) NULL};
#undef NAME
#define N_FAMILIES (sizeof families / sizeof families[0] - 1)

#define INDEX(family) family_##family,
enum {
    KFI_FAMILIES(INDEX) n_families
};
#undef INDEX
_Static_assert(n_families == N_FAMILIES, "one name a family");

/* Written once, under `once`; read-only afterwards. */
static kfi_once once = KFI_ONCE_INIT;
static kfi_kernels table;
static const char *variants[N_FAMILIES];
static char warning[1024]; /* room for the name of every kernel */
static size_t n_dropped;

static void add_warning(const char *text)
{
    const size_t n = strlen(warning);
    (void)snprintf(warning + n, sizeof warning - n, "%s", text);
}

/* Names one more kernel, behind an unknown KERF_ISA if there was one. */
static void warn_dropped(const char *name)
{
    if (n_dropped++ == 0) {
        add_warning(warning[0] != '\0' ? "; " : "");
        add_warning("kernels that give wrong results on this machine and are not used:");
    }
    add_warning(n_dropped > 1 ? ", " : " ");
    add_warning(name);
}

static void choose(void)
{
    uint32_t features = 0;
    kf_error err = {0};
    if (kfi_cpu_features_capped(&features, &err) != KF_OK) {
        add_warning(err.msg);
    }
    /* The plain C rows are the reference and need no proof; a later row that holds replaces it. */
#define KFI_KERNEL(family, variant, needs)                                                         \
    if ((features & (needs)) == (needs)) {                                                         \
        if ((needs) == 0 || kfi_selfcheck_##family(kfi_##family##_##variant)) {                    \
            table.family = kfi_##family##_##variant;                                               \
            variants[family_##family] = #variant;                                                  \
        } else {                                                                                   \
            warn_dropped(#family "_" #variant);                                                    \
        }                                                                                          \
    }
#include "kernels/kernels.def"
#undef KFI_KERNEL
}

const kfi_kernels *kfi_kernels_get(void)
{
    kfi_once_run(&once, choose);
    return &table;
}

bool kf_kernel_in_use(size_t i, const char **family, const char **variant)
{
    kfi_once_run(&once, choose);
    *family = i < N_FAMILIES ? families[i] : NULL;
    *variant = i < N_FAMILIES ? variants[i] : NULL;
    return i < N_FAMILIES;
}

const char *kf_kernel_warning(void)
{
    kfi_once_run(&once, choose);
    return warning[0] != '\0' ? warning : NULL;
}
