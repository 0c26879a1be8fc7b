/* jinja_tests.c - the tests of templates: "value is name".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "text/jinja_run.h"

static bool is_integer(const kfi_jinja_value *value)
{
    return value->kind == KFI_JINJA_INTEGER;
}

/* Tests of the kind alone; false where the name is none of them. */
static bool test_kind(bool *dst, kfi_jinja_text name, const kfi_jinja_value *value)
{
    const kfi_jinja_kind kind = value->kind;
    const struct {
        const char *name;
        bool result;
    } tests[] = {
        {"defined", kind != KFI_JINJA_UNDEFINED},
        {"undefined", kind == KFI_JINJA_UNDEFINED},
        {"none", kind == KFI_JINJA_NONE},
        {"string", kind == KFI_JINJA_STRING},
        {"boolean", kind == KFI_JINJA_BOOL},
        {"integer", kind == KFI_JINJA_INTEGER},
        {"number", kind == KFI_JINJA_INTEGER || kind == KFI_JINJA_BOOL},
        {"mapping", kind == KFI_JINJA_MAP},
        {"sequence", kind == KFI_JINJA_LIST || kind == KFI_JINJA_STRING || kind == KFI_JINJA_MAP},
        {"iterable", kind == KFI_JINJA_LIST || kind == KFI_JINJA_STRING || kind == KFI_JINJA_MAP ||
                         kind == KFI_JINJA_UNDEFINED},
        {"callable", kind == KFI_JINJA_MACRO},
        {"true", kind == KFI_JINJA_BOOL && value->as.boolean},
        {"false", kind == KFI_JINJA_BOOL && !value->as.boolean},
        {"odd", is_integer(value) && value->as.integer % 2 != 0},
        {"even", is_integer(value) && value->as.integer % 2 == 0},
    };
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (kfi_jinja_text_is(name, tests[i].name)) {
            *dst = tests[i].result;
            return true;
        }
    }
    return false;
}

kf_status kfi_jinja_test(bool *dst, kfi_jinja_run *run, kfi_jinja_text name, kfi_jinja_value value,
                         const kfi_jinja_arguments *arguments)
{
    const kfi_jinja_value other = arguments->n > 0 ? arguments->values[0] : kfi_jinja_undefined();
    if (test_kind(dst, name, &value)) {
        return KF_OK;
    }
    if (kfi_jinja_text_is(name, "equalto") || kfi_jinja_text_is(name, "eq")) {
        return kfi_jinja_compare_equal(dst, run, value, other);
    }
    if (kfi_jinja_text_is(name, "sameas")) { /* 1 == true, but is not the same */
        KFI_TRY(kfi_jinja_compare_equal(dst, run, value, other));
        *dst = *dst && value.kind == other.kind;
        return KF_OK;
    }
    if (kfi_jinja_text_is(name, "ne")) {
        KFI_TRY(kfi_jinja_compare_equal(dst, run, value, other));
        *dst = !*dst;
        return KF_OK;
    }
    if (kfi_jinja_text_is(name, "in")) {
        return kfi_jinja_contains(dst, run, value, other);
    }
    if (kfi_jinja_text_is(name, "divisibleby")) {
        *dst = is_integer(&value) && is_integer(&other) && other.as.integer > 0 &&
               value.as.integer % other.as.integer == 0;
        return KF_OK;
    }
    return kfi_fail(run->err, KF_UNSUPPORTED, run->offset, "the test '%.*s'",
                    (int)(name.n < 60 ? name.n : 60), name.data);
}
