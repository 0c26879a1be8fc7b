/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdlib.h>

#include "io/sha256.h"
#include "pull_fixture.h"

#define COMMIT  "0123456789abcdef0123456789abcdef01234567"
#define LIST    "/api/models/org/tiny/revision/main?blobs=true"
#define RESOLVE "/org/tiny/resolve/" COMMIT "/"
#define HERE    "hf/org/tiny/" COMMIT

/* The hub's answer about org/tiny, with the given files. */
#define ABOUT(files) "{\"id\":\"org/tiny\",\"sha\":\"" COMMIT "\",\"siblings\":[" files "]}"
#define SMALL(name)  "{\"rfilename\":\"" name "\"}"

/* As ABOUT, of a file in large file storage whose text is known. */
static void about_lfs(char *dst, size_t n, const char *name, const char *text)
{
    kf_error err = {0};
    char sha256[KFI_SHA256_HEX];
    CHECK_OK(kfi_sha256_bytes(sha256, text, strlen(text), &err), &err);
    (void)snprintf(dst, n,
                   ABOUT(SMALL("config.json") ",{\"rfilename\":\"%s\",\"size\":%zu,\"lfs\":"
                                              "{\"sha256\":\"%s\",\"size\":%zu}}"),
                   name, strlen(text), sha256, strlen(text));
}

static void brings_a_checkpoint(void **state)
{
    pull_fixture *f = *state;
    char about[1024];
    about_lfs(about, sizeof about, "model.safetensors", "weights");
    const http_reply replies[] = {{.target = LIST, .type = "application/json", .text = about},
                                  {.target = RESOLVE "config.json", .text = "{}"},
                                  {.target = RESOLVE "model.safetensors", .text = "weights"}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny"), &f->err);
    pull_fixture_check_path(f, "/" HERE, NULL);
    pull_fixture_check_file(f, HERE "/config.json", "{}");
    pull_fixture_check_file(f, HERE "/model.safetensors", "weights");
    assert_false(pull_fixture_exists(f, HERE ".partial"));
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny"), &f->err);
    assert_int_equal(http_server_n_requests(f->server),
                     4); /* the second asks for the commit only */
}

static void a_cached_commit_needs_no_network(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/api/models/org/tiny/revision/" COMMIT "?blobs=true",
         .text = ABOUT(SMALL("config.json") "," SMALL("model.safetensors"))},
        {.target = RESOLVE "config.json", .text = "{}"},
        {.target = RESOLVE "model.safetensors", .text = "weights"}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny@" COMMIT), &f->err);
    assert_string_equal(f->warning, "the hub names no sha256 for model.safetensors");
    http_server_stop(f->server);
    f->server = NULL;
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny@" COMMIT), &f->err);
    pull_fixture_check_path(f, "/" HERE, NULL);
}

