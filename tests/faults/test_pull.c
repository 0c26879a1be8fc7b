/* SPDX-License-Identifier: Apache-2.0
 *
 * Every allocation of a whole pull fails once: each failure is reported, nothing leaks, and the
 * next try with enough memory succeeds in the same cache. */
#include "check.h"

#include "build_wheel.h"
#include "fixtures.h"
#include "pull_fixture.h"

static void run_until_it_succeeds(pull_fixture *f, const char *name)
{
    size_t n_failures = 0;
    for (size_t i = 1;; i++) {
        fixture_allocator allocator;
        fixture_allocator_init(&allocator, i);
        f->alloc = &allocator.allocator;
        const kf_status st = pull_fixture_run(f, name);
        assert_true(fixture_allocator_is_clean(&allocator));
        if (st == KF_OK) {
            break;
        }
        if (st != KF_NOMEM) {
            fail_msg("allocation %zu: %s: %s", i, kf_status_text(st), f->err.msg);
        }
        n_failures++;
        assert_true(i < 10000);
    }
    assert_true(n_failures > 5);
}

static void a_pull_from_an_index_survives_every_allocation(void **state)
{
    pull_fixture *f = *state;
    static const wheel_member members[] = {{"tiny/config.json", "{}"},
                                           {"tiny/model.safetensors", "weights"}};
    kfi_buf wheel;
    kfi_buf_init(&wheel, NULL, 1 << 20);
    wheel_build(&wheel, members, 2);
    const http_reply replies[] = {
        {.target = "/simple/tiny/",
         .type = "text/html",
         .text = "<a href='/f/tiny-1.0-py3-none-any.whl'>a</a>"},
        {.target = "/f/tiny-1.0-py3-none-any.whl", .body = wheel.data, .n = wheel.n}};
    PULL_START(f, replies);
    run_until_it_succeeds(f, "pypi:tiny");
    pull_fixture_check_file(f, "pypi/tiny/1/model.safetensors", "weights");
    kfi_buf_deinit(&wheel);
}

static void a_pull_from_a_hub_survives_every_allocation(void **state)
{
    pull_fixture *f = *state;
#define COMMIT "0123456789abcdef0123456789abcdef01234567"
    const http_reply replies[] = {
        {.target = "/api/models/org/tiny/revision/main?blobs=true",
         .text = "{\"sha\":\"" COMMIT "\",\"siblings\":[{\"rfilename\":\"config.json\"},"
                 "{\"rfilename\":\"model.safetensors\"}]}"},
        {.target = "/org/tiny/resolve/" COMMIT "/config.json", .text = "{}"},
        {.target = "/org/tiny/resolve/" COMMIT "/model.safetensors", .text = "weights"}};
    PULL_START(f, replies);
    run_until_it_succeeds(f, "hf:org/tiny");
    pull_fixture_check_file(f, "hf/org/tiny/" COMMIT "/model.safetensors", "weights");
}

#define CASE(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, pull_fixture_set_up, pull_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_pull_from_an_index_survives_every_allocation),
        CASE(a_pull_from_a_hub_survives_every_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
