/* Kerf checkpoints that are wrong, or of an older version.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "fixtures.h"
#include "kerf/model.h"
#include "kerf/quantize.h"
#include "model/checkpoint_names.h"
#include "model/forward.h"
#include "packed_model.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

/* Whoever does not know them would compute something else; version 1 has none. */
static void version_1_ignores_what_has_the_name_of_a_side_path(void **state)
{
    tiny_kerf_options o = packed_with_side_paths();
    o.version = KFI_CHECKPOINT_VERSION;
    packed_model p = packed_model_write(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    assert_int_equal(kfi_model_side_width(model), 0);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

/* As the readers of their time did. */
static void older_versions_keep_inputs_of_kept_tensors_float(void **state)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.kept = "model.layers.1.self_attn.k_proj.weight";
    o.more = ",\"activation_overrides\":{\"model.layers.1.self_attn.k_proj.weight\":\"int3t\"}";
    for (o.version = 1; o.version <= KFI_CHECKPOINT_VERSION_MOST; o.version++) {
        packed_model p = packed_model_write(*state, "llama", &o);
        kf_model *model = model_open_with(p.path, NULL, NULL);
        const kfi_block *block = NULL;
        kf_error err = {0};
        CHECK_OK(kfi_model_block(model, 1, &block, &err), &err);
        assert_int_equal(block->linears[KFI_LINEAR_K].activation.bits,
                         o.version < KFI_CHECKPOINT_VERSION_INPUTS ? 32 : 3);
        kf_model_close(model);
        tiny_model_free(p.tiny);
    }
}

static void rejects_what_is_wrong_with_a_checkpoint(void **state)
{
    static const struct {
        int version;
        bool misaligned;
        const char *activations, *more, *named;
        kf_status expected;
    } cases[] = {
        {0, false, "int8tg64", NULL, "format_version", KF_UNSUPPORTED},
        {5, false, "int8tg64", NULL, "format_version", KF_UNSUPPORTED},
        {1, true, "int8tg64", NULL, "multiple of 64", KF_FORMAT},
        {1, false, "int9", NULL, "activations", KF_FORMAT},
        {1, false, "int4tg64c49", NULL, "activations", KF_FORMAT},
        {1, false, "int8ta", NULL, "activations", KF_FORMAT},
        {1, false, "int8t", ",\"activation_overrides\":7", "activation_overrides", KF_FORMAT},
        {1, false, "int8t", ",\"kv\":\"k8v1\"", "k8v1", KF_FORMAT},
        {1, false, "int8t", ",\"kv\":8", "'kv'", KF_FORMAT},
        {1, false, "int8t", ",\"activation_overrides\":{\"a\":\"int9\"}", "'a'", KF_FORMAT},
        {1, false, "int8t", ",\"activation_overrides\":{\"a\":9}", "'a'", KF_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        tiny_kerf_options o = tiny_kerf_defaults();
        o.version = cases[i].version;
        o.misaligned = cases[i].misaligned;
        o.activations = cases[i].activations;
        o.more = cases[i].more;
        packed_model p = packed_model_write(*state, "llama", &o);
        kf_model *model = NULL;
        const kf_status st = kf_model_open(&model, p.path, NULL, &err);
        if (st != cases[i].expected || strstr(err.msg, cases[i].named) == NULL) {
            fail_msg("case %zu: %s: %s", i, kf_status_text(st), err.msg);
        }
        assert_int_equal(err.code, st);
        tiny_model_free(p.tiny);
    }
}

/* Opening fails, naming what is wrong with which tensor. */
static void check_flaw(const char *directory, const tiny_kerf_options *o, const char *named)
{
    kf_error err = {0};
    kf_model *model = NULL;
    packed_model p = packed_model_write(directory, "llama", o);
    const kf_status st = kf_model_open(&model, p.path, NULL, &err);
    if (st != (o->flaw == TINY_SIDE_WIDE ? KF_UNSUPPORTED : KF_FORMAT) ||
        strstr(err.msg, named) == NULL ||
        strstr(err.msg, "model.layers.0.mlp.down_proj.weight.") == NULL) {
        fail_msg("flaw %d: %s: %s", (int)o->flaw, kf_status_text(st), err.msg);
    }
    assert_null(model);
    tiny_model_free(p.tiny);
}

static void rejects_side_paths_that_cannot_be(void **state)
{
    static const struct {
        tiny_side_flaw flaw;
        const char *named;
    } cases[] = {
        {TINY_SIDE_NO_B, "low_rank_b' beside it"},
        {TINY_SIDE_NO_COLUMNS, "outlier_columns' beside it"},
        {TINY_SIDE_A_IN_FLOAT, "low_rank_a' is not packed"},
        {TINY_SIDE_A_COLS, "is 8 x 95, expected 8 x 96"},
        {TINY_SIDE_B_COLS, "is 64 x 9, expected 64 x 8"},
        {TINY_SIDE_B_ROWS, "is 63 x 8, expected 64 x 8"},
        {TINY_SIDE_OUTLIER_ROWS, "is 63 x 5, expected 64 x 5"},
        {TINY_SIDE_NAN_SCALE, "low_rank_a"},
        {TINY_SIDE_COLUMNS_F32, "is not U32 [5]"},
        {TINY_SIDE_TWICE, "element 1 is 1, expected columns below 96 in ascending order"},
        {TINY_SIDE_UNSORTED, "element 1 is 0"},
        {TINY_SIDE_BEYOND, "element 4 is 96"},
        {TINY_SIDE_FEW_COLUMNS, "is not U32 [5]"},
        {TINY_SIDE_KEPT_MATRIX, "a matrix that is not packed"},
        {TINY_SIDE_WIDE, "of 513, at most 512"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_kerf_options o = packed_with_side_paths();
        o.flaw = cases[i].flaw;
        check_flaw(*state, &o, cases[i].named);
    }
}

static void rejects_maps_that_cannot_be(void **state)
{
    static const struct {
        tiny_map_flaw flaw;
        kf_status status;
        const char *named;
    } cases[] = {
        {TINY_MAP_SIGNS_U32, KF_FORMAT, "down_proj.weight.input_signs' is not I8 [96]"},
        {TINY_MAP_FEW_SIGNS, KF_FORMAT, "down_proj.weight.input_signs' is not I8 [96]"},
        {TINY_MAP_SIGN_0, KF_FORMAT, "input_signs': element 3 is 0, expected 1 or -1"},
        {TINY_MAP_BOTH, KF_FORMAT, "down_proj.weight.input_signs' stands beside"},
        {TINY_MAP_LONE_SECOND, KF_FORMAT, "down_proj.weight.input_second' has no"},
        {TINY_MAP_COLUMNS_F32, KF_FORMAT, "q_proj.weight.input_columns' is not U32 [96]"},
        {TINY_MAP_BEYOND, KF_FORMAT, "element 2 is 64, expected a column below 64"},
        {TINY_MAP_FEW_COLUMNS, KF_FORMAT, "is 64 x 96 in 1 dimensions, expected 64 x 95"},
        {TINY_MAP_NO_COLUMNS, KF_UNSUPPORTED, "has 0 columns, expected 1 to 256"},
        {TINY_MAP_WIDE, KF_UNSUPPORTED, "has 320 columns, expected 1 to 256"},
        {TINY_MAP_FEW_RESIDUAL_SIGNS, KF_FORMAT, "'kerf.residual_signs' is not I8 [64]"},
        {TINY_MAP_RESIDUAL_SIGN_2, KF_FORMAT, "'kerf.residual_signs': element 3 is 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kf_error err = {0};
        tiny_kerf_options o = packed_with_maps();
        o.rotated = true;
        o.map_flaw = cases[i].flaw;
        packed_model p = packed_model_write(*state, "llama", &o);
        kf_model *model = NULL;
        const kf_status st = kf_model_open(&model, p.path, NULL, &err);
        if (st != cases[i].status || strstr(err.msg, cases[i].named) == NULL) {
            fail_msg("flaw %d: %s: %s", (int)cases[i].flaw, kf_status_text(st), err.msg);
        }
        assert_null(model);
        tiny_model_free(p.tiny);
    }
}

static void rejects_a_rotation_of_a_width_without_a_hadamard_matrix(void **state)
{
    (void)state;
    int8_t values[92];
    const int8_t *signs = NULL;
    kf_error err = {0};
    memset(values, 1, sizeof values);
    const kfi_tensor tensor = {.name = "x.input_signs",
                               .dtype = KFI_DTYPE_I8,
                               .n_dims = 1,
                               .shape = {92},
                               .n_elements = 92,
                               .data = (const uint8_t *)values,
                               .bytes = 92};
    assert_int_equal(kfi_signs_open(&signs, &tensor, 92, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "tensor 'x.input_signs': no Hadamard matrix"));
    assert_null(signs);
}

static void older_versions_ignore_what_has_the_name_of_a_map(void **state)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_SIDE;
    o.rotated = true;
    o.map_flaw = TINY_MAP_FEW_RESIDUAL_SIGNS;
    packed_model p = packed_model_write(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    assert_null(kfi_model_residual_signs(model));
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

static void verify_accepts_maps_and_a_rotated_stream(void **state)
{
    kf_error err = {0};
    tiny_kerf_options o = packed_with_maps();
    o.rotated = true;
    o.n_outliers = 5;
    packed_model p = packed_model_write(*state, "llama", &o);
    tiny_kerf_write_sums(p.path);
    CHECK_OK(kf_verify(p.path, NULL, &err), &err);
    tiny_model_free(p.tiny);
}

/* Each decodes to a weight; what the matrix has there would count only where x stays float. */
static void verify_rejects_a_matrix_that_is_not_0_in_the_columns_of_outliers(void **state)
{
    for (int flawed = 0; flawed < 2; flawed++) {
        kf_error err = {0};
        tiny_kerf_options o = packed_with_side_paths();
        o.flaw = flawed != 0 ? TINY_SIDE_NOT_ZERO : TINY_SIDE_RIGHT;
        packed_model p = packed_model_write(*state, "llama", &o);
        tiny_kerf_write_sums(p.path);
        const kf_status st = kf_verify(p.path, NULL, &err);
        if (flawed == 0) {
            CHECK_OK(st, &err);
        } else {
            assert_int_equal(st, KF_FORMAT);
            assert_non_null(strstr(err.msg, "down_proj.weight': row 0 is not 0 in column 1,"));
        }
        tiny_model_free(p.tiny);
    }
}

/* Versions before that of single weights have other things by that name. */
static void version_3_ignores_what_has_the_name_of_single_weights(void **state)
{
    tiny_kerf_options o = packed_with_sparse();
    o.version = KFI_CHECKPOINT_VERSION_INPUTS;
    packed_model p = packed_model_write(*state, "llama", &o);
    kf_model *model = model_open_with(p.path, NULL, NULL);
    const kfi_block *block = NULL;
    assert_int_equal(kfi_model_block(model, 0, &block, NULL), KF_OK);
    assert_null(block->linears[KFI_LINEAR_Q].side.sparse.starts);
    kf_model_close(model);
    tiny_model_free(p.tiny);
}

static void rejects_single_weights_that_cannot_be(void **state)
{
    static const struct {
        tiny_side_flaw flaw;
        const char *named;
    } cases[] = {
        {TINY_SPARSE_NO_VALUES, "sparse_starts' has no 'model.layers.0.mlp.down_proj.weight."
                                "sparse_values' beside it"},
        {TINY_SPARSE_FEW_STARTS, "sparse_starts' is not U32 [65] at a multiple of 4 bytes"},
        {TINY_SPARSE_STARTS_F32, "sparse_starts' is not U32 [65]"},
        {TINY_SPARSE_FIRST_1, "sparse_starts': element 0 is 1, expected an ascending list from 0"},
        {TINY_SPARSE_FALLING, "sparse_starts': element 2 is 10"},
        {TINY_SPARSE_FAR, "sparse_starts': element 3 is "},
        {TINY_SPARSE_LEFT, "sparse_starts': element 64 is "},
        {TINY_SPARSE_COLUMNS_U32, "sparse_columns' is not U16 ["},
        {TINY_SPARSE_BEYOND, "sparse_columns': element 2 is 96, expected columns below 96 in "
                             "ascending order in row 0"},
        {TINY_SPARSE_TWICE, "sparse_columns': element 2 is 9"},
        {TINY_SPARSE_UNSORTED, "sparse_columns': element 2 is 0"},
        {TINY_SPARSE_FEW_VALUES, "sparse_values' is not F16 ["},
        {TINY_SPARSE_NAN, "sparse_values': element 3 is NaN"},
        {TINY_SPARSE_INFINITE, "sparse_values': element 3 is infinite"},
        {TINY_SIDE_KEPT_MATRIX, "a matrix that is not packed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tiny_kerf_options o = packed_with_sparse();
        o.flaw = cases[i].flaw;
        check_flaw(*state, &o, cases[i].named);
    }
}

/* What no tiny model is wide enough for. */
static void rejects_single_weights_beside_too_many_columns(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_sparse sparse;
    const kfi_tensor tensor = {.name = "w.sparse_starts"};
    const kfi_side_tensors tensors = {.name = "w",
                                      .found = {[KFI_SIDE_SPARSE_STARTS] = &tensor,
                                                [KFI_SIDE_SPARSE_COLUMNS] = &tensor,
                                                [KFI_SIDE_SPARSE_VALUES] = &tensor}};
    assert_int_equal(kfi_sparse_open(&sparse, &tensors, 1, 65537, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "65537 columns, at most 65536"));
    assert_null(sparse.starts);
}

/* It would not count where x is quantized, since x is 0 there. */
static void verify_rejects_single_weights_in_the_columns_of_outliers(void **state)
{
    for (int flawed = 0; flawed < 2; flawed++) {
        kf_error err = {0};
        tiny_kerf_options o = packed_with_sparse();
        o.n_outliers = 5;
        o.flaw = flawed != 0 ? TINY_SPARSE_IN_OUTLIERS : TINY_SIDE_RIGHT;
        packed_model p = packed_model_write(*state, "llama", &o);
        tiny_kerf_write_sums(p.path);
        const kf_status st = kf_verify(p.path, NULL, &err);
        if (flawed == 0) {
            CHECK_OK(st, &err);
        } else {
            assert_int_equal(st, KF_FORMAT);
            assert_non_null(strstr(err.msg, "down_proj.weight.sparse_columns': row 1 has a weight "
                                            "in column 7, which is one of outliers"));
        }
        tiny_model_free(p.tiny);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(version_1_ignores_what_has_the_name_of_a_side_path),
        IN_DIRECTORY(older_versions_keep_inputs_of_kept_tensors_float),
        IN_DIRECTORY(rejects_what_is_wrong_with_a_checkpoint),
        IN_DIRECTORY(rejects_side_paths_that_cannot_be),
        IN_DIRECTORY(rejects_maps_that_cannot_be),
        cmocka_unit_test(rejects_a_rotation_of_a_width_without_a_hadamard_matrix),
        IN_DIRECTORY(older_versions_ignore_what_has_the_name_of_a_map),
        IN_DIRECTORY(verify_accepts_maps_and_a_rotated_stream),
        IN_DIRECTORY(verify_rejects_a_matrix_that_is_not_0_in_the_columns_of_outliers),
        IN_DIRECTORY(version_3_ignores_what_has_the_name_of_single_weights),
        IN_DIRECTORY(rejects_single_weights_that_cannot_be),
        cmocka_unit_test(rejects_single_weights_beside_too_many_columns),
        IN_DIRECTORY(verify_rejects_single_weights_in_the_columns_of_outliers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
