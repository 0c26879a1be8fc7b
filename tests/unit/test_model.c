/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "fixtures.h"
#include "io/gguf.h"
#include "kerf/model.h"
#include "model/model.h"
#include "tiny_model.h"

static kf_model *open_model(const char *path)
{
    kf_error err = {0};
    kf_model *model = NULL;
    CHECK_OK(kf_model_open(&model, path, NULL, &err), &err);
    return model;
}

static kf_model *open_packed(const char *path, kf_weights weights)
{
    kf_error err = {0};
    kf_model *model = NULL;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.weights = weights;
    CHECK_OK(kf_model_open(&model, path, &options, &err), &err);
    return model;
}

/* Every weight, read by Hugging Face's name, is the one that was written. */
static void check_weights_of(kf_model *model, const tiny_model *tiny)
{
    kf_error err = {0};
    for (size_t i = 0; i < tiny->n_tensors; i++) {
        const tiny_tensor *t = &tiny->tensors[i];
        size_t rows = 0;
        size_t cols = 0;
        assert_true(kfi_model_find(model, t->name, &rows, &cols));
        assert_int_equal(rows, t->rows);
        assert_int_equal(cols, t->cols);
        float *found = kfi_alloc(NULL, rows * cols * sizeof(float));
        assert_non_null(found);
        CHECK_OK(kfi_model_read_rows(model, t->name, 0, rows, found, &err), &err);
        if (memcmp(found, t->data, rows * cols * sizeof(float)) != 0) {
            fail_msg("%s differs", t->name);
        }
        CHECK_OK(kfi_model_read_rows(model, t->name, rows - 1, 1, found, &err), &err);
        assert_memory_equal(found, t->data + (rows - 1) * cols, cols * sizeof(float));
        assert_int_equal(kfi_model_read_rows(model, t->name, rows, 1, found, &err), KF_RANGE);
        kfi_free(NULL, found, 0);
    }
    assert_false(
        kfi_model_find(model, "model.layers.2.mlp.up_proj.weight", &(size_t){0}, &(size_t){0}));
}

static void check_weights(const char *directory, const tiny_options *options)
{
    tiny_model *tiny = tiny_model_new(directory, options);
    kf_model *model = open_model(tiny->path);
    check_weights_of(model, tiny);
    kf_model_close(model);
    tiny_model_free(tiny);
}

static void finds_the_weights_of_every_container_in_one_order(void **state)
{
    tiny_options o = tiny_options_of("llama");
    for (int container = TINY_GGUF; container <= TINY_LLAMA2C; container++) {
        for (int tied = 0; tied < 2; tied++) {
            o.container = (tiny_container)container;
            o.config.tied = tied != 0;
            check_weights(*state, &o);
        }
    }
}

