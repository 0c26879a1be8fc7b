/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "fixtures.h"
#include "io/safetensors.h"
#include "quantize_fixture.h"

static void count_layer(void *ctx, const kf_layer_report *report)
{
    assert_true(strlen(report->tensor) > 0);
    ++*(size_t *)ctx;
}

static void a_cancelled_run_resumes_to_the_same_bytes(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "prefix=start",          "prefix=none",      "gptq.true_sequential=false",
        "tensors.*v_proj=keep",  "act_clip=search",  "qera-exact.rank=8",
        "qera-exact.budget=1.3", "gwq.outliers=0.02"};
    for (size_t i = 0; i < 8; i++) {
        quantize_fixture *f = quantize_fixture_new("qwen2",
                                                   i < 5   ? "gptq-w4"
                                                   : i < 7 ? "qera-gptq-w3-r32"
                                                           : "gwq-w4",
                                                   1);
        quantize_fixture_set(f, "prefix=start");
        quantize_fixture_set(f, "act_kept=true"); /* of v_proj, where it is kept */
        quantize_fixture_set(f, "activations=int4tg64");
        quantize_fixture_set(f, settings[i]);
        quantize_fixture_run(f, "whole", NULL);
        size_t n_runs = 1;
        f->options.resume = true;
        for (size_t at = 3; !quantize_fixture_cancel(f, "pieces", at); at += 17) {
            n_runs++;
        }
        assert_true(n_runs > 3);
        assert_same_directories(quantize_fixture_path(f, "whole"),
                                quantize_fixture_path(f, "pieces"));
        quantize_fixture_free(f);
    }
}

/* One cancelled run with its first block finished. */
static quantize_fixture *interrupted(void)
{
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    quantize_fixture_set(f, "prefix=start");
    for (size_t at = 10;
         !kfi_file_exists(quantize_fixture_path(f, "out.partial/model-00001-of-00003.safetensors"));
         at += 10) {
        f->options.force = at > 10;
        assert_false(quantize_fixture_cancel(f, "out", at));
    }
    f->options.force = false;
    return f;
}

static void finished_blocks_are_taken_over_and_reported(void **state)
{
    (void)state;
    quantize_fixture *f = interrupted();
    kf_quantize_result result;
    size_t n_layers = 0;
    f->options.layer = count_layer;
    f->options.ctx = &n_layers;
    f->options.resume = true;
    quantize_fixture_run(f, "out", &result);
    assert_int_equal(result.n_layers_resumed, 1);
    assert_int_equal(n_layers, 15);
    quantize_fixture_free(f);
}

static void an_interrupted_run_is_not_taken_for_a_new_one(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = interrupted();
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "--resume"));
    assert_non_null(strstr(err.msg, "--force"));
    f->options.force = true;
    quantize_fixture_run(f, "out", NULL);
    quantize_fixture_free(f);
}

static void only_the_same_run_is_resumed(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = interrupted();
    f->options.resume = true;
    f->options.seed++;
    for (size_t dry = 0; dry < 2; dry++) {
        f->options.dry_run = dry == 1;
        assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INPUT);
        assert_non_null(strstr(err.msg, "another seed"));
    }
    f->options.seed--;
    quantize_fixture_run(f, "out", NULL); /* still dry */
    f->options.dry_run = false;
    f->calibration[5] ^= 1;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INPUT);
    assert_non_null(strstr(err.msg, "another calibration text"));
    f->calibration[5] ^= 1;
    f->prefix[0] ^= 1;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INPUT);
    assert_non_null(strstr(err.msg, "another start token"));
    f->prefix[0] ^= 1;
    quantize_fixture_set(f, "gptq.damping=0.02");
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INPUT);
    assert_non_null(strstr(err.msg, "another recipe"));
    quantize_fixture_set(f, "gptq.damping=0.01");

    tiny_options options = tiny_options_of("llama");
    options.seed += 1;
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, "other"), &err), &err);
    tiny_model *other = tiny_model_new(quantize_fixture_path(f, "other"), &options);
    kf_model *model = NULL;
    CHECK_OK(kf_model_open(&model, other->path, NULL, &err), &err);
    assert_int_equal(
        kf_quantize(NULL, model, quantize_fixture_path(f, "out"), f->recipe, &f->options, &err),
        KF_INPUT);
    assert_non_null(strstr(err.msg, "another source"));
    kf_model_close(model);
    tiny_model_free(other);
    quantize_fixture_run(f, "out", NULL);
    quantize_fixture_free(f);
}

static void a_complete_output_resumes_to_itself(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    kf_quantize_result first;
    kf_quantize_result again;
    quantize_fixture_run(f, "out", &first);
    f->options.resume = true;
    quantize_fixture_run(f, "out", &again);
    assert_int_equal(again.n_layers_resumed, 2);
    assert_int_equal(again.bytes, first.bytes);
    assert_string_equal(again.prefix, first.prefix);
    assert_true(again.prefix_loss[1] == first.prefix_loss[1]);
    f->options.seed++;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INPUT);
    quantize_fixture_free(f);
}

