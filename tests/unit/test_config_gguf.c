/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "build_gguf.h"
#include "model/config.h"

/* The metadata of a small llama, but for one key: left out, or with another value. */
typedef struct gguf_case {
    const char *key; /* without "llama." ("split.…" has none), NULL: the sound file */
    bool leave_out;
    uint32_t value;
    const char *text; /* the value is a text */
    float number;     /* … or this, when not 0 */
    float *divisors;  /* rope_freqs of 8 values */
} gguf_case;

static const struct {
    const char *key;
    uint32_t value;
} gguf_sound[] = {
    {"block_count", 2},          {"context_length", 256},     {"embedding_length", 64},
    {"feed_forward_length", 96}, {"attention.head_count", 4}, {"attention.head_count_kv", 2},
};

static void put_value(kfi_buf *buf, const char *key, const gguf_case *c)
{
    if (c->text != NULL) {
        gguf_key_text(buf, key, c->text);
    } else if (c->number != 0) {
        gguf_key(buf, key, KFI_GGUF_F32);
        put_f32(buf, c->number);
    } else {
        gguf_key_u32(buf, key, c->value);
    }
}

static size_t put_keys(kfi_buf *buf, const gguf_case *c)
{
    size_t n_keys = 2;
    bool done = c->key == NULL;
    char key[96];
    gguf_key_text(buf, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof gguf_sound / sizeof gguf_sound[0]; i++) {
        (void)snprintf(key, sizeof key, "llama.%s", gguf_sound[i].key);
        const bool this_one = c->key != NULL && strcmp(c->key, gguf_sound[i].key) == 0;
        done = done || this_one;
        if (this_one && c->leave_out) {
            continue;
        }
        if (this_one) {
            put_value(buf, key, c);
        } else {
            gguf_key_u32(buf, key, gguf_sound[i].value);
        }
        n_keys++;
    }
    gguf_key(buf, "llama.attention.layer_norm_rms_epsilon", KFI_GGUF_F32);
    put_f32(buf, 1e-5f);
    if (!done) {
        const bool is_general = strncmp(c->key, "split.", 6) == 0;
        (void)snprintf(key, sizeof key, "%s%s", is_general ? "" : "llama.", c->key);
        put_value(buf, key, c);
        n_keys++;
    }
    return n_keys;
}

static kf_status read_gguf(kfi_config *config, const gguf_case *c, kf_error *err)
{
    kfi_buf keys;
    kfi_buf file;
    kfi_buf_init(&keys, NULL, BUILD_MAX);
    const size_t n_keys = put_keys(&keys, c);
    const size_t n_tensors = c->divisors != NULL ? 2 : 1;
    gguf_begin(&file, 3, n_tensors, n_keys);
    put_bytes(&file, keys.data, keys.n);
    gguf_tensor(&file, "token_embd.weight", 4, 64, 0, 0);
    if (c->divisors != NULL) {
        put_string(&file, "rope_freqs.weight");
        put_u32(&file, 1);
        put_u64(&file, 8);
        put_u32(&file, 0);
        put_u64(&file, 1024);
    }
    put_padding(&file, 32);
    put_data(&file, 1024);
    for (size_t i = 0; c->divisors != NULL && i < 8; i++) {
        put_f32(&file, c->divisors[i]);
    }
    kfi_gguf *gguf = NULL;
    kf_status st = kfi_gguf_parse(&gguf, (const uint8_t *)file.data, file.n, NULL, err);
    if (st == KF_OK) {
        st = kfi_config_from_gguf(config, gguf, err);
    }
    kfi_gguf_close(gguf);
    kfi_buf_deinit(&keys);
    kfi_buf_deinit(&file);
    return st;
}

static void reads_the_metadata_of_a_gguf(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_config c;
    CHECK_OK(read_gguf(&c, &(gguf_case){.key = NULL}, &err), &err);
    assert_string_equal(c.architecture->name, "llama");
    assert_int_equal(c.vocabulary, 4);
    assert_int_equal(c.head_dim, 16);
    assert_true(c.tied);
    assert_true(c.rope_theta == 10000.0f);
    CHECK_OK(read_gguf(&c, &(gguf_case){.key = "attention.head_count_kv", .leave_out = true}, &err),
             &err);
    assert_int_equal(c.n_kv_heads, 4);
    CHECK_OK(read_gguf(&c, &(gguf_case){.key = "attention.key_length", .value = 16}, &err), &err);
    CHECK_OK(read_gguf(&c, &(gguf_case){.key = "rope.scaling.type", .text = "none"}, &err), &err);
    CHECK_OK(read_gguf(&c, &(gguf_case){.key = "rope.scale_linear", .number = 4.0f}, &err), &err);
    assert_int_equal(c.rope_scaling, KFI_ROPE_LINEAR);
    assert_true(c.rope_factor == 4.0f);
}

