/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "io/names.h"
#include "io/tensor.h"

static void knows_types_by_id_and_name(void **state)
{
    (void)state;
    kfi_dtype dtype = KFI_DTYPE_COUNT;
    assert_true(kfi_dtype_from_ggml(&dtype, 14));
    assert_int_equal(dtype, KFI_DTYPE_Q6_K);
    assert_false(kfi_dtype_from_ggml(&dtype, UINT32_MAX)); /* not -1, which marks "none" */
    assert_false(kfi_dtype_from_ggml(&dtype, 9));
    assert_true(kfi_dtype_from_name(&dtype, "BF16", 4));
    assert_int_equal(dtype, KFI_DTYPE_BF16);
    assert_false(kfi_dtype_from_name(&dtype, "BF1", 3));
    assert_string_equal(kfi_dtype_get(KFI_DTYPE_Q2_K)->name, "Q2_K");
    assert_true(kfi_dtype_is_decodable(KFI_DTYPE_Q5_1));
    assert_false(kfi_dtype_is_decodable(KFI_DTYPE_U8));
}

static void decodes_plain_floats(void **state)
{
    (void)state;
    kf_error err = {0};
    float dst[3];
    const uint8_t f32[] = {0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0, 0, 0, 0x80, 0x7F};
    kfi_tensor tensor = {.name = "t", .dtype = KFI_DTYPE_F32, .n_elements = 3, .data = f32};
    CHECK_OK(kfi_tensor_decode(dst, &tensor, 0, 3, &err), &err);
    assert_true(dst[0] == 1.0F && dst[1] == -2.0F && dst[2] == INFINITY);
    const uint8_t f16[] = {0xFF, 0, 0x3C, 0x00, 0xC0, 0xFF, 0x7B}; /* odd address on purpose */
    tensor = (kfi_tensor){.name = "t", .dtype = KFI_DTYPE_F16, .n_elements = 3, .data = f16 + 1};
    CHECK_OK(kfi_tensor_decode(dst, &tensor, 1, 2, &err), &err);
    assert_true(dst[0] == -2.0F && dst[1] == 65504.0F);
    const uint8_t bf16[] = {0x80, 0x3F, 0x00, 0xC0, 0x49, 0x40};
    tensor = (kfi_tensor){.name = "t", .dtype = KFI_DTYPE_BF16, .n_elements = 3, .data = bf16};
    CHECK_OK(kfi_tensor_decode(dst, &tensor, 0, 3, &err), &err);
    assert_true(dst[0] == 1.0F && dst[1] == -2.0F && dst[2] == 3.140625F);
    const uint8_t f64[] = {0, 0, 0, 0, 0, 0, 0xF8, 0x3F};
    tensor = (kfi_tensor){.name = "t", .dtype = KFI_DTYPE_F64, .n_elements = 1, .data = f64};
    CHECK_OK(kfi_tensor_decode(dst, &tensor, 0, 1, &err), &err);
    assert_true(dst[0] == 1.5F);
}

static void refuses_ranges_outside_or_inside_a_block(void **state)
{
    (void)state;
    kf_error err = {0};
    float dst[64];
    const uint8_t data[68] = {0};
    const kfi_tensor tensor = {
        .name = "w", .dtype = KFI_DTYPE_Q8_0, .n_elements = 64, .data = data, .bytes = 68};
    CHECK_OK(kfi_tensor_decode(dst, &tensor, 32, 32, &err), &err);
    CHECK_OK(kfi_tensor_decode(dst, &tensor, 64, 0, &err), &err);
    assert_int_equal(kfi_tensor_decode(dst, &tensor, 64, 32, &err), KF_RANGE);
    assert_int_equal(kfi_tensor_decode(dst, &tensor, SIZE_MAX - 31, 64, &err), KF_RANGE);
    assert_int_equal(kfi_tensor_decode(dst, &tensor, 16, 32, &err), KF_RANGE);
    assert_int_equal(kfi_tensor_decode(dst, &tensor, 0, 16, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "tensor 'w'"));
}

