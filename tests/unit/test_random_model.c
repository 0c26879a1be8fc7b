/* Models of random weights: what they hold, and that they run.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "fixtures.h"
#include "kerf/model.h"
#include "model/model.h"

#define VOCABULARY 273 /* of the shape "tiny" */

static kf_random_options options_of(const char *weights, const char *head, const char *activation)
{
    kf_error err = {0};
    kf_random_options random = KF_RANDOM_OPTIONS_INIT;
    random.shape = "tiny";
    random.seed = 7;
    CHECK_OK(kf_format_parse(&random.weights, weights, &err), &err);
    CHECK_OK(kf_format_parse(&random.head, head, &err), &err);
    CHECK_OK(kf_activation_parse(&random.activation, activation, &err), &err);
    return random;
}

static kf_model *open_random(const kf_random_options *random, kf_pool *pool)
{
    kf_error err = {0};
    kf_model *model = NULL;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.pool = pool;
    CHECK_OK(kf_model_open_random(&model, random, &options, &err), &err);
    return model;
}

/* The logits of the last of a few tokens. */
static void run(float logits[VOCABULARY], kf_model *model)
{
    static const uint32_t ids[5] = {1, 200, 3, 77, 272};
    kf_error err = {0};
    kf_session *session = NULL;
    size_t n = 0;
    CHECK_OK(kf_session_new(&session, model, NULL, &err), &err);
    CHECK_OK(kf_session_eval(session, ids, 5, &err), &err);
    const float *hidden = kf_session_hidden(session, &n);
    kf_model_info info;
    kf_model_get_info(model, &info);
    CHECK_OK(kf_session_head(session, logits, hidden + (n - 1) * info.hidden, 1, &err), &err);
    kf_session_free(session);
}

static double root_mean_square(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sqrt(sum / (double)n);
}

static const char *const formats[] = {"int2g64",   "int3g32a",  "int4g64",    "int4g128o",
                                      "int5g32",   "int8row",   "mxint4g32",  "mxint2g64",
                                      "nf4g64",    "cb8g64",    "ternaryg64", "int2g64r",
                                      "int3g64ar", "int4g128r", "int8g32r"};
#define N_FORMATS (sizeof formats / sizeof formats[0])

static void weights_and_logits_have_the_usual_size_in_every_format(void **state)
{
    (void)state;
    static float weights[152 * 84];
    float logits[VOCABULARY];
    for (size_t f = 0; f < N_FORMATS; f++) {
        kf_error err = {0};
        const kf_random_options random = options_of(formats[f], "int8g64", "int8tg64");
        kf_model *model = open_random(&random, NULL);
        const char *name = "model.layers.1.mlp.up_proj.weight";
        assert_string_equal(kfi_model_source_format(model, name), formats[f]);
        CHECK_OK(kfi_model_read_rows(model, name, 0, 152, weights, &err), &err);
        const double size = root_mean_square(weights, 152 * 84) * sqrt(84.0);
        assert_true(size > 0.5 && size < 1.5);
        run(logits, model);
        const double spread = root_mean_square(logits, VOCABULARY);
        assert_true(spread > 0.3 && spread < 3.0);
        kf_model_close(model);
    }
}

static void the_seed_names_the_weights_for_any_number_of_threads(void **state)
{
    (void)state;
    kf_random_options random = options_of("int4g64", "int4g64", "int8t");
    float first[VOCABULARY];
    float again[VOCABULARY];
    kf_error err = {0};
    for (size_t n_threads = 1; n_threads <= 3; n_threads++) {
        kf_pool *pool = NULL;
        CHECK_OK(kf_pool_new(&pool, n_threads, NULL, &err), &err);
        kf_model *model = open_random(&random, pool);
        run(n_threads == 1 ? first : again, model);
        kf_model_close(model);
        kf_pool_free(pool);
        if (n_threads > 1) {
            assert_memory_equal(first, again, sizeof first);
        }
    }
    random.seed++;
    kf_model *other = open_random(&random, NULL);
    run(again, other);
    assert_memory_not_equal(first, again, sizeof first);
    kf_model_close(other);
}