static void rejects_hostile_metadata_of_a_gguf(void **state)
{
    (void)state;
    static const struct {
        gguf_case c;
        kf_status expected;
    } cases[] = {
        {{.key = "block_count", .leave_out = true}, KF_FORMAT},
        {{.key = "block_count", .value = 0}, KF_FORMAT},
        {{.key = "block_count", .value = 1000000}, KF_FORMAT},
        {{.key = "block_count", .text = "two"}, KF_FORMAT},
        {{.key = "context_length", .leave_out = true}, KF_FORMAT},
        {{.key = "context_length", .value = UINT32_MAX}, KF_FORMAT},
        {{.key = "embedding_length", .leave_out = true}, KF_FORMAT},
        {{.key = "embedding_length", .value = UINT32_MAX}, KF_FORMAT},
        {{.key = "feed_forward_length", .value = 0}, KF_FORMAT},
        {{.key = "attention.head_count", .value = 0}, KF_FORMAT},
        {{.key = "attention.head_count", .value = 5}, KF_FORMAT},
        {{.key = "attention.head_count", .value = 64}, KF_FORMAT},
        {{.key = "attention.head_count_kv", .value = 0}, KF_FORMAT},
        {{.key = "attention.head_count_kv", .value = 3}, KF_FORMAT},
        {{.key = "attention.key_length", .value = 32}, KF_OK},
        {{.key = "attention.value_length", .value = 32}, KF_UNSUPPORTED},
        {{.key = "rope.dimension_count", .value = 8}, KF_UNSUPPORTED},
        {{.key = "rope.freq_base", .number = -1.0f}, KF_FORMAT},
        {{.key = "rope.freq_base", .number = (float)NAN}, KF_FORMAT},
        {{.key = "rope.scaling.type", .text = "yarn"}, KF_UNSUPPORTED},
        {{.key = "rope.scaling.type", .text = "linear"}, KF_FORMAT},
        {{.key = "rope.scaling.type", .value = 3}, KF_FORMAT},
        {{.key = "rope.scale_linear", .number = -2.0f}, KF_FORMAT},
        {{.key = "vocab_size", .value = 5}, KF_FORMAT},
        {{.key = "expert_count", .value = 8}, KF_UNSUPPORTED},
        {{.key = "split.count", .value = 3}, KF_UNSUPPORTED},
        {{.key = "split.count", .text = "three"}, KF_FORMAT},
        {{.key = "split.count", .value = 1}, KF_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        kfi_config c;
        const kf_status st = read_gguf(&c, &cases[i].c, &err);
        if (st != cases[i].expected) {
            fail_msg("case %zu, %s: %s: %s", i, cases[i].c.key, kf_status_text(st), err.msg);
        }
    }
}

static void finds_llama3_scaling_in_the_divisors_of_a_gguf(void **state)
{
    (void)state;
    kf_error err = {0};
    float divisors[8];
    const double pi = acos(-1.0);
    for (size_t i = 0; i < 8; i++) { /* as the converter of llama.cpp computes them */
        const double f = 1.0 / pow(500000.0, (double)(2 * i) / 16.0);
        const double wavelength = 2 * pi / f;
        const double smooth = (8192.0 / wavelength - 1.0) / (4.0 - 1.0);
        divisors[i] = wavelength < 8192.0 / 4.0   ? 1.0f
                      : wavelength > 8192.0 / 1.0 ? 8.0f
                                                  : (float)(1.0 / ((1 - smooth) / 8.0 + smooth));
    }
    const gguf_case sound = {.key = "rope.freq_base", .number = 500000.0f, .divisors = divisors};
    kfi_config c;
    CHECK_OK(read_gguf(&c, &sound, &err), &err);
    assert_int_equal(c.rope_scaling, KFI_ROPE_LLAMA3);
    assert_true(c.rope_factor == 8.0f);
    assert_int_equal(c.rope_original_context, 8192);
    divisors[5] *= 1.01f;
    assert_int_equal(read_gguf(&c, &sound, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "rope_freqs"));
    divisors[7] = (float)NAN;
    assert_int_equal(read_gguf(&c, &sound, &err), KF_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_metadata_of_a_gguf),
        cmocka_unit_test(rejects_hostile_metadata_of_a_gguf),
        cmocka_unit_test(finds_llama3_scaling_in_the_divisors_of_a_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
