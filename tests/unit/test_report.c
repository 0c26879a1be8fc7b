/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/clock.h"
#include "base/report.h"

typedef struct log {
    size_t n_progress;
    uint64_t last_done;
    size_t n_warnings;
    char warning[600];
    bool cancel;
} log;

static void on_progress(void *ctx, const kf_progress *progress)
{
    log *l = ctx;
    l->n_progress++;
    l->last_done = progress->done;
}

static void on_warning(void *ctx, const char *message)
{
    log *l = ctx;
    l->n_warnings++;
    (void)snprintf(l->warning, sizeof l->warning, "%s", message);
}

static bool on_cancelled(void *ctx)
{
    return ((const log *)ctx)->cancel;
}

static void does_nothing_without_callbacks(void **state)
{
    (void)state;
    const kf_callbacks none = {0};
    const kf_callbacks *all[] = {NULL, &none};
    for (size_t i = 0; i < 2; i++) {
        kfi_report report;
        kfi_report_init(&report, all[i]);
        kfi_report_progress(&report, "x", "y", 1, 2);
        kfi_report_warn(all[i], "%d", 3);
        assert_false(kfi_report_cancelled(all[i]));
    }
}

static void limits_the_rate_but_reports_first_and_last(void **state)
{
    (void)state;
    log l = {0};
    const kf_callbacks callbacks = {.progress = on_progress, .ctx = &l};
    kfi_report report;
    kfi_report_init(&report, &callbacks);
    const double start = kfi_clock_seconds();
    for (uint64_t i = 1; i <= 1000; i++) {
        kfi_report_progress(&report, "counting", "numbers", i, 1000);
    }
    const double seconds = kfi_clock_seconds() - start;
    assert_true(l.n_progress >= 2);
    assert_true((double)l.n_progress <= 3 + 10 * seconds);
    assert_int_equal(l.last_done, 1000);
}

static void a_warning_is_one_line(void **state)
{
    (void)state;
    log l = {0};
    const kf_callbacks callbacks = {.warn = on_warning, .ctx = &l};
    kfi_report_warn(&callbacks, "tensor '%s'", "a\n\x1b[2J");
    assert_string_equal(l.warning, "tensor 'a??[2J'");
    assert_int_equal(l.n_warnings, 1);
}

static void a_long_warning_is_cut_between_characters(void **state)
{
    (void)state;
    log l = {0};
    char name[601] = "";
    const kf_callbacks callbacks = {.warn = on_warning, .ctx = &l};
    for (size_t i = 0; i < 600; i += 2) {
        memcpy(name + i, "\xC3\xA9", 3);
    }
    kfi_report_warn(&callbacks, "%s", name);
    assert_true(strlen(l.warning) > 400 && strlen(l.warning) % 2 == 0);
    assert_memory_equal(l.warning, name, strlen(l.warning));
}

static void asks_whether_to_stop(void **state)
{
    (void)state;
    log l = {0};
    const kf_callbacks callbacks = {.cancelled = on_cancelled, .ctx = &l};
    assert_false(kfi_report_cancelled(&callbacks));
    l.cancel = true;
    assert_true(kfi_report_cancelled(&callbacks));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_nothing_without_callbacks),
        cmocka_unit_test(limits_the_rate_but_reports_first_and_last),
        cmocka_unit_test(a_warning_is_one_line),
        cmocka_unit_test(a_long_warning_is_cut_between_characters),
        cmocka_unit_test(asks_whether_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