/* No two tensors, and no two panels of one, have the same numbers. */
static void nothing_repeats(void **state)
{
    (void)state;
    kf_error err = {0};
    const kf_random_options random = options_of("int4g64", "int8g64", "int8tg64");
    kf_model *model = open_random(&random, NULL);
    float a[84];
    float b[84];
    CHECK_OK(kfi_model_read_rows(model, "model.layers.0.mlp.up_proj.weight", 0, 1, a, &err), &err);
    CHECK_OK(kfi_model_read_rows(model, "model.layers.0.mlp.up_proj.weight", 16, 1, b, &err), &err);
    assert_memory_not_equal(a, b, sizeof a);
    CHECK_OK(kfi_model_read_rows(model, "model.layers.1.mlp.up_proj.weight", 0, 1, b, &err), &err);
    assert_memory_not_equal(a, b, sizeof a);
    CHECK_OK(kfi_model_read_rows(model, "model.layers.0.mlp.gate_proj.weight", 0, 1, b, &err),
             &err);
    assert_memory_not_equal(a, b, sizeof a);
    kf_model_close(model);
}

static void describes_itself(void **state)
{
    (void)state;
    const kf_random_options random = options_of("int4g64", "int8g64", "int8t");
    kf_model *model = open_random(&random, NULL);
    kf_model_info info;
    kf_model_get_info(model, &info);
    assert_string_equal(info.architecture, "qwen2");
    assert_string_equal(info.name, "tiny");
    assert_string_equal(info.source, "random weights, int8g64 and int4g64, packed");
    assert_string_equal(info.activations, "int8t");
    assert_int_equal(info.vocabulary, VOCABULARY);
    const uint64_t block = 84 * 84 * 2 + 28 * 84 * 2 + 3 * 84 * 152;
    const uint64_t head = (uint64_t)VOCABULARY * 84;
    assert_int_equal(info.parameters, 2 * (block + 2 * 84 + 84 + 2 * 28) + 84 + 2 * head);
    assert_int_equal(kf_model_operations_per_token(model), 2 * (2 * block + head));
    uint64_t bytes = 0;
    uint64_t bytes_read = 0;
    for (size_t i = 0; i < kf_model_tensor_count(model); i++) {
        kf_model_tensor tensor;
        kf_model_get_tensor(model, i, &tensor);
        bytes += tensor.bytes;
        bytes_read += tensor.rows > 1 && strcmp(tensor.name, "model.embed_tokens.weight") != 0
                          ? tensor.bytes
                          : 0;
    }
    assert_int_equal(info.bytes, bytes);
    assert_int_equal(kf_model_bytes_per_token(model), bytes_read);
    kf_model_close(model);
}

static void float_activations_are_an_option(void **state)
{
    (void)state;
    const kf_random_options random = options_of("int4g64", "int8g64", "float");
    kf_model *model = open_random(&random, NULL);
    kf_model_info info;
    float logits[VOCABULARY];
    kf_model_get_info(model, &info);
    assert_string_equal(info.activations, "float");
    run(logits, model);
    assert_true(isfinite(logits[0]));
    kf_model_close(model);
}

/* The smallest layer has 84 inputs. */
static void side_paths_are_an_option(void **state)
{
    (void)state;
    kf_random_options random = options_of("int4g64", "int8g64", "int4tg64");
    kf_error err = {0};
    kf_model_info info;
    kf_model_info plain;
    float logits[VOCABULARY];
    kf_model *model = open_random(&random, NULL);
    kf_model_get_info(model, &plain);
    const uint64_t bytes = kf_model_bytes_per_token(model);
    kf_model_close(model);
    random.rank = 33;
    random.outliers = 84;
    model = open_random(&random, NULL);
    kf_model_get_info(model, &info);
    assert_int_equal(kfi_model_side_width(model), 84);
    assert_int_equal(info.parameters, plain.parameters);
    assert_true(info.bits_per_weight_linear > plain.bits_per_weight_linear);
    assert_int_equal(kf_model_bytes_per_token(model) - bytes, info.bytes - plain.bytes);
    run(logits, model);
    assert_true(isfinite(logits[0]));
    kf_model_close(model);
    random.outliers = 85;
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "at most 512 and 84"));
    random.outliers = 0;
    random.rank = 513;
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_RANGE);
}