static void two_runs_do_not_work_in_one_directory(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = interrupted();
    int fd = -1;
    CHECK_OK(kfi_file_lock_directory(&fd, quantize_fixture_path(f, "out.partial"), &err), &err);
    for (size_t i = 0; i < 4; i++) {
        f->options.resume = i % 2 == 0;
        f->options.force = i % 2 == 1;
        f->options.dry_run = i >= 2;
        assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
        assert_non_null(strstr(err.msg, "another process"));
    }
    kfi_file_unlock(fd);
    f->options.dry_run = false;
    f->options.force = false;
    f->options.resume = true;
    quantize_fixture_run(f, "out", NULL);
    quantize_fixture_free(f);
}

static void a_damaged_block_is_not_resumed(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = interrupted();
    const char *block = quantize_fixture_path(f, "out.partial/model-00001-of-00003.safetensors");
    assert_int_equal(truncate(block, 5000), 0);
    f->options.resume = true;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_FORMAT);
    assert_non_null(strstr(err.msg, "model-00001-of-00003.safetensors"));
    quantize_fixture_free(f);
}

static void rename_output(const quantize_fixture *f, const char *from, const char *to)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_rename(quantize_fixture_path(f, from), quantize_fixture_path(f, to), &err),
             &err);
}

/* OUT is OUT.replaced already and OUT.partial, complete, not yet OUT. */
static void a_run_cut_off_between_its_two_renames_loses_nothing(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    quantize_fixture_run(f, "old", NULL);
    quantize_fixture_run(f, "out", NULL);
    rename_output(f, "out", "out.replaced");
    f->options.seed++;
    quantize_fixture_run(f, "new", NULL);
    quantize_fixture_run(f, "out", NULL);
    rename_output(f, "out", "out.partial");

    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "--force"));
    assert_same_directories(quantize_fixture_path(f, "old"), quantize_fixture_path(f, "out"));

    rename_output(f, "out", "out.replaced");
    kf_quantize_result result;
    f->options.resume = true;
    f->options.force = true;
    quantize_fixture_run(f, "out", &result);
    assert_int_equal(result.n_layers_resumed, 2);
    assert_same_directories(quantize_fixture_path(f, "new"), quantize_fixture_path(f, "out"));
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.replaced")));
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
    quantize_fixture_free(f);
}

static void a_directory_that_was_not_replaced_is_left_alone(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, "out.replaced"), &err), &err);
    f->options.force = true;
    quantize_fixture_run(f, "out", NULL);
    assert_true(kfi_file_exists(quantize_fixture_path(f, "out.replaced")));
    quantize_fixture_free(f);
}

/* Writes a value into an element of a tensor of the fixture's safetensors source. */
static void poison(quantize_fixture *f, const char *tensor_name, size_t i, float value)
{
    kf_error err = {0};
    kfi_safetensors *file = NULL;
    CHECK_OK(kfi_safetensors_open(&file, f->tiny->path, NULL, &err), &err);
    const kfi_tensor *tensor = kfi_tensor_find(kfi_safetensors_tensors(file), tensor_name);
    assert_non_null(tensor);
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", f->tiny->path,
                   kfi_safetensors_file_name(file, tensor->i_file));
    FILE *out = fopen(path, "r+b");
    assert_non_null(out);
    assert_int_equal(fseek(out, (long)(tensor->offset + i * sizeof value), SEEK_SET), 0);
    assert_int_equal(fwrite(&value, sizeof value, 1, out), 1);
    assert_int_equal(fclose(out), 0);
    kfi_safetensors_close(file);
    kf_model_close(f->model);
    CHECK_OK(kf_model_open(&f->model, f->tiny->path, NULL, &err), &err);
}

static void what_is_not_finite_is_refused_with_tensor_and_index(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        float value;
        bool is_of_block; /* found when its turn comes; else in front of all work */
    } cases[] = {
        {"model.layers.1.mlp.up_proj.weight", (float)NAN, true},
        {"model.layers.0.self_attn.q_proj.bias", (float)INFINITY, true},
        {"model.layers.1.input_layernorm.weight", (float)NAN, true},
        {"model.embed_tokens.weight", -(float)INFINITY, false},
        {"lm_head.weight", (float)NAN, false},
        {"model.norm.weight", (float)NAN, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        char keep[160];
        quantize_fixture *f = quantize_fixture_new("qwen2", "rtn-w4", 1);
        poison(f, cases[i].tensor, 13, cases[i].value);
        assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_FORMAT);
        assert_non_null(strstr(err.msg, cases[i].tensor));
        assert_non_null(strstr(err.msg, "element 13"));
        assert_true(err.offset == KF_NO_OFFSET); /* an element is no byte of the file */
        assert_false(kfi_file_exists(quantize_fixture_path(f, "out")));
        assert_int_equal(kfi_file_exists(quantize_fixture_path(f, "out.partial")),
                         cases[i].is_of_block);
        (void)snprintf(keep, sizeof keep, "tensors.%s=keep", cases[i].tensor);
        quantize_fixture_set(f, keep);
        f->options.force = true;
        quantize_fixture_run(f, "out", NULL);
        CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
        quantize_fixture_free(f);
    }
}

