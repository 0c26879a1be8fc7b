/* quantize_fixture.c - a tiny model, calibration ids and a recipe, ready to be quantized.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize_fixture.h"

#include <stdlib.h>

#include "base/file.h"
#include "check.h"
#include "fixtures.h"
#include "quantize/recipe.h"

quantize_fixture *quantize_fixture_new(const char *architecture, const char *recipe,
                                       size_t n_threads)
{
    kf_error err = {0};
    quantize_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->directory = fixture_directory_new();
    const tiny_options options = tiny_options_of(architecture);
    f->tiny = tiny_model_new(f->directory, &options);
    CHECK_OK(kf_pool_new(&f->pool, n_threads, NULL, &err), &err);
    kf_model_options model_options = KF_MODEL_OPTIONS_INIT;
    model_options.pool = f->pool;
    CHECK_OK(kf_model_open(&f->model, f->tiny->path, &model_options, &err), &err);
    CHECK_OK(kf_recipe_open(&f->recipe, recipe, NULL, &err), &err);
    quantize_fixture_set(f, "calib.samples=6");
    quantize_fixture_set(f, "calib.length=40");
    tiny_ids(f->calibration, FIXTURE_CALIBRATION, 5);
    tiny_ids(f->prefix, FIXTURE_PREFIX, 6);
    const kf_quantize_options defaults = KF_QUANTIZE_OPTIONS_INIT;
    f->options = defaults;
    f->options.calibration = f->calibration;
    f->options.n_calibration = FIXTURE_CALIBRATION;
    f->options.prefix = f->prefix;
    f->options.n_prefix = FIXTURE_PREFIX;
    f->options.seed = 7;
    return f;
}

quantize_fixture *quantize_fixture_of(const char *architecture, const char *json, size_t n_threads)
{
    quantize_fixture *f = quantize_fixture_new(architecture, "rtn-w4", n_threads);
    quantize_fixture_use(f, json);
    return f;
}

void quantize_fixture_use(quantize_fixture *f, const char *json)
{
    kf_error err = {0};
    kfi_json *root = NULL;
    kf_recipe_free(f->recipe);
    CHECK_OK(kfi_json_parse(&root, json, strlen(json), &err), &err);
    CHECK_OK(kfi_recipe_from_json(&f->recipe, root, "test", 4, NULL, &err), &err);
    kfi_json_free(root);
}

void quantize_fixture_free(quantize_fixture *f)
{
    kf_recipe_free(f->recipe);
    kf_model_close(f->model);
    kf_pool_free(f->pool);
    tiny_model_free(f->tiny);
    fixture_directory_free(f->directory);
    free(f);
}

void quantize_fixture_set(quantize_fixture *f, const char *assignment)
{
    kf_error err = {0};
    CHECK_OK(kf_recipe_set(f->recipe, assignment, &err), &err);
}

const char *quantize_fixture_path(const quantize_fixture *f, const char *name)
{
    static char paths[4][4096];
    static size_t i_next;
    char *path = paths[i_next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", f->directory, name);
    return path;
}

/* ---- quantizing ---- */

kf_status quantize_fixture_try(quantize_fixture *f, const char *name, kf_quantize_result *result,
                               kf_error *err)
{
    return kf_quantize(result, f->model, quantize_fixture_path(f, name), f->recipe, &f->options,
                       err);
}

void quantize_fixture_run(quantize_fixture *f, const char *name, kf_quantize_result *result)
{
    kf_error err = {0};
    CHECK_OK(quantize_fixture_try(f, name, result, &err), &err);
}

void quantize_fixture_plan(quantize_fixture *f, kf_quantize_result *plan)
{
    f->options.dry_run = true;
    quantize_fixture_run(f, "planned", plan);
    f->options.dry_run = false;
}

typedef struct canceller {
    size_t n_asked, at;
} canceller;

static bool is_cancelled(void *ctx)
{
    canceller *c = ctx;
    return ++c->n_asked >= c->at;
}

bool quantize_fixture_cancel(quantize_fixture *f, const char *name, size_t at)
{
    kf_error err = {0};
    canceller c = {0, at};
    const kf_callbacks callbacks = {.cancelled = is_cancelled, .ctx = &c};
    f->options.callbacks = &callbacks;
    const kf_status st = quantize_fixture_try(f, name, NULL, &err);
    f->options.callbacks = NULL;
    assert_true(st == KF_OK || st == KF_CANCELLED);
    assert_int_equal(kfi_file_exists(quantize_fixture_path(f, name)), st == KF_OK);
    return st == KF_OK;
}

/* ---- comparing ---- */

typedef struct comparison {
    const char *a, *b;
    size_t n;
} comparison;

static kf_status compare_file(void *ctx, const char *name, kf_error *err)
{
    comparison *c = ctx;
    char path_a[4096];
    char path_b[4096];
    kfi_file_map a;
    kfi_file_map b;
    (void)snprintf(path_a, sizeof path_a, "%s/%s", c->a, name);
    (void)snprintf(path_b, sizeof path_b, "%s/%s", c->b, name);
    CHECK_OK(kfi_file_map_open(&a, path_a, err), err);
    CHECK_OK(kfi_file_map_open(&b, path_b, err), err);
    if (a.size != b.size || memcmp(a.data, b.data, a.size) != 0) {
        fail_msg("%s differs between %s and %s", name, c->a, c->b);
    }
    kfi_file_map_close(&a);
    kfi_file_map_close(&b);
    c->n++;
    return KF_OK;
}

static kf_status count_file(void *ctx, const char *name, kf_error *err)
{
    (void)name;
    (void)err;
    ++*(size_t *)ctx;
    return KF_OK;
}

void assert_same_directories(const char *a, const char *b)
{
    kf_error err = {0};
    comparison c = {a, b, 0};
    size_t n = 0;
    CHECK_OK(kfi_file_list(a, compare_file, &c, &err), &err);
    CHECK_OK(kfi_file_list(b, count_file, &n, &err), &err);
    assert_int_equal(c.n, n);
    assert_true(n > 0);
}
