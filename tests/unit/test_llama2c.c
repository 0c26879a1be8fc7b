/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/file.h"
#include "build_llama2c.h"
#include "fixtures.h"
#include "io/llama2c.h"

static float first_value(const kfi_tensor_table *table, const char *name)
{
    kf_error err = {0};
    float value = -1.0F;
    const kfi_tensor *tensor = kfi_tensor_find(table, name);
    if (tensor == NULL) {
        fail_msg("there is no %s", name);
    }
    CHECK_OK(kfi_tensor_decode(&value, tensor, 0, 1, &err), &err);
    return value;
}

static void places_every_tensor(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kfi_llama2c *file = NULL;
    build_sample_llama2c(&buf, false);
    CHECK_OK(kfi_llama2c_parse(&file, (const uint8_t *)buf.data, buf.n, NULL, &err), &err);
    const kfi_llama2c_config *config = kfi_llama2c_get_config(file);
    assert_int_equal(config->vocab_size, L2C_VOCAB);
    assert_int_equal(config->n_kv_heads, 1);
    assert_false(config->shared_classifier);
    const kfi_tensor_table *table = kfi_llama2c_tensors(file);
    assert_int_equal(table->n, 2 * 9 + 3);
    /* Floats count up from the first tensor on: a place is the sum of the sizes before it. */
    assert_true(first_value(table, "model.embed_tokens.weight") == 0.0F);
    assert_true(first_value(table, "model.layers.0.input_layernorm.weight") == 40.0F);
    assert_true(first_value(table, "model.layers.1.input_layernorm.weight") == 48.0F);
    assert_true(first_value(table, "model.layers.0.self_attn.q_proj.weight") == 56.0F);
    assert_true(first_value(table, "model.layers.1.self_attn.k_proj.weight") == 216.0F);
    assert_true(first_value(table, "model.layers.0.self_attn.v_proj.weight") == 248.0F);
    assert_true(first_value(table, "model.layers.0.self_attn.o_proj.weight") == 312.0F);
    assert_true(first_value(table, "model.layers.0.post_attention_layernorm.weight") == 440.0F);
    assert_true(first_value(table, "model.layers.0.mlp.gate_proj.weight") == 456.0F);
    assert_true(first_value(table, "model.layers.0.mlp.down_proj.weight") == 648.0F);
    assert_true(first_value(table, "model.layers.0.mlp.up_proj.weight") == 840.0F);
    assert_true(first_value(table, "model.norm.weight") == 1032.0F);
    assert_true(first_value(table, "lm_head.weight") == 1052.0F);
    const kfi_tensor *down = kfi_tensor_find(table, "model.layers.1.mlp.down_proj.weight");
    assert_int_equal(down->shape[0], L2C_DIM);
    assert_int_equal(down->shape[1], L2C_HIDDEN);
    assert_int_equal(down->n_dims, 2);
    assert_int_equal(kfi_tensor_find(table, "model.norm.weight")->n_dims, 1);
    assert_ptr_equal(kfi_llama2c_map(file)->data, buf.data);
    kfi_llama2c_close(file);
    kfi_buf_deinit(&buf);
}

static void a_positive_vocabulary_shares_the_classifier(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kfi_llama2c *file = NULL;
    build_sample_llama2c(&buf, true);
    CHECK_OK(kfi_llama2c_parse(&file, (const uint8_t *)buf.data, buf.n, NULL, &err), &err);
    assert_true(kfi_llama2c_get_config(file)->shared_classifier);
    assert_null(kfi_tensor_find(kfi_llama2c_tensors(file), "lm_head.weight"));
    kfi_llama2c_close(file);
    kfi_buf_deinit(&buf);
}