static void verify_finds_what_was_changed(void **state)
{
    (void)state;
    static const char *const files[] = {"model-00001-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors", "config.json",
                                        "model.safetensors.index.json"};
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    quantize_fixture_run(f, "out", NULL);
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    for (size_t i = 0; i < 4; i++) {
        char path[4096];
        (void)snprintf(path, sizeof path, "%s/%s", quantize_fixture_path(f, "out"), files[i]);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        assert_int_equal(fseek(file, -3, SEEK_END), 0);
        const int c = fgetc(file);
        assert_int_equal(fseek(file, -3, SEEK_END), 0);
        (void)fputc(c ^ 1, file);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), KF_FORMAT);
        assert_non_null(strstr(err.msg, files[i]));
        file = fopen(path, "r+b");
        assert_int_equal(fseek(file, -3, SEEK_END), 0);
        (void)fputc(c, file);
        assert_int_equal(fclose(file), 0);
    }
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    CHECK_OK(kfi_file_remove_tree(quantize_fixture_path(f, "out/config.json"), &err), &err);
    assert_int_equal(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), KF_FORMAT);
    assert_int_equal(kf_verify(quantize_fixture_path(f, "nowhere"), NULL, &err), KF_INPUT);
    assert_int_equal(kf_verify(f->directory, NULL, &err), KF_INPUT);
    quantize_fixture_free(f);
}

/* Reads all of a small file; the caller's buffer is large enough. */
static size_t take(char *text, size_t n, const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t got = fread(text, 1, n, file);
    assert_true(got > 0 && got < n);
    assert_int_equal(fclose(file), 0);
    return got;
}

static void verify_finds_any_changed_byte_of_its_own_document(void **state)
{
    (void)state;
    static char text[65536];
    char path[4096];
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    quantize_fixture_run(f, "out", NULL);
    (void)snprintf(path, sizeof path, "%s", quantize_fixture_path(f, "out/kerf.json"));
    const size_t n = take(text, sizeof text, path);
    for (size_t i = 0; i < n; i += i + 200 < n ? 97 : 1) { /* and every byte of its end */
        text[i] ^= 1;
        CHECK_OK(kfi_file_write(path, text, n, &err), &err);
        assert_int_equal(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), KF_FORMAT);
        assert_non_null(strstr(err.msg, "kerf.json"));
        text[i] ^= 1;
    }
    CHECK_OK(kfi_file_write(path, text, n - 1, &err), &err);
    assert_int_equal(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), KF_FORMAT);
    CHECK_OK(kfi_file_write(path, text, n, &err), &err);
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    quantize_fixture_free(f);
}

static void verify_reads_nothing_outside_of_the_checkpoint(void **state)
{
    (void)state;
    static const char *const names[] = {"../secret", "..", ".secret", "/etc/passwd", "", "a\\\\b"};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        kf_error err = {0};
        char text[200];
        (void)snprintf(text, sizeof text, "{\n  \"files\": {\n    \"%s\": \"00\"\n  }\n}\n",
                       names[i]);
        CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, "out"), &err), &err);
        CHECK_OK(
            kfi_file_write(quantize_fixture_path(f, "out/kerf.json"), text, strlen(text), &err),
            &err);
        assert_int_equal(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), KF_FORMAT);
        assert_non_null(strstr(err.msg, "malformed"));
    }
    quantize_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancelled_run_resumes_to_the_same_bytes),
        cmocka_unit_test(finished_blocks_are_taken_over_and_reported),
        cmocka_unit_test(an_interrupted_run_is_not_taken_for_a_new_one),
        cmocka_unit_test(only_the_same_run_is_resumed),
        cmocka_unit_test(a_complete_output_resumes_to_itself),
        cmocka_unit_test(two_runs_do_not_work_in_one_directory),
        cmocka_unit_test(a_damaged_block_is_not_resumed),
        cmocka_unit_test(a_run_cut_off_between_its_two_renames_loses_nothing),
        cmocka_unit_test(a_directory_that_was_not_replaced_is_left_alone),
        cmocka_unit_test(what_is_not_finite_is_refused_with_tensor_and_index),
        cmocka_unit_test(verify_finds_what_was_changed),
        cmocka_unit_test(verify_finds_any_changed_byte_of_its_own_document),
        cmocka_unit_test(verify_reads_nothing_outside_of_the_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