static void refuses_what_it_cannot_make(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_model *model = NULL;
    kf_random_options random = options_of("int4g64", "int8g64", "int8tg64");
    random.shape = "tinyllama";
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_INVALID);
    assert_non_null(strstr(err.msg, "'tinyllama'"));
    assert_non_null(strstr(err.msg, "smollm2-135m"));
    assert_non_null(strstr(err.msg, "tinyllama-1.1b"));
    random.shape = NULL;
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_INVALID);
    random = options_of("float", "int8g64", "int8tg64");
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_UNSUPPORTED);
    random = options_of("int4g64", "float", "int8tg64");
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_UNSUPPORTED);
    random = options_of("int4g64", "int8g64", "int8tg64");
    random.size--;
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_INVALID);
    random = options_of("int4g64", "int8g64", "int8tg64");
    random.activation.group = 16; /* would take more scales than there is room for */
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_INVALID);
    random.activation = (kf_activation){.bits = 2, .group = 64};
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_INVALID);
    assert_non_null(strstr(err.msg, "'int2tg64'"));
    random = options_of("int4g64", "int8g64", "int8tg64");
    random.weights.bits = 9;
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_INVALID);
    assert_non_null(strstr(err.msg, "9 bits"));
    random = options_of("int4g64", "int8g64", "int8tg64");
    random.head.zero = 3;
    assert_int_equal(kf_model_open_random(&model, &random, NULL, &err), KF_INVALID);
    assert_null(model);
}

/* All names differ, and those that reports are written with are there. */
static void lists_its_shapes(void **state)
{
    (void)state;
    static const char *const needed[] = {"tiny", "smollm2-135m", "qwen2.5-0.5b", "tinyllama-1.1b"};
    size_t n_found = 0;
    for (size_t i = 0; kf_model_shape(i) != NULL; i++) {
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(kf_model_shape(i), kf_model_shape(j));
        }
        for (size_t j = 0; j < sizeof needed / sizeof needed[0]; j++) {
            n_found += strcmp(kf_model_shape(i), needed[j]) == 0;
        }
    }
    assert_int_equal(n_found, sizeof needed / sizeof needed[0]);
    assert_null(kf_model_shape(SIZE_MAX));
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    kf_random_options random = options_of("int4g64", "int8g64", "int8tg64");
    random.rank = 2;
    random.outliers = 3;
    kf_status st = KF_NOMEM;
    for (size_t fail_at = 1; st != KF_OK; fail_at++) {
        kf_error err = {0};
        kf_model *model = NULL;
        fixture_allocator a;
        kf_model_options options = KF_MODEL_OPTIONS_INIT;
        fixture_allocator_init(&a, fail_at);
        options.alloc = &a.allocator;
        st = kf_model_open_random(&model, &random, &options, &err);
        assert_true(st == KF_OK || st == KF_NOMEM);
        assert_true((st == KF_OK) == (model != NULL));
        kf_model_close(model);
        assert_true(fixture_allocator_is_clean(&a));
    }
}

/* Never more is live than the packed model and small things. */
static void memory_is_that_of_the_packed_model(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_model *model = NULL;
    fixture_allocator a;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    kf_random_options random = options_of("int2g64", "int2g64", "int8tg64");
    random.shape = "stories15m";
    fixture_allocator_init(&a, 0);
    options.alloc = &a.allocator;
    CHECK_OK(kf_model_open_random(&model, &random, &options, &err), &err);
    kf_model_info info;
    kf_model_get_info(model, &info);
    assert_true(a.n_most < info.bytes + (1u << 20));
    assert_true(info.bytes < info.parameters / 3);
    kf_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_and_logits_have_the_usual_size_in_every_format),
        cmocka_unit_test(the_seed_names_the_weights_for_any_number_of_threads),
        cmocka_unit_test(nothing_repeats),
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(float_activations_are_an_option),
        cmocka_unit_test(side_paths_are_an_option),
        cmocka_unit_test(refuses_what_it_cannot_make),
        cmocka_unit_test(lists_its_shapes),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(memory_is_that_of_the_packed_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
