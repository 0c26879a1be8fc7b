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

/* Whether the n bytes of a name without its kind (".weight") are of the pattern `from`; writes what
 * the pattern `to` makes of them. */
static bool translate(kfi_name *dst, const char *name, size_t n, const char *from, const char *to)
{
    const char *star = strchr(from, '*');
    const size_t n_head = star == NULL ? strlen(from) : (size_t)(star - from);
    const char *tail = star == NULL ? "" : star + 1;
    const size_t n_tail = strlen(tail);
    if (n < n_head + n_tail || memcmp(name, from, n_head) != 0 ||
        memcmp(name + n - n_tail, tail, n_tail) != 0) {
        return false;
    }
    const char *number = name + n_head;
    const size_t n_number = n - n_head - n_tail;
    if (n_number > 4 || (n_number > 0) != (star != NULL) ||
        strspn(number, "0123456789") < n_number) {
        return false;
    }
    const char *to_star = strchr(to, '*');
    const size_t n_to_head = to_star == NULL ? strlen(to) : (size_t)(to_star - to);
    (void)snprintf(dst->text, sizeof dst->text, "%.*s%.*s%s%s", (int)n_to_head, to, (int)n_number,
                   number, to_star == NULL ? "" : to_star + 1, name + n);
    return true;
}

static kfi_name translate_any(const kfi_gguf_name *names, const char *name, bool to_gguf)
{
    kfi_name result = {""};
    const char *kind = strrchr(name, '.');
    if (kind == NULL || (strcmp(kind, ".weight") != 0 && strcmp(kind, ".bias") != 0)) {
        return result;
    }
    const size_t n = (size_t)(kind - name);
    while (names->gguf != NULL &&
           !translate(&result, name, n, to_gguf ? names->hugging_face : names->gguf,
                      to_gguf ? names->gguf : names->hugging_face)) {
        names++;
    }
    return result;
}

kfi_name kfi_name_from_gguf(const kfi_architecture *architecture, const char *name)
{
    return translate_any(architecture->gguf_names, name, false);
}

kfi_name kfi_name_to_gguf(const kfi_architecture *architecture, const char *name)
{
    return translate_any(architecture->gguf_names, name, true);
}
