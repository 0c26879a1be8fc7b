/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "io/json.h"
#include "model/architecture.h"
#include "model/config.h"
#include "tiny_model.h"

#define SOUND_JSON                                                                                 \
    "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"intermediate_size\":96,"       \
    "\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"                 \
    "\"vocab_size\":96,\"max_position_embeddings\":256,\"rms_norm_eps\":1e-05%s}"

/* Reads a sound configuration with this text at its end; a later key would be a duplicate, so tests
 * of the keys above write their own document. */
static kf_status read_text(kfi_config *config, const char *text, kf_error *err)
{
    kfi_json *json = NULL;
    kf_status st = kfi_json_parse(&json, text, strlen(text), err);
    if (st == KF_OK) {
        st = kfi_config_from_json(config, json, err);
    }
    kfi_json_free(json);
    return st;
}

static kf_status read_with(kfi_config *config, const char *more, kf_error *err)
{
    char text[1024];
    (void)snprintf(text, sizeof text, SOUND_JSON, more);
    return read_text(config, text, err);
}

static void reads_a_hugging_face_configuration(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_config c;
    CHECK_OK(read_with(&c, "", &err), &err);
    assert_string_equal(c.architecture->name, "llama");
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.hidden, 64);
    assert_int_equal(c.feed_forward, 96);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.vocabulary, 96);
    assert_int_equal(c.context, 256);
    assert_false(c.tied);
    assert_true(c.rms_epsilon == 1e-5f);
    assert_true(c.rope_theta == 10000.0f);
    assert_int_equal(c.rope_scaling, KFI_ROPE_NONE);
}

static void reads_each_rope_scaling_under_its_old_and_new_names(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_config c;
    CHECK_OK(read_with(&c, ",\"rope_theta\":5e5,\"rope_scaling\":null", &err), &err);
    assert_int_equal(c.rope_scaling, KFI_ROPE_NONE);
    assert_true(c.rope_theta == 5e5f);
    CHECK_OK(read_with(&c, ",\"rope_scaling\":{\"rope_type\":\"default\"}", &err), &err);
    assert_int_equal(c.rope_scaling, KFI_ROPE_NONE);
    CHECK_OK(read_with(&c, ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}", &err), &err);
    assert_int_equal(c.rope_scaling, KFI_ROPE_LINEAR);
    assert_true(c.rope_factor == 2.5f);
    CHECK_OK(read_with(&c,
                       ",\"rope_parameters\":{\"rope_theta\":7e5,\"rope_type\":\"llama3\","
                       "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
                       "\"original_max_position_embeddings\":8192}",
                       &err),
             &err);
    assert_int_equal(c.rope_scaling, KFI_ROPE_LLAMA3);
    assert_true(c.rope_theta == 7e5f);
    assert_true(c.rope_factor == 8.0f);
    assert_true(c.rope_low_frequency == 1.0f);
    assert_true(c.rope_high_frequency == 4.0f);
    assert_int_equal(c.rope_original_context, 8192);
}

static void refuses_what_it_cannot_compute(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        const char *named;
    } cases[] = {
        {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2}", "yarn"},
        {",\"hidden_act\":\"gelu\"", "gelu"},
        {",\"hidden_act\":7", "hidden_act"},
        {",\"attention_bias\":true", "attention_bias"},
        {",\"mlp_bias\":true", "mlp_bias"},
        {",\"use_sliding_window\":true", "use_sliding_window"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        kfi_config c;
        assert_int_equal(read_with(&c, cases[i].more, &err), KF_UNSUPPORTED);
        assert_non_null(strstr(err.msg, cases[i].named));
    }
    kf_error err = {0};
    kfi_config c;
    assert_int_equal(read_text(&c, "{\"architectures\":[\"GPT2LMHeadModel\"]}", &err),
                     KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "GPT2LMHeadModel"));
    assert_non_null(strstr(err.msg, "LlamaForCausalLM"));
    assert_non_null(strstr(err.msg, "Qwen2ForCausalLM"));
}