static void takes_what_a_model_needs_and_no_more(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {
        {.target = LIST,
         .text = ABOUT(
             SMALL(".gitattributes") "," SMALL("README.md") "," SMALL("config.json") "," SMALL("tokenizer.json") "," SMALL("LICENSE.txt") "," SMALL("USE_POLICY.md") "," SMALL("model-1-of-2.safetensors") "," SMALL("model-2-of-2.safetensors") "," SMALL(
                 "consolidated.safetensors") "," SMALL("pytorch_model.bin") "," SMALL("run.py") "," SMALL("onnx/config.json") "," SMALL("../evil.json") "," SMALL("/evil.json"))},
        {.target = RESOLVE "config.json", .text = "{}"},
        {.target = RESOLVE "tokenizer.json", .text = "{tok}"},
        {.target = RESOLVE "LICENSE.txt", .text = "free"},
        {.target = RESOLVE "USE_POLICY.md", .text = "be good"},
        {.target = RESOLVE "model-1-of-2.safetensors", .text = "one"},
        {.target = RESOLVE "model-2-of-2.safetensors", .text = "two"}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny"), &f->err);
    pull_fixture_check_file(f, HERE "/tokenizer.json", "{tok}");
    pull_fixture_check_file(f, HERE "/LICENSE.txt", "free");
    pull_fixture_check_file(f, HERE "/USE_POLICY.md", "be good");
    pull_fixture_check_file(f, HERE "/model-2-of-2.safetensors", "two");
    assert_int_equal(http_server_n_requests(f->server), 7);
}

static void brings_one_file(void **state)
{
    pull_fixture *f = *state;
    char about[1024];
    about_lfs(about, sizeof about, "q4/a b.gguf", "GGUF");
    const http_reply replies[] = {{.target = LIST, .text = about},
                                  {.target = RESOLVE "q4/a%20b.gguf", .text = "GGUF"}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny:q4/a b.gguf"), &f->err);
    pull_fixture_check_path(f, "/" HERE ".files/q4/a b.gguf", "GGUF");
    http_server_stop(f->server);
    f->server = NULL;
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny@" COMMIT ":q4/a b.gguf"), &f->err);
}

static void brings_the_only_gguf(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {
        {.target = LIST, .text = ABOUT(SMALL("README.md") "," SMALL("m.gguf"))},
        {.target = RESOLVE "m.gguf", .text = "GGUF"}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny"), &f->err);
    pull_fixture_check_path(f, "/" HERE ".files/m.gguf", "GGUF");
}

static void asks_which_of_several_ggufs(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {
        {.target = LIST, .text = ABOUT(SMALL("a.gguf") "," SMALL("b.gguf"))}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "hf:org/tiny"), KF_INPUT);
    assert_string_equal(f->err.msg, "'org/tiny' has 2 .gguf files: name one, as "
                                    "hf:org/tiny:a.gguf (another is b.gguf)");
}

static void reports_a_repository_without_a_model(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {{.target = LIST, .text = ABOUT(SMALL("pytorch_model.bin"))}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "hf:org/tiny"), KF_INPUT);
    assert_string_equal(f->err.msg,
                        "'org/tiny' has no .safetensors and no .gguf among its 1 files");
}

static void reports_weights_without_configuration(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {{.target = LIST, .text = ABOUT(SMALL("model.safetensors"))}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "hf:org/tiny"), KF_INPUT);
    assert_string_equal(f->err.msg, "'org/tiny' has no config.json");
    assert_int_equal(http_server_n_requests(f->server), 1); /* the weights were not asked for */
    assert_false(pull_fixture_exists(f, HERE));
}

static void reports_a_file_that_is_not_there(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {{.target = LIST, .text = ABOUT(SMALL("a.gguf"))}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "hf:org/tiny:b.gguf"), KF_INPUT);
    assert_string_equal(f->err.msg, "'org/tiny' has no file 'b.gguf'");
}

static void reports_a_model_that_is_not_there(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {{.target = LIST, .status = 401, .text = "{}"}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "hf:org/tiny"), KF_INPUT);
    pull_fixture_check_message(f, "no model 'org/tiny' of revision 'main' (private ones need "
                                  "HF_TOKEN): ");
    pull_fixture_check_message(f, "401");
}

static void escapes_the_revision(void **state)
{
    pull_fixture *f = *state;
    const http_reply replies[] = {
        {.target = "/api/models/org/tiny/revision/refs%2Fpr%2F1?blobs=true",
         .text = ABOUT(SMALL("m.gguf"))},
        {.target = RESOLVE "m.gguf", .text = "GGUF"}};
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny@refs/pr/1"), &f->err);
    pull_fixture_check_path(f, "/" HERE ".files/m.gguf", "GGUF");
}