static void finds_the_weights_of_every_element_type(void **state)
{
    static const struct {
        tiny_container container;
        kfi_dtype dtype;
    } cases[] = {
        {TINY_GGUF, KFI_DTYPE_F16},         {TINY_GGUF, KFI_DTYPE_BF16},
        {TINY_GGUF, KFI_DTYPE_Q8_0},        {TINY_GGUF, KFI_DTYPE_Q4_0},
        {TINY_GGUF, KFI_DTYPE_Q4_1},        {TINY_GGUF, KFI_DTYPE_Q5_0},
        {TINY_GGUF, KFI_DTYPE_Q5_1},        {TINY_SAFETENSORS, KFI_DTYPE_F16},
        {TINY_SAFETENSORS, KFI_DTYPE_BF16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_options o = tiny_options_of("llama");
        o.container = cases[i].container;
        o.dtype = cases[i].dtype;
        check_weights(*state, &o);
    }
}

/* Qwen2's GGUF keeps Hugging Face's order of rows. */
static void finds_the_weights_of_qwen2(void **state)
{
    tiny_options o = tiny_options_of("qwen2");
    check_weights(*state, &o);
    o.container = TINY_GGUF;
    check_weights(*state, &o);
}

static void says_what_a_model_is_and_weighs(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.dtype = KFI_DTYPE_Q8_0;
    tiny_model *tiny = tiny_model_new(*state, &o);
    kf_model *model = open_model(tiny->path);
    kf_model_info info;
    kf_model_get_info(model, &info);
    assert_string_equal(info.architecture, "llama");
    assert_string_equal(info.name, "tiny");
    assert_string_equal(info.source, "GGUF, Q8_0, dequantized to float32");
    assert_string_equal(info.activations, "float");
    assert_int_equal(info.n_layers, 2);
    assert_int_equal(info.vocabulary, TINY_VOCABULARY);
    assert_int_equal(info.head_dim, 16);
    assert_true(info.tied);
    assert_false(info.is_kerf);
    assert_int_equal(info.n_prefix, 0);
    assert_null(kf_model_prefix(model));
    /* Two blocks of 64x64 (q, o), 32x64 (k, v), 3 of 96x64, two norms; embedding; last norm. */
    const uint64_t linears = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64);
    const uint64_t matrices = linears + 96 * 64;
    const uint64_t vectors = 5 * 64;
    assert_int_equal(info.parameters, matrices + vectors);
    assert_int_equal(info.bytes, matrices / 32 * 34 + vectors * 4);
    assert_true(info.bits_per_weight_linear == 8.5);
    assert_true(info.bits_per_weight == 8.0 * (double)info.bytes / (double)info.parameters);
    /* What is read for a token is float32, the head included. */
    assert_int_equal(kf_model_bytes_per_token(model), 4 * matrices);
    assert_int_equal(kf_model_tensor_count(model), tiny->n_tensors);
    kf_model_tensor tensor;
    kf_model_get_tensor(model, 0, &tensor);
    assert_string_equal(tensor.name, "model.embed_tokens.weight");
    assert_string_equal(tensor.format, "Q8_0");
    assert_int_equal(tensor.rows, 96);
    assert_int_equal(tensor.cols, 64);
    assert_int_equal(tensor.bytes, 96 * 64 / 32 * 34);
    assert_string_equal(kfi_model_source_format(model, "model.norm.weight"), "F32");
    assert_null(kfi_model_source_format(model, "nothing"));
    kf_model_close(model);
    tiny_model_free(tiny);
}

/* Codes are moved, not rounded: whatever the order of rows in the file. */
static void packing_changes_no_weight(void **state)
{
    static const kfi_dtype types[] = {KFI_DTYPE_Q4_0, KFI_DTYPE_Q4_1, KFI_DTYPE_Q5_0,
                                      KFI_DTYPE_Q5_1, KFI_DTYPE_Q8_0};
    static const char *const names[] = {"llama", "qwen2"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        for (size_t j = 0; j < 2; j++) {
            tiny_options o = tiny_options_of(names[j]);
            o.container = TINY_GGUF;
            o.dtype = types[i];
            tiny_model *tiny = tiny_model_new(*state, &o);
            kf_model *model = open_packed(tiny->path, KF_WEIGHTS_AUTO);
            kf_model_info info;
            kf_model_get_info(model, &info);
            assert_string_equal(info.activations, "int8tg64");
            assert_non_null(strstr(info.source, ", packed"));
            assert_string_equal(kfi_model_source_format(model, "model.embed_tokens.weight"),
                                kfi_dtype_get(types[i])->name);
            check_weights_of(model, tiny);
            kf_model_close(model);
            tiny_model_free(tiny);
        }
    }
}

static void what_cannot_be_packed_stays_float(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.dtype = KFI_DTYPE_F16;
    tiny_model *tiny = tiny_model_new(*state, &o);
    for (int weights = KF_WEIGHTS_FLOAT; weights <= KF_WEIGHTS_PACKED; weights++) {
        kf_model *model = open_packed(tiny->path, (kf_weights)weights);
        kf_model_info info;
        kf_model_get_info(model, &info);
        assert_string_equal(info.source, "GGUF, F16, dequantized to float32");
        assert_string_equal(info.activations, "float");
        kf_model_close(model);
    }
    tiny_model_free(tiny);
}

