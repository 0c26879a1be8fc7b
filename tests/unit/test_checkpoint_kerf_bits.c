/* What a Kerf checkpoint weighs, tensor by tensor.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <math.h>

#include "fixtures.h"
#include "kerf/model.h"
#include "model/checkpoint_names.h"
#include "model/forward.h"
#include "packed_model.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

static void says_what_a_kerf_checkpoint_weighs(void **state)
{
    const tiny_kerf_options o = tiny_kerf_defaults();
    packed_model p = packed_model_write(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    kf_model_info info;
    kf_model_get_info(model, &info);
    assert_true(info.is_kerf);
    assert_string_equal(info.source, "Kerf checkpoint, recipe rtn-tiny");
    const uint64_t parameters = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64);
    uint64_t bytes = 0;
    const char *const names[] = {"self_attn.q_proj", "mlp.down_proj"};
    for (size_t i = 0; i < 2; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "model.layers.0.%s.weight", names[i]);
        assert_string_equal(kfi_model_source_format(model, name), "int4g64");
    }
    for (size_t i = 0; i < kf_model_tensor_count(model); i++) {
        kf_model_tensor t;
        kf_model_get_tensor(model, i, &t);
        assert_null(strstr(t.name, ".packed"));
        bytes += strstr(t.name, "_proj.weight") != NULL ? t.bytes : 0;
    }
    assert_true(info.bits_per_weight_linear == 8.0 * (double)bytes / (double)parameters);
    /* 4 bits, 16 a group of 64 for the scale, 64 bytes a tensor; of down's 96 columns the second
     * group is half empty. */
    assert_true(info.bits_per_weight_linear > 4.25 && info.bits_per_weight_linear < 4.6);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