static void rejects_numbers_out_of_range(void **state)
{
    (void)state;
    static const struct {
        size_t field;
        int32_t value;
        const char *message;
    } cases[] = {
        {0, 0, "dim is 0"},
        {0, -8, "dim is -8"},
        {0, INT32_MAX, "dim is 2147483647"},
        {1, 0, "hidden_dim is 0"},
        {2, 1025, "n_layers is 1025"},
        {2, INT32_MIN, "n_layers is -2147483648"},
        {3, 0, "n_heads is 0"},
        {3, 3, "do not divide dim"},
        {3, 8, "do not divide dim"}, /* an odd head */
        {4, 0, "n_kv_heads is 0"},
        {4, 4, "do not divide dim"},
        {5, 0, "vocab_size is 0"},
        {5, INT32_MIN, "vocab_size is -2147483648"},
        {6, 0, "context is 0"},
        {6, 4, "fewer than its header says"},
        {6, 2, "more than its header says"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kf_error err = {0};
        kfi_buf buf;
        kfi_llama2c *file = NULL;
        build_sample_llama2c(&buf, true);
        kfi_store_u32((uint8_t *)buf.data + 4 * cases[i].field, (uint32_t)cases[i].value);
        assert_int_equal(kfi_llama2c_parse(&file, (const uint8_t *)buf.data, buf.n, NULL, &err),
                         KF_FORMAT);
        assert_null(file);
        if (strstr(err.msg, cases[i].message) == NULL) {
            fail_msg("case %zu: %s", i, err.msg);
        }
        kfi_buf_deinit(&buf);
    }
}

static void rejects_every_other_length(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kfi_llama2c *file = NULL;
    build_sample_llama2c(&buf, true);
    for (size_t n = 0; n < buf.n; n++) {
        assert_int_equal(kfi_llama2c_parse(&file, (const uint8_t *)buf.data, n, NULL, &err),
                         KF_FORMAT);
    }
    put_u8(&buf, 0);
    assert_int_equal(kfi_llama2c_parse(&file, (const uint8_t *)buf.data, buf.n, NULL, &err),
                     KF_FORMAT);
    kfi_buf_deinit(&buf);
}

static void opens_the_story_model(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_llama2c *file = NULL;
    kfi_llama2c_vocabulary vocabulary;
    const char *path = fixture_data("models/stories260K/stories260K.bin");
    SKIP_WITHOUT(path, "stories260K.bin");
    CHECK_OK(kfi_llama2c_open(&file, path, NULL, &err), &err);
    const size_t vocab_size = kfi_llama2c_get_config(file)->vocab_size;
    assert_int_equal(vocab_size, 512);
    assert_int_equal(kfi_llama2c_tensors(file)->n, 47);
    kfi_llama2c_close(file);
    path = fixture_data("models/stories260K/tok512.bin");
    SKIP_WITHOUT(path, "tok512.bin");
    CHECK_OK(kfi_llama2c_vocabulary_read(&vocabulary, path, vocab_size, NULL, &err), &err);
    assert_int_equal(vocabulary.n, 512);
    assert_string_equal(vocabulary.pieces[3], "<0x00>");
    assert_int_equal(vocabulary.lengths[3], 6);
    kfi_llama2c_vocabulary_deinit(&vocabulary);
}

static void names_the_file_that_is_wrong(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_llama2c *file = NULL;
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "m.bin");
    CHECK_OK(kfi_file_write(path, "short", 5, &err), &err);
    assert_int_equal(kfi_llama2c_open(&file, path, NULL, &err), KF_FORMAT);
    assert_string_equal(err.msg, "m.bin: not a llama2.c file: 5 bytes, its header alone has 28");
    assert_int_equal(kfi_llama2c_open(&file, "/nonexistent.bin", NULL, &err), KF_INPUT);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
}

/* Writes buf to a file and reads it as a vocabulary of n tokens. */
static kf_status read_vocabulary(kfi_llama2c_vocabulary *dst, kfi_buf *buf, size_t n, kf_error *err)
{
    char *directory = fixture_directory_new();
    char *path = kfi_path_join(NULL, directory, "t.bin");
    CHECK_OK(kfi_file_write(path, buf->data, buf->n, err), err);
    const kf_status status = kfi_llama2c_vocabulary_read(dst, path, n, NULL, err);
    kfi_free_text(NULL, path);
    fixture_directory_free(directory);
    return status;
}

static void put_token(kfi_buf *buf, float score, const char *text)
{
    put_f32(buf, score);
    put_u32(buf, (uint32_t)strlen(text));
    put_bytes(buf, text, strlen(text));
}

static void reads_a_vocabulary_exactly(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf buf;
    kfi_llama2c_vocabulary vocabulary;
    kfi_buf_init(&buf, NULL, 1000);
    put_u32(&buf, 5);
    put_token(&buf, -1.0F, "hello");
    put_token(&buf, -2.0F, "");
    CHECK_OK(read_vocabulary(&vocabulary, &buf, 2, &err), &err);
    assert_string_equal(vocabulary.pieces[0], "hello");
    assert_int_equal(vocabulary.lengths[1], 0);
    assert_true(vocabulary.scores[1] == -2.0F);
    kfi_llama2c_vocabulary_deinit(&vocabulary);
    assert_int_equal(read_vocabulary(&vocabulary, &buf, 1, &err), KF_FORMAT);
    assert_string_equal(err.msg, "t.bin: 1 tokens end at byte 17, the file has 25");
    assert_int_equal(read_vocabulary(&vocabulary, &buf, 3, &err), KF_FORMAT);
    assert_int_equal(read_vocabulary(&vocabulary, &buf, SIZE_MAX, &err), KF_FORMAT);
    assert_int_equal(read_vocabulary(&vocabulary, &buf, 0, &err), KF_FORMAT);
    kfi_store_u32((uint8_t *)buf.data + 8, 500); /* the first token's length */
    assert_int_equal(read_vocabulary(&vocabulary, &buf, 2, &err), KF_FORMAT);
    assert_string_equal(err.msg, "t.bin: token 0: 500 bytes, 13 are left");
    assert_int_equal(err.offset, 8);
    kfi_store_u32((uint8_t *)buf.data + 8, 10);
    assert_int_equal(read_vocabulary(&vocabulary, &buf, 2, &err), KF_FORMAT);
    assert_string_equal(err.msg, "t.bin: token 1: the file ends at byte 25");
    kfi_store_u32((uint8_t *)buf.data + 4, 0x7FC00000);
    assert_int_equal(read_vocabulary(&vocabulary, &buf, 2, &err), KF_FORMAT);
    assert_string_equal(err.msg, "t.bin: token 0: its score is no number");
    kfi_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_every_tensor),
        cmocka_unit_test(a_positive_vocabulary_shares_the_classifier),
        cmocka_unit_test(rejects_numbers_out_of_range),
        cmocka_unit_test(rejects_every_other_length),
        cmocka_unit_test(opens_the_story_model),
        cmocka_unit_test(names_the_file_that_is_wrong),
        cmocka_unit_test(reads_a_vocabulary_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