/* Makes the first scale of a tensor of a GGUF infinite. */
static void break_scale(const char *path, const char *name)
{
    kf_error err = {0};
    kfi_gguf *gguf = NULL;
    const uint8_t infinity[2] = {0x00, 0x7C};
    CHECK_OK(kfi_gguf_open(&gguf, path, NULL, &err), &err);
    const kfi_tensor *tensor = kfi_tensor_find(kfi_gguf_tensors(gguf), name);
    assert_non_null(tensor);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)tensor->offset, SEEK_SET), 0);
    assert_int_equal(fwrite(infinity, 1, 2, file), 2);
    assert_int_equal(fclose(file), 0);
    kfi_gguf_close(gguf);
}

static void a_scale_that_is_not_finite_is_named_when_packing(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.dtype = KFI_DTYPE_Q8_0;
    tiny_model *tiny = tiny_model_new(*state, &o);
    break_scale(tiny->path, "blk.1.ffn_down.weight");
    kf_error err = {0};
    kf_model *model = NULL;
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.weights = KF_WEIGHTS_PACKED;
    assert_int_equal(kf_model_open(&model, tiny->path, &options, &err), KF_FORMAT);
    assert_non_null(strstr(err.msg, "model.layers.1.mlp.down_proj.weight"));
    assert_non_null(strstr(err.msg, "not finite"));
    tiny_model_free(tiny);
}

/* Puts one text in the place of another in a checkpoint's config.json. */
static void change_config(const char *checkpoint, const char *from, const char *to)
{
    kf_error err = {0};
    char path[600];
    kfi_buf text;
    kfi_buf changed;
    (void)snprintf(path, sizeof path, "%s/config.json", checkpoint);
    kfi_buf_init(&text, NULL, 1 << 16);
    kfi_buf_init(&changed, NULL, 1 << 16);
    CHECK_OK(kfi_file_read(&text, path, &err), &err);
    const char *at = strstr(text.data, from);
    assert_non_null(at);
    assert_true(kfi_buf_printf(&changed, "%.*s%s%s", (int)(at - text.data), text.data, to,
                               at + strlen(from)));
    CHECK_OK(kfi_file_write(path, changed.data, changed.n, &err), &err);
    kfi_buf_deinit(&text);
    kfi_buf_deinit(&changed);
}

static void refuses(const char *path, kf_status status, const char *named)
{
    kf_error err = {0};
    kf_model *model = NULL;
    assert_int_equal(kf_model_open(&model, path, NULL, &err), status);
    assert_null(model);
    assert_non_null(strstr(err.msg, named));
}

/* One configuration's file under the other's config.json. */
static void rejects_another_shape_and_a_missing_tensor(void **state)
{
    static const struct {
        const char *from, *to, *named;
    } cases[] = {
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.layers.2."},
        {"\"intermediate_size\": 96", "\"intermediate_size\": 95", "mlp.gate_proj"},
        {"\"vocab_size\": 96", "\"vocab_size\": 97", "model.embed_tokens.weight"},
        {"\"num_key_value_heads\": 2", "\"num_key_value_heads\": 1", "self_attn.k_proj"},
    };
    tiny_options o = tiny_options_of("qwen2");
    tiny_model *tiny = tiny_model_new(*state, &o);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        change_config(tiny->path, cases[i].from, cases[i].to);
        refuses(tiny->path, KF_FORMAT, cases[i].named);
        change_config(tiny->path, cases[i].to, cases[i].from);
    }
    tiny_model_free(tiny);
}

/* Computed without them, the model would answer nonsense. */
static void refuses_a_bias_that_the_architecture_has_not(void **state)
{
    tiny_options o = tiny_options_of("qwen2");
    tiny_model *tiny = tiny_model_new(*state, &o);
    change_config(tiny->path, "Qwen2ForCausalLM", "LlamaForCausalLM");
    refuses(tiny->path, KF_UNSUPPORTED, "'model.layers.0.self_attn.q_proj.bias'");
    tiny_model_free(tiny);
}