static void rejects_members_of_the_wrong_kind(void **state)
{
    (void)state;
    static const char *const more[] = {
        ",\"rope_theta\":\"big\"",
        ",\"rope_scaling\":7",
        ",\"rope_scaling\":{}",
        ",\"rope_scaling\":{\"rope_type\":1}",
        ",\"rope_scaling\":{\"type\":\"linear\"}",
        ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}",
        ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":-3}",
        ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}",
        (",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
         "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}"),
        ",\"tie_word_embeddings\":\"yes\"",
        ",\"head_dim\":15",
        ",\"head_dim\":-16",
        ",\"head_dim\":1.5",
        ",\"head_dim\":100000",
        ",\"rope_theta\":0",
        ",\"rope_theta\":1e300",
    };
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        kf_error err = {0};
        kfi_config c;
        if (read_with(&c, more[i], &err) != KF_FORMAT) {
            fail_msg("accepted %s", more[i]);
        }
        assert_true(err.msg[0] != '\0');
    }
    static const char *const whole[] = {"[]",
                                        "7",
                                        "{}",
                                        "{\"architectures\":\"LlamaForCausalLM\"}",
                                        "{\"architectures\":[]}",
                                        "{\"architectures\":[7]}"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        kf_error err = {0};
        kfi_config c;
        assert_int_equal(read_text(&c, whole[i], &err), KF_FORMAT);
    }
}

/* Each required key missing, then zero, negative, huge, and a text. */
static void rejects_every_required_key_that_is_missing_or_hostile(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "hidden_size",         "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "vocab_size",        "max_position_embeddings",
    };
    static const char *const values[] = {NULL, "0", "-1", "9223372036854775807", "\"64\"", "6.5"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        for (size_t j = 0; j < sizeof values / sizeof values[0]; j++) {
            char text[1024] = "{\"architectures\":[\"LlamaForCausalLM\"],\"rms_norm_eps\":1e-05";
            for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
                const char *value = k == i ? values[j] : "4";
                const size_t n = strlen(text);
                if (value != NULL) {
                    (void)snprintf(text + n, sizeof text - n, ",\"%s\":%s", keys[k], value);
                }
            }
            const size_t n = strlen(text);
            (void)snprintf(text + n, sizeof text - n, "}");
            kf_error err = {0};
            kfi_config c;
            if (read_text(&c, text, &err) != KF_FORMAT) {
                fail_msg("accepted %s", text);
            }
        }
    }
}

static void what_it_writes_it_reads_back_equal(void **state)
{
    (void)state;
    for (int scaling = KFI_ROPE_NONE; scaling <= KFI_ROPE_LLAMA3; scaling++) {
        kf_error err = {0};
        kfi_config c = tiny_options_of(scaling == 0 ? "qwen2" : "llama").config;
        c.rope_scaling = (kfi_rope_scaling)scaling;
        c.head_dim = 24; /* not hidden / heads */
        c.rms_epsilon = 1.1e-6f;
        c.rope_theta = 1234567.0f;
        if (scaling != KFI_ROPE_NONE) {
            c.rope_factor = 32.5f;
        }
        if (scaling == KFI_ROPE_LLAMA3) {
            c.rope_low_frequency = 1.25f;
            c.rope_high_frequency = 4.1f;
            c.rope_original_context = 4096;
        }
        kfi_buf buf;
        kfi_json_writer w;
        kfi_buf_init(&buf, NULL, 1 << 16);
        kfi_json_writer_init(&w, &buf, 2);
        kfi_json_begin_object(&w);
        kfi_config_write_json(&w, &c);
        kfi_json_end_object(&w);
        assert_false(buf.failed);
        kfi_config again;
        CHECK_OK(read_text(&again, buf.data, &err), &err);
        kfi_buf_deinit(&buf);
        assert_ptr_equal(again.architecture, c.architecture);
        assert_int_equal(again.head_dim, 24);
        assert_int_equal(again.tied, c.tied);
        assert_true(again.rms_epsilon == c.rms_epsilon);
        assert_true(again.rope_theta == c.rope_theta);
        assert_int_equal(again.rope_scaling, c.rope_scaling);
        assert_true(again.rope_factor == c.rope_factor);
        assert_true(again.rope_low_frequency == c.rope_low_frequency);
        assert_true(again.rope_high_frequency == c.rope_high_frequency);
        assert_int_equal(again.rope_original_context, c.rope_original_context);
    }
}