static void sends_the_token_to_the_hub_only(void **state)
{
    pull_fixture *f = *state;
    char location[96];
    const http_reply store_replies[] = {{.target = "/blob?signature=x", .text = "GGUF"}};
    http_server *store = http_server_start(store_replies, 1);
    (void)snprintf(location, sizeof location, "Location: http://127.0.0.1:%u/blob?signature=x\r\n",
                   http_server_port(store));
    const http_reply replies[] = {
        {.target = LIST, .text = ABOUT(SMALL("m.gguf"))},
        {.target = RESOLVE "m.gguf", .status = 302, .extra = location, .text = ""}};
    PULL_START(f, replies);
    assert_int_equal(setenv("HF_TOKEN", "hf_x", 1), 0);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny"), &f->err);
    assert_non_null(
        strstr(http_server_request(f->server, 0), "\r\nAuthorization: Bearer hf_x\r\n"));
    assert_non_null(
        strstr(http_server_request(f->server, 1), "\r\nAuthorization: Bearer hf_x\r\n"));
    assert_null(strstr(http_server_request(store, 0), "hf_x"));
    http_server_stop(store);
}

static void refuses_the_wrong_hash(void **state)
{
    pull_fixture *f = *state;
    char about[1024];
    about_lfs(about, sizeof about, "model.safetensors", "weights");
    const http_reply replies[] = {{.target = LIST, .text = about},
                                  {.target = RESOLVE "config.json", .text = "{}"},
                                  {.target = RESOLVE "model.safetensors", .text = "weightz"}};
    PULL_START(f, replies);
    assert_int_equal(pull_fixture_run(f, "hf:org/tiny"), KF_FORMAT);
    pull_fixture_check_message(f, "model.safetensors: the index says sha256 ");
    assert_false(pull_fixture_exists(f, HERE));
    assert_true(pull_fixture_exists(f, HERE ".partial/config.json"));
}

static void keeps_finished_files_of_a_broken_pull(void **state)
{
    pull_fixture *f = *state;
    const char *about = ABOUT(SMALL("config.json") "," SMALL("model.safetensors"));
    const http_reply broken[] = {
        {.target = LIST, .text = about},
        {.target = RESOLVE "config.json", .text = "{}"},
        {.target = RESOLVE "model.safetensors", .status = 500, .text = ""}};
    const http_reply replies[] = {{.target = LIST, .text = about},
                                  {.target = RESOLVE "model.safetensors", .text = "weights"}};
    PULL_START(f, broken);
    assert_int_equal(pull_fixture_run(f, "hf:org/tiny"), KF_IO);
    PULL_START(f, replies);
    CHECK_OK(pull_fixture_run(f, "hf:org/tiny"), &f->err);
    pull_fixture_check_file(f, HERE "/config.json", "{}");
    assert_int_equal(http_server_n_requests(f->server), 2);
}

static void refuses_answers_that_make_no_sense(void **state)
{
    pull_fixture *f = *state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "the hub's answer about 'org/tiny': line 1, column 0: "},
        {"[]", "has no commit (\"sha\")"},
        {"{\"sha\":\"../../x\",\"siblings\":[]}", "has no commit (\"sha\")"},
        {"{\"sha\":\"" COMMIT "\"}", "no list of at most 100000 files"},
        {ABOUT("{}"), "has no \"rfilename\""},
        {ABOUT("{\"rfilename\":\"a\",\"lfs\":{\"sha256\":\"zz\"}}"), "sha256 is not 64 digits"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const http_reply replies[] = {{.target = LIST, .text = cases[i].text}};
        PULL_START(f, replies);
        assert_int_equal(pull_fixture_run(f, "hf:org/tiny"), KF_FORMAT);
        pull_fixture_check_message(f, cases[i].message);
    }
}

#define CASE(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, pull_fixture_set_up, pull_fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(brings_a_checkpoint),
        CASE(a_cached_commit_needs_no_network),
        CASE(takes_what_a_model_needs_and_no_more),
        CASE(brings_one_file),
        CASE(brings_the_only_gguf),
        CASE(asks_which_of_several_ggufs),
        CASE(reports_a_repository_without_a_model),
        CASE(reports_weights_without_configuration),
        CASE(reports_a_file_that_is_not_there),
        CASE(reports_a_model_that_is_not_there),
        CASE(escapes_the_revision),
        CASE(sends_the_token_to_the_hub_only),
        CASE(refuses_the_wrong_hash),
        CASE(keeps_finished_files_of_a_broken_pull),
        CASE(refuses_answers_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