static void an_untied_model_needs_its_head(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.container = TINY_SAFETENSORS;
    tiny_model *tiny = tiny_model_new(*state, &o);
    change_config(tiny->path, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    refuses(tiny->path, KF_FORMAT, "lm_head.weight");
    tiny_model_free(tiny);
}

static void says_what_is_not_a_model(void **state)
{
    kf_error err = {0};
    kf_model *model = NULL;
    char path[600];
    (void)snprintf(path, sizeof path, "%s/nothing.gguf", (const char *)*state);
    assert_int_equal(kf_model_open(&model, path, NULL, &err), KF_INPUT);
    assert_int_equal(kf_model_open(&model, *state, NULL, &err), KF_INPUT);
    (void)snprintf(path, sizeof path, "%s/letter.txt", (const char *)*state);
    CHECK_OK(kfi_file_write(path, "Dear Sir", 8, &err), &err);
    assert_int_equal(kf_model_open(&model, path, NULL, &err), KF_FORMAT);
    assert_non_null(strstr(err.msg, "letter.txt"));
    (void)snprintf(path, sizeof path, "%s/letter.gguf", (const char *)*state);
    CHECK_OK(kfi_file_write(path, "Dear Sir", 8, &err), &err);
    assert_int_equal(kf_model_open(&model, path, NULL, &err), KF_FORMAT);
    kf_model_options o = KF_MODEL_OPTIONS_INIT;
    o.size--;
    assert_int_equal(kf_model_open(&model, path, &o, &err), KF_INVALID);
    kf_model_close(NULL);
}

static void names_the_tool_that_quantized_a_foreign_checkpoint(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.container = TINY_SAFETENSORS;
    tiny_model *tiny = tiny_model_new(*state, &o);
    change_config(tiny->path, "{", "{\"quantization_config\": {\"quant_method\": \"awq\"},");
    refuses(tiny->path, KF_UNSUPPORTED, "awq");
    tiny_model_free(tiny);
}

static void opening_reports_a_failing_allocator_and_leaks_nothing(void **state)
{
    for (int container = TINY_GGUF; container <= TINY_LLAMA2C; container++) {
        tiny_options o = tiny_options_of("llama");
        o.container = (tiny_container)container;
        o.dtype = container == TINY_GGUF ? KFI_DTYPE_Q4_1 : KFI_DTYPE_F32; /* one that is packed */
        tiny_model *tiny = tiny_model_new(*state, &o);
        kf_status st = KF_NOMEM;
        for (size_t fail_at = 1; st != KF_OK; fail_at++) {
            kf_error err = {0};
            fixture_allocator a;
            fixture_allocator_init(&a, fail_at);
            kf_model_options options = KF_MODEL_OPTIONS_INIT;
            options.alloc = &a.allocator;
            options.weights = KF_WEIGHTS_AUTO;
            kf_model *model = NULL;
            kf_session *session = NULL;
            const uint32_t id = 1;
            st = kf_model_open(&model, tiny->path, &options, &err);
            st = st == KF_OK ? kf_session_new(&session, model, NULL, &err) : st;
            st = st == KF_OK ? kf_session_eval(session, &id, 1, &err) : st;
            assert_true(st == KF_OK || st == KF_NOMEM);
            kf_session_free(session);
            kf_model_close(model);
            assert_true(fixture_allocator_is_clean(&a));
        }
        tiny_model_free(tiny);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(finds_the_weights_of_every_container_in_one_order),
        IN_DIRECTORY(finds_the_weights_of_every_element_type),
        IN_DIRECTORY(finds_the_weights_of_qwen2),
        IN_DIRECTORY(says_what_a_model_is_and_weighs),
        IN_DIRECTORY(packing_changes_no_weight),
        IN_DIRECTORY(what_cannot_be_packed_stays_float),
        IN_DIRECTORY(a_scale_that_is_not_finite_is_named_when_packing),
        IN_DIRECTORY(rejects_another_shape_and_a_missing_tensor),
        IN_DIRECTORY(refuses_a_bias_that_the_architecture_has_not),
        IN_DIRECTORY(an_untied_model_needs_its_head),
        IN_DIRECTORY(says_what_is_not_a_model),
        IN_DIRECTORY(names_the_tool_that_quantized_a_foreign_checkpoint),
        IN_DIRECTORY(opening_reports_a_failing_allocator_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