static void refuses_types_that_are_no_weights(void **state)
{
    (void)state;
    kf_error err = {0};
    float dst[1];
    const uint8_t data[4] = {0};
    const kfi_tensor tensor = {.name = "w", .dtype = KFI_DTYPE_I32, .n_elements = 1, .data = data};
    assert_int_equal(kfi_tensor_decode(dst, &tensor, 0, 1, &err), KF_UNSUPPORTED);
    assert_string_equal(err.msg, "tensor 'w' is I32, which is not a type of weights");
}

static void finds_each_name_and_refuses_duplicates(void **state)
{
    (void)state;
    kf_error err = {0};
    char names[300][8];
    kfi_tensor tensors[300] = {{0}};
    for (size_t i = 0; i < 300; i++) {
        (void)snprintf(names[i], sizeof names[i], "t%zu", i);
        tensors[i].name = names[i];
    }
    kfi_arena arena;
    kfi_arena_init(&arena, NULL, (size_t)1 << 20);
    kfi_tensor_table table = {.tensors = tensors, .n = 300};
    assert_null(kfi_tensor_find(&table, "t1")); /* before the index is made */
    CHECK_OK(kfi_tensor_table_index(&table, &arena, &err), &err);
    for (size_t i = 0; i < 300; i++) {
        assert_ptr_equal(kfi_tensor_find(&table, names[i]), &tensors[i]);
    }
    assert_null(kfi_tensor_find(&table, "t300"));
    assert_null(kfi_tensor_find(&table, ""));
    (void)snprintf(names[299], sizeof names[299], "t7");
    assert_int_equal(kfi_tensor_table_index(&table, &arena, &err), KF_FORMAT);
    assert_string_equal(err.msg, "tensor 't7': its name occurs twice");
    kfi_arena_deinit(&arena);
}

static kfi_text number_name(const void *items, size_t i)
{
    return ((const kfi_text *)items)[i];
}

/* All names in one slot: what a file made to collide looks like. */
static void bounds_the_search_among_colliding_names(void **state)
{
    (void)state;
    enum {
        N = 600
    };
    static uint32_t slots[1024];
    static char storage[N][12];
    static kfi_text items[N];
    size_t n = 0;
    for (unsigned i = 0; n < N; i++) { /* names whose first slot is 0, found by trying */
        uint32_t one[1024] = {0};
        (void)snprintf(storage[n], sizeof storage[n], "%u", i);
        items[n] = (kfi_text){storage[n], strlen(storage[n])};
        kfi_names probe = {&items[n], number_name, one, 1024};
        assert_int_equal(kfi_names_add(&probe, 0), KFI_NAMES_ADDED);
        n += one[0] != 0;
    }
    kfi_names names = {items, number_name, slots, 1024};
    for (size_t i = 0; i < KFI_NAMES_MAX_PROBES; i++) {
        assert_int_equal(kfi_names_add(&names, i), KFI_NAMES_ADDED);
    }
    assert_int_equal(kfi_names_add(&names, KFI_NAMES_MAX_PROBES), KFI_NAMES_CROWDED);
    assert_int_equal(kfi_names_add(&names, 3), KFI_NAMES_DUPLICATE);
    assert_int_equal(kfi_names_find(&names, items[100]), 100);
}

static void shows_text_safely(void **state)
{
    (void)state;
    assert_string_equal(kfi_string_show("blk.0").text, "blk.0");
    assert_string_equal(kfi_text_show((kfi_text){"a\0\n\xFF", 4}).text, "a???");
    char text[101] = {0};
    memset(text, 'x', 100);
    assert_int_equal(strlen(kfi_string_show(text).text), 75);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_types_by_id_and_name),
        cmocka_unit_test(decodes_plain_floats),
        cmocka_unit_test(refuses_ranges_outside_or_inside_a_block),
        cmocka_unit_test(refuses_types_that_are_no_weights),
        cmocka_unit_test(finds_each_name_and_refuses_duplicates),
        cmocka_unit_test(bounds_the_search_among_colliding_names),
        cmocka_unit_test(shows_text_safely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
