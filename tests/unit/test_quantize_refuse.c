/* Sources that cannot be quantized, and outputs that must not be replaced.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <unistd.h>

#include "base/file.h"
#include "fixtures.h"
#include "quantize_fixture.h"

static void put(const quantize_fixture *f, const char *name, const char *text)
{
    kf_error err = {0};
    CHECK_OK(kfi_file_write(quantize_fixture_path(f, name), text, strlen(text), &err), &err);
}

static void put_in(const quantize_fixture *f, const char *directory, const char *name,
                   const char *text)
{
    kf_error err = {0};
    char path[256];
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, directory), &err), &err);
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    put(f, path, text);
}

static void refuses_what_cannot_be_done(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    f->options.calibration = NULL;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INVALID);
    assert_non_null(strstr(err.msg, "--calib"));
    f->options.calibration = f->calibration;
    f->options.n_calibration = 1;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_null(strstr(err.msg, "--set")); /* no window is that short */
    f->options.n_calibration = 39;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    f->options.n_calibration = FIXTURE_CALIBRATION;
    f->calibration[17] = TINY_VOCABULARY;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_int_equal(err.offset, 17);
    f->calibration[17] = 0;
    quantize_fixture_set(f, "calib.length=300");
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    quantize_fixture_set(f, "calib.length=40");
    f->options.prefix = NULL;
    quantize_fixture_set(f, "prefix=start");
    for (size_t dry = 0; dry < 2; dry++) {
        f->options.dry_run = dry == 1;
        assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INVALID);
        assert_non_null(strstr(err.msg, "names no start token"));
    }
    f->options.dry_run = false;
    f->options.prefix = f->prefix;
    quantize_fixture_set(f, "tensors.blk.7.*=keep");
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "blk.7.*"));
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
    f->options.size = 3;
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_INVALID);
    quantize_fixture_free(f);
}

static void refuses_a_kerf_checkpoint_as_its_source(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    quantize_fixture_run(f, "first", NULL);
    kf_model *made = NULL;
    CHECK_OK(kf_model_open(&made, quantize_fixture_path(f, "first"), NULL, &err), &err);
    assert_int_equal(
        kf_quantize(NULL, made, quantize_fixture_path(f, "second"), f->recipe, &f->options, &err),
        KF_UNSUPPORTED);
    kf_model_close(made);
    quantize_fixture_free(f);
}

static void refuses_a_source_whose_weights_are_packed(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    tiny_options tiny = tiny_options_of("llama");
    tiny.dtype = KFI_DTYPE_Q4_0;
    tiny_model *source = tiny_model_new(f->directory, &tiny);
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.weights = KF_WEIGHTS_PACKED;
    kf_model *packed = NULL;
    CHECK_OK(kf_model_open(&packed, source->path, &options, &err), &err);
    for (int dry_run = 0; dry_run < 2; dry_run++) {
        f->options.dry_run = dry_run == 1;
        assert_int_equal(kf_quantize(NULL, packed, quantize_fixture_path(f, "out"), f->recipe,
                                     &f->options, &err),
                         KF_INVALID);
        assert_non_null(strstr(err.msg, "packed"));
    }
    kf_model_close(packed);
    tiny_model_free(source);
    quantize_fixture_free(f);
}

static void an_existing_output_is_replaced_only_by_force(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    put(f, "out/mine", "x"); /* beside the files of a checkpoint */
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "--force"));
    assert_true(kfi_file_exists(quantize_fixture_path(f, "out/mine")));
    f->options.force = true;
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out/mine")));
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.replaced")));
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    quantize_fixture_free(f);
}

/* Also a dry run says so, and nothing is touched. */
static void assert_refused(quantize_fixture *f, const char *out, const char *why)
{
    for (size_t dry = 0; dry < 2; dry++) {
        kf_error err = {0};
        f->options.dry_run = dry == 1;
        assert_int_equal(kf_quantize(NULL, f->model, out, f->recipe, &f->options, &err), KF_RANGE);
        if (strstr(err.msg, why) == NULL) {
            fail_msg("'%s': found \"%s\", expected \"%s\"", out, err.msg, why);
        }
    }
    f->options.dry_run = false;
}

