/* methods.c - the table of methods, and reading their knobs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "quantize/method.h"

#define KFI_METHOD(name) extern const kfi_method kfi_method_##name;
#include "quantize/methods.def"
#undef KFI_METHOD

static const kfi_method *const methods[] = {
#define KFI_METHOD(name) &kfi_method_##name,
#include "quantize/methods.def"
#undef KFI_METHOD
};

#define N_METHODS (sizeof methods / sizeof methods[0])

const kfi_method *kfi_method_get(size_t i)
{
    return i < N_METHODS ? methods[i] : NULL;
}

const kf_method *kf_method_at(size_t i)
{
    return i < N_METHODS ? &methods[i]->about : NULL;
}

const kfi_method *kfi_method_find(const char *name, size_t n)
{
    for (size_t i = 0; i < N_METHODS; i++) {
        if (strlen(methods[i]->about.name) == n && memcmp(methods[i]->about.name, name, n) == 0) {
            return methods[i];
        }
    }
    return NULL;
}

size_t kfi_knob_find(const kfi_method *method, const char *name, size_t n)
{
    for (size_t i = 0; i < method->about.n_knobs; i++) {
        const char *knob = method->about.knobs[i].name;
        if (strlen(knob) == n && memcmp(knob, name, n) == 0) {
            return i;
        }
    }
    return KFI_KNOBS_MAX;
}

bool kfi_knob_is_switch(const kf_knob *knob)
{
    return knob->choices != NULL && strcmp(knob->choices, "false|true") == 0;
}

const char *kfi_knob_choice(const kf_knob *knob, size_t i, size_t *n)
{
    const char *word = knob->choices;
    for (; word != NULL && i > 0; i--) {
        word = strchr(word, '|');
        word = word != NULL ? word + 1 : NULL;
    }
    *n = word != NULL ? strcspn(word, "|") : 0;
    return word;
}

kf_status kfi_knob_check(const kfi_method *method, size_t i_knob, double value, kf_error *err)
{
    const kf_knob *knob = &method->about.knobs[i_knob];
    if (!(value >= knob->minimum && value <= knob->maximum)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%s.%s is %g, expected %g to %g",
                        method->about.name, knob->name, value, knob->minimum, knob->maximum);
    }
    return KF_OK;
}

static kf_status parse_word(double *value, const kfi_method *method, const kf_knob *knob,
                            const char *text, kf_error *err)
{
    size_t n = 0;
    for (size_t i = 0;; i++) {
        const char *word = kfi_knob_choice(knob, i, &n);
        if (word == NULL) {
            return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%s.%s is '%.40s', expected %s",
                            method->about.name, knob->name, text, knob->choices);
        }
        if (strlen(text) == n && memcmp(text, word, n) == 0) {
            *value = (double)i;
            return KF_OK;
        }
    }
}

kf_status kfi_knob_parse(double *value, const kfi_method *method, size_t i_knob, const char *text,
                         kf_error *err)
{
    const kf_knob *knob = &method->about.knobs[i_knob];
    if (knob->choices != NULL) {
        return parse_word(value, method, knob, text, err);
    }
    char *end = NULL;
    const double number = strtod(text, &end);
    if (end == text || *end != '\0') {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%s.%s is '%.40s', expected a number",
                        method->about.name, knob->name, text);
    }
    KFI_TRY(kfi_knob_check(method, i_knob, number, err));
    *value = number;
    return KF_OK;
}

void kfi_knobs_default(double *knobs, const kfi_method *method)
{
    for (size_t i = 0; i < KFI_KNOBS_MAX; i++) {
        knobs[i] = 0.0;
        /* A default that its own table refuses is a bug; tests/unit/test_methods.c parses all. */
        if (i < method->about.n_knobs &&
            kfi_knob_parse(&knobs[i], method, i, method->about.knobs[i].fallback, NULL) != KF_OK) {
            knobs[i] = NAN;
        }
    }
}
