/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "quantize/method.h"

static void every_method_is_complete(void **state)
{
    (void)state;
    static const char *const stages[] = {"transform", "allocate", "round", "repair", "tune"};
    size_t n = 0;
    for (const kfi_method *method; (method = kfi_method_get(n)) != NULL; n++) {
        assert_ptr_equal(kf_method_at(n), &method->about);
        assert_string_equal(method->about.stage, stages[method->stage]);
        assert_true(strlen(method->about.summary) > 10 && strlen(method->about.paper) > 10);
        assert_non_null(method->about.statistics);
        assert_true(method->about.n_knobs <= KFI_KNOBS_MAX);
        assert_ptr_equal(kfi_method_find(method->about.name, strlen(method->about.name)), method);
        if (method->stage == KFI_STAGE_ROUND) {
            assert_non_null(method->round);
            assert_non_null(method->grid);
        }
        assert_true((method->stage == KFI_STAGE_TRANSFORM) == (method->transform != NULL));
        assert_true((method->stage == KFI_STAGE_REPAIR) == (method->repair != NULL));
        if (method->stage == KFI_STAGE_REPAIR) { /* kfi_repair_read() goes by their places */
            assert_string_equal(method->about.knobs[0].name, "rank");
            assert_string_equal(method->about.knobs[1].name, "factors");
        }
        assert_true((method->prepare == NULL) == (method->release == NULL));
    }
    assert_true(n >= 4);
    assert_null(kf_method_at(n));
}

static void every_default_is_legal(void **state)
{
    (void)state;
    kf_error err = {0};
    for (size_t i = 0; kfi_method_get(i) != NULL; i++) {
        const kfi_method *method = kfi_method_get(i);
        double knobs[KFI_KNOBS_MAX];
        kfi_knobs_default(knobs, method);
        for (size_t k = 0; k < method->about.n_knobs; k++) {
            double value = NAN;
            CHECK_OK(kfi_knob_parse(&value, method, k, method->about.knobs[k].fallback, &err),
                     &err);
            assert_true(value == knobs[k]);
        }
    }
}

static size_t knob(const kfi_method *method, const char *name)
{
    const size_t i = kfi_knob_find(method, name, strlen(name));
    assert_true(i < method->about.n_knobs);
    return i;
}

static void knobs_are_read_in_their_range_only(void **state)
{
    (void)state;
    kf_error err = {0};
    double value = 0.0;
    const kfi_method *gptq = kfi_method_find("gptq", 4);
    CHECK_OK(kfi_knob_parse(&value, gptq, knob(gptq, "damping"), "0.05", &err), &err);
    assert_true(value == 0.05);
    static const char *const bad[] = {"-1", "11", "nan", "inf", "", "0.1x", "x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(kfi_knob_parse(&value, gptq, knob(gptq, "damping"), bad[i], &err),
                         KF_RANGE);
        assert_non_null(strstr(err.msg, "gptq.damping"));
    }
    assert_true(value == 0.05);
}

static void words_and_switches_are_read_as_their_index(void **state)
{
    (void)state;
    kf_error err = {0};
    double value = NAN;
    const kfi_method *gptq = kfi_method_find("gptq", 4);
    CHECK_OK(kfi_knob_parse(&value, gptq, knob(gptq, "fit"), "minmax", &err), &err);
    assert_true(value == 0.0);
    CHECK_OK(kfi_knob_parse(&value, gptq, knob(gptq, "fit"), "mse", &err), &err);
    assert_true(value == 1.0);
    CHECK_OK(kfi_knob_parse(&value, gptq, knob(gptq, "act_order"), "true", &err), &err);
    assert_true(value == 1.0);
    assert_int_equal(kfi_knob_parse(&value, gptq, knob(gptq, "act_order"), "1", &err), KF_RANGE);
    assert_int_equal(kfi_knob_parse(&value, gptq, knob(gptq, "fit"), "ms", &err), KF_RANGE);
    assert_int_equal(kfi_knob_parse(&value, gptq, knob(gptq, "fit"), "", &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "minmax|mse"));
}

static void unknown_names_are_not_found(void **state)
{
    (void)state;
    assert_null(kfi_method_find("gptq2", 5));
    assert_null(kfi_method_find("gpt", 3));
    assert_int_equal(kfi_knob_find(kfi_method_find("rtn", 3), "fi", 2), KFI_KNOBS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_is_complete),
        cmocka_unit_test(every_default_is_legal),
        cmocka_unit_test(knobs_are_read_in_their_range_only),
        cmocka_unit_test(words_and_switches_are_read_as_their_index),
        cmocka_unit_test(unknown_names_are_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