static void force_replaces_nothing_that_kerf_did_not_make(void **state)
{
    (void)state;
    static const char *const names[] = {"mine", "other", "third"};
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    f->options.force = true;
    put(f, "mine", "a file");
    put_in(f, "other", "notes", "of mine");
    assert_int_equal(symlink("other", quantize_fixture_path(f, "third")), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_refused(f, quantize_fixture_path(f, names[i]), "not replaced");
    }
    assert_refused(f, f->tiny->path, "not replaced");
    assert_true(kfi_file_exists(f->tiny->path));
    assert_true(kfi_file_exists(quantize_fixture_path(f, "other/notes")));

    put_in(f, "out.partial", "notes", "of mine");
    assert_refused(f, quantize_fixture_path(f, "out"), "not an interrupted run");
    CHECK_OK(kfi_file_remove_tree(quantize_fixture_path(f, "out.partial"), &err), &err);

    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    put_in(f, "out.replaced", "notes", "of mine");
    assert_refused(f, quantize_fixture_path(f, "out"), "out.replaced");
    assert_true(kfi_file_exists(quantize_fixture_path(f, "out.replaced/notes")));
    quantize_fixture_free(f);
}

/* Its name cannot be given to a directory, which would be found out after all the work. */
static void a_link_that_leads_nowhere_is_no_output(void **state)
{
    (void)state;
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    assert_int_equal(symlink("nowhere", quantize_fixture_path(f, "out")), 0);
    for (size_t i = 0; i < 2; i++) {
        f->options.force = i == 1;
        assert_refused(f, quantize_fixture_path(f, "out"), i == 1 ? "a symbolic link" : "exists");
    }
    f->options.force = false;
    f->options.resume = true;
    assert_refused(f, quantize_fixture_path(f, "out"), "exists");
    assert_false(kfi_file_exists(quantize_fixture_path(f, "out.partial")));
    quantize_fixture_free(f);
}

static void force_replaces_an_empty_directory(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    f->options.force = true;
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, "out"), &err), &err);
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    quantize_fixture_free(f);
}

static void the_source_is_not_replaced_by_its_copy(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    kf_model *source = f->model;
    char inside[4096];
    (void)snprintf(inside, sizeof inside, "%s", quantize_fixture_path(f, "out/source"));
    CHECK_OK(kfi_file_rename(f->tiny->path, inside, &err), &err);
    CHECK_OK(kf_model_open(&f->model, inside, NULL, &err), &err);
    f->options.force = true;
    assert_refused(f, quantize_fixture_path(f, "out"), "holds the model that is read");
    assert_true(kfi_file_exists(inside));
    kf_model_close(source);
    quantize_fixture_free(f);
}

static void an_output_needs_a_name(void **state)
{
    (void)state;
    static const char *const names[] = {".", "..", "/", "", "./", "a/.", "a/../..//"};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    f->options.force = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_refused(f, names[i], "expected the name");
    }
    quantize_fixture_free(f);
}

static void an_empty_partial_output_is_taken_over_by_resume(void **state)
{
    (void)state;
    kf_error err = {0};
    quantize_fixture *f = quantize_fixture_new("llama", "rtn-w4", 1);
    CHECK_OK(kfi_file_make_directories(quantize_fixture_path(f, "out.partial"), &err), &err);
    assert_int_equal(quantize_fixture_try(f, "out", NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "--resume"));
    f->options.resume = true;
    CHECK_OK(quantize_fixture_try(f, "out", NULL, &err), &err);
    CHECK_OK(kf_verify(quantize_fixture_path(f, "out"), NULL, &err), &err);
    quantize_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_cannot_be_done),
        cmocka_unit_test(refuses_a_kerf_checkpoint_as_its_source),
        cmocka_unit_test(refuses_a_source_whose_weights_are_packed),
        cmocka_unit_test(an_existing_output_is_replaced_only_by_force),
        cmocka_unit_test(force_replaces_nothing_that_kerf_did_not_make),
        cmocka_unit_test(a_link_that_leads_nowhere_is_no_output),
        cmocka_unit_test(force_replaces_an_empty_directory),
        cmocka_unit_test(the_source_is_not_replaced_by_its_copy),
        cmocka_unit_test(an_output_needs_a_name),
        cmocka_unit_test(an_empty_partial_output_is_taken_over_by_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