static void writes_floats_as_people_write_them(void **state)
{
    (void)state;
    const kfi_config c = tiny_options_of("llama").config;
    kfi_buf buf;
    kfi_json_writer w;
    kfi_buf_init(&buf, NULL, 1 << 16);
    kfi_json_writer_init(&w, &buf, 0);
    kfi_json_begin_object(&w);
    kfi_config_write_json(&w, &c);
    kfi_json_end_object(&w);
    assert_non_null(strstr(buf.data, "\"rms_norm_eps\": 0.00001,"));
    assert_non_null(strstr(buf.data, "\"rope_theta\": 10000.0,"));
    kfi_buf_deinit(&buf);
}

/* ---- what must hold of every configuration ---- */

static void checks_sizes_heads_and_numbers(void **state)
{
    (void)state;
    kf_error err = {0};
    const kfi_config sound = tiny_options_of("llama").config;
    CHECK_OK(kfi_config_check(&sound, &err), &err);
#define REJECTS(member, value)                                                                     \
    do {                                                                                           \
        kfi_config c = sound;                                                                      \
        c.member = (value);                                                                        \
        if (kfi_config_check(&c, &err) != KF_FORMAT) {                                             \
            fail_msg("accepted %s = %s", #member, #value);                                         \
        }                                                                                          \
    } while (0)
    REJECTS(n_layers, 0);
    REJECTS(n_layers, 1025);
    REJECTS(hidden, 0);
    REJECTS(hidden, (size_t)1 << 40);
    REJECTS(feed_forward, 0);
    REJECTS(n_heads, 0);
    REJECTS(n_kv_heads, 0);
    REJECTS(n_kv_heads, 3);
    REJECTS(n_kv_heads, 8);
    REJECTS(head_dim, 0);
    REJECTS(head_dim, 17);
    REJECTS(head_dim, SIZE_MAX);
    REJECTS(vocabulary, 0);
    REJECTS(context, 0);
    REJECTS(context, SIZE_MAX);
    REJECTS(rms_epsilon, -1.0f);
    REJECTS(rms_epsilon, (float)NAN);
    REJECTS(rms_epsilon, (float)INFINITY);
    REJECTS(rope_theta, 0.0f);
    REJECTS(rope_theta, (float)NAN);
    REJECTS(rope_scaling, KFI_ROPE_LINEAR); /* without a factor */
    REJECTS(rope_scaling, KFI_ROPE_LLAMA3);
#undef REJECTS
}

static void checks_a_llama2c_header(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_config c;
    kfi_llama2c_config header = {.dim = 64,
                                 .hidden_dim = 172,
                                 .n_layers = 5,
                                 .n_heads = 8,
                                 .n_kv_heads = 4,
                                 .vocab_size = 512,
                                 .context = 512,
                                 .shared_classifier = true};
    CHECK_OK(kfi_config_from_llama2c(&c, &header, &err), &err);
    assert_int_equal(c.head_dim, 8);
    assert_true(c.tied);
    header.n_heads = 7;
    assert_int_equal(kfi_config_from_llama2c(&c, &header, &err), KF_FORMAT);
    header.n_heads = 0;
    assert_int_equal(kfi_config_from_llama2c(&c, &header, &err), KF_FORMAT);
    header.n_heads = 64; /* a head of one dimension */
    assert_int_equal(kfi_config_from_llama2c(&c, &header, &err), KF_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_hugging_face_configuration),
        cmocka_unit_test(reads_each_rope_scaling_under_its_old_and_new_names),
        cmocka_unit_test(refuses_what_it_cannot_compute),
        cmocka_unit_test(rejects_members_of_the_wrong_kind),
        cmocka_unit_test(rejects_every_required_key_that_is_missing_or_hostile),
        cmocka_unit_test(what_it_writes_it_reads_back_equal),
        cmocka_unit_test(writes_floats_as_people_write_them),
        cmocka_unit_test(checks_sizes_heads_and_numbers),
        cmocka_unit_test(checks_a_llama2c_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