/* Every tensor of a side path counts as a part of its matrix. */
static void side_paths_count_as_bits_of_their_layer(void **state)
{
    kf_error err = {0};
    const tiny_kerf_options o = packed_with_side_paths();
    packed_model p = packed_model_write(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    kf_model_info info;
    kf_model_get_info(model, &info);
    /* rows, cols, and how many of them there are in the two blocks */
    static const size_t shapes[][3] = {{64, 64, 4}, {32, 64, 4}, {96, 64, 4}, {64, 96, 2}};
    static const char *const names[] = {"int4g64", "int8g32", "int8row", "int8row"};
    uint64_t bytes = 0;
    uint64_t parameters = 0;
    for (size_t i = 0; i < 4; i++) {
        const size_t rows = shapes[i][0];
        const size_t cols = shapes[i][1];
        const size_t parts[][2] = {
            {rows, cols}, {o.rank, cols}, {rows, o.rank}, {rows, o.n_outliers}};
        for (size_t j = 0; j < 4; j++) {
            kf_format format;
            uint64_t part = 0;
            CHECK_OK(kf_format_parse(&format, names[j], &err), &err);
            CHECK_OK(kf_format_bytes(&part, format, parts[j][0], parts[j][1], &err), &err);
            bytes += shapes[i][2] * part;
        }
        bytes += shapes[i][2] * o.n_outliers * sizeof(uint32_t);
        parameters += (uint64_t)shapes[i][2] * rows * cols;
    }
    assert_true(info.bits_per_weight_linear == 8.0 * (double)bytes / (double)parameters);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

static void tells_by_its_name_what_a_tensor_is(void **state)
{
    (void)state;
    assert_true(kfi_name_is_linear(kfi_name_weight(12, KFI_LINEAR_DOWN).text));
    assert_true(kfi_name_is_linear("model.layers.3.self_attn.q_proj.weight.packed"));
    for (size_t i = 0; i < KFI_SIDE_PARTS; i++) {
        const kfi_name name = kfi_name_side("model.layers.0.mlp.up_proj.weight", (kfi_side_part)i);
        assert_int_equal(kfi_name_side_part(name.text), i);
        assert_int_equal(kfi_name_side_part(kfi_name_packed(name.text).text), i);
        assert_true(kfi_name_is_linear(name.text));
    }
    for (size_t i = 0; i < KFI_ONLINE_PARTS; i++) {
        const kfi_name name =
            kfi_name_online("model.layers.0.mlp.up_proj.weight", (kfi_online_part)i);
        assert_int_equal(kfi_name_online_part(name.text), i);
        assert_true(kfi_name_is_linear(name.text));
    }
    assert_int_equal(kfi_name_online_part(KFI_TENSOR_RESIDUAL_SIGNS), KFI_ONLINE_PARTS);
    assert_int_equal(kfi_name_side_part("model.norm.weight"), KFI_SIDE_PARTS);
    assert_int_equal(kfi_name_side_part(".outliers"), KFI_SIDE_PARTS);
    static const char *const others[] = {
        "",
        ".packed",
        "model.layers.",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.input_layernorm.weight",
        "model.embed_tokens.weight.packed",
        "other.layers.0.mlp.up_proj.weight",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(kfi_name_is_linear(others[i]));
    }
    assert_int_equal(kfi_name_unpacked("lm_head.weight.packed"), 14);
    assert_int_equal(kfi_name_unpacked("lm_head.weight"), 0);
    assert_int_equal(kfi_name_unpacked(".packed"), 0);
}

static void maps_count_as_bits_of_their_layer(void **state)
{
    kf_model_info info[2];
    for (int i = 0; i < 2; i++) {
        tiny_kerf_options o = packed_with_maps();
        o.rotated = true;
        o.maps = i == 1;
        packed_model p = packed_model_write(*state, "llama", &o);
        kf_model *model = model_open_with(p.path, NULL, NULL);
        kf_model_get_info(model, &info[i]);
        kf_model_close(model);
        tiny_model_free(p.tiny);
    }
    /* A block: signs of o and down; columns of q, k and v, which are 32 more than the input has,
     * with 4 bits and a scale of 16 a group of 64 for 16 rows of them; two lists for gate and up.
     */
    const uint64_t maps = 64 + 96 + 3 * 96 * 4 + 2 * 2 * 64 * 4;
    const uint64_t wider = (64 + 32 + 32) * 32 / 2 + (64 + 32 + 32) * 2;
    assert_int_equal(info[1].bytes - info[0].bytes, 2 * (maps + wider));
    const double linear =
        8.0 * 2.0 * (double)(maps + wider) / (2.0 * (64 * 64 * 2 + 32 * 64 * 2 + 96 * 64 * 3));
    assert_true(fabs(info[1].bits_per_weight_linear - info[0].bits_per_weight_linear - linear) <
                1e-9);
    assert_true(info[0].parameters == info[1].parameters);
}

static void single_weights_count_as_bits_of_their_layer(void **state)
{
    kf_model_info info[2];
    uint64_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        tiny_kerf_options o = packed_with_sparse();
        o.sparse = i == 1;
        packed_model p = packed_model_write(*state, "llama", &o);
        kf_model *model = model_open_with(p.path, NULL, NULL);
        kf_model_get_info(model, &info[i]);
        for (size_t k = 0; i == 1 && k < kf_model_tensor_count(model); k++) {
            kf_model_tensor t;
            kf_model_get_tensor(model, k, &t);
            bytes += strstr(t.name, ".sparse_") != NULL ? t.bytes : 0;
        }
        kf_model_close(model);
        tiny_model_free(p.tiny);
    }
    /* At least the starts of all rows. */
    assert_true(bytes > 2 * (64 * 2 + 32 * 2 + 96 * 2 + 64 + 7) * sizeof(uint32_t));
    assert_int_equal(info[1].bytes - info[0].bytes, bytes);
    const double linear = 8.0 * (double)bytes / (2.0 * (64 * 64 * 2 + 32 * 64 * 2 + 96 * 64 * 3));
    assert_true(fabs(info[1].bits_per_weight_linear - info[0].bits_per_weight_linear - linear) <
                1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(says_what_a_kerf_checkpoint_weighs),
        IN_DIRECTORY(side_paths_count_as_bits_of_their_layer),
        cmocka_unit_test(tells_by_its_name_what_a_tensor_is),
        IN_DIRECTORY(maps_count_as_bits_of_their_layer),
        IN_DIRECTORY(single_weights_count_as_bits_of_their_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
