/* architecture.c - the table of architectures.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/architecture.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

static const kfi_architecture *const architectures[] = {
#define KFI_ARCHITECTURE(name) &kfi_architecture_##name,
#include "model/architectures.def"
#undef KFI_ARCHITECTURE
};

#define N_ARCHITECTURES (sizeof architectures / sizeof architectures[0])

static const char *name_of(const kfi_architecture *architecture, bool hugging_face)
{
    return hugging_face ? architecture->hugging_face : architecture->name;
}

static kf_status find(const kfi_architecture **architecture, bool hugging_face, const char *name,
                      size_t n, kf_error *err)
{
    char known[160] = "";
    size_t n_known = 0;
    for (size_t i = 0; i < N_ARCHITECTURES; i++) {
        const char *candidate = name_of(architectures[i], hugging_face);
        if (strlen(candidate) == n && memcmp(candidate, name, n) == 0) {
            *architecture = architectures[i];
            return KF_OK;
        }
        if (n_known < sizeof known) {
            n_known += (size_t)snprintf(known + n_known, sizeof known - n_known, "%s%s",
                                        i == 0 ? "" : ", ", candidate);
        }
    }
    return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET, "architecture '%.*s' is not one of %s",
                    n < 60 ? (int)n : 60, name, known);
}

kf_status kfi_architecture_find(const kfi_architecture **architecture, const char *name, size_t n,
                                kf_error *err)
{
    return find(architecture, false, name, n, err);
}

kf_status kfi_architecture_find_hugging_face(const kfi_architecture **architecture,
                                             const char *name, size_t n, kf_error *err)
{
    return find(architecture, true, name, n, err);
}
