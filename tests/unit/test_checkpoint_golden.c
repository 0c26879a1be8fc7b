/* Checkpoints that were once written must load for ever: each format_version has one, made by
 * tests/golden/make_checkpoint.c, and the logits that it gave then.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "golden_checkpoint.h"
#include "kerf/quantize.h"

static const char *golden(char path[1024], const char *name)
{
    (void)snprintf(path, 1024, "%s/tests/golden/%s", getenv("KERF_SOURCE_ROOT"), name);
    return path;
}

static void keep_warning(void *ctx, const char *message)
{
    (void)snprintf(ctx, 256, "%s", message);
}

/* Its kerf.json has no checksum of its own, which is not passed over in silence. */
static void old_checkpoints_verify(void **state)
{
    (void)state;
    char path[1024];
    char warning[256] = "";
    kf_error err = {0};
    const kf_callbacks callbacks = {.ctx = warning, .warn = keep_warning};
    CHECK_OK(kf_verify(golden(path, "checkpoint_1"), &callbacks, &err), &err);
    assert_non_null(strstr(warning, "without a checksum"));
}

static void old_checkpoints_are_what_they_were(void **state)
{
    (void)state;
    char path[1024];
    kf_error err = {0};
    kf_model *model = NULL;
    kf_model_info info;
    size_t n_formats[5] = {0};
    static const char *const formats[] = {"int4g64a", "mxint6g32", "int3g32o", "int8g64", "F32"};
    CHECK_OK(kf_model_open(&model, golden(path, "checkpoint_1"), NULL, &err), &err);
    kf_model_get_info(model, &info);
    assert_true(info.is_kerf);
    assert_string_equal(info.source, "Kerf checkpoint, recipe gptq-w4");
    assert_int_equal(info.n_prefix, 3);
    for (size_t i = 0; i < kf_model_tensor_count(model); i++) {
        kf_model_tensor tensor;
        kf_model_get_tensor(model, i, &tensor);
        for (size_t k = 0; k < 5; k++) {
            n_formats[k] += strcmp(tensor.format, formats[k]) == 0;
        }
    }
    assert_int_equal(n_formats[0], 10); /* 14 layers less those below */
    assert_int_equal(n_formats[1], 1);
    assert_int_equal(n_formats[2], 2);
    assert_int_equal(n_formats[3], 1); /* the tied table */
    assert_int_equal(n_formats[4], 8); /* a kept layer, five norms, keys and values of the prefix */
    kf_model_close(model);
}

/* Float sums have a fixed order on every instruction set, but for those of the kept layer. */
static void old_checkpoints_give_the_same_logits(void **state)
{
    (void)state;
    char path[1024];
    kf_error err = {0};
    float logits[TINY_VOCABULARY];
    CHECK_OK(golden_logits(logits, golden(path, "checkpoint_1"), &err), &err);
    FILE *file = fopen(golden(path, "checkpoint_1.exp"), "r");
    assert_non_null(file);
    for (size_t i = 0; i < TINY_VOCABULARY; i++) {
        char line[64];
        assert_non_null(fgets(line, sizeof line, file));
        assert_true(fabs((double)logits[i] - strtod(line, NULL)) < 1e-4);
    }
    (void)fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_checkpoints_verify),
        cmocka_unit_test(old_checkpoints_are_what_they_were),
        cmocka_unit_test(old_checkpoints_give_the_same_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
