/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "fixtures.h"

static void aligns_to_a_cache_line(void **state)
{
    (void)state;
    for (size_t n = 0; n < 300; n += 7) {
        void *p = kfi_alloc(NULL, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % KFI_ALIGN, 0);
        kfi_free(NULL, p, n);
    }
}

static void blocks_to_stream_are_as_all_others(void **state)
{
    (void)state;
    fixture_allocator a;
    for (size_t n = 0; n < (size_t)8 << 20; n = 3 * n + 1) {
        unsigned char *p = kfi_alloc_streamed(NULL, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % KFI_ALIGN, 0);
        memset(p, 1, n);
        kfi_free(NULL, p, n);
        fixture_allocator_init(&a, 0);
        p = kfi_alloc_streamed(&a.allocator, n);
        assert_int_equal(a.n_calls, 1);
        kfi_free(&a.allocator, p, n);
        assert_true(fixture_allocator_is_clean(&a));
    }
    assert_null(kfi_alloc_streamed(NULL, SIZE_MAX));
}

static void refuses_a_product_that_overflows(void **state)
{
    (void)state;
    assert_null(kfi_calloc(NULL, SIZE_MAX / 2, 3));
    size_t r = 5;
    assert_false(kfi_mul_size(SIZE_MAX, 2, &r));
    assert_int_equal(r, 5);
}

static void joins_texts_into_blocks_of_their_size(void **state)
{
    (void)state;
    fixture_allocator a;
    fixture_allocator_init(&a, 0);
    char *copy = kfi_strndup(&a.allocator, "abcdef", 3);
    char *joined = kfi_concat(&a.allocator, "abcdef", 3, ".tmp");
    assert_string_equal(copy, "abc");
    assert_string_equal(joined, "abc.tmp");
    kfi_free_text(&a.allocator, copy);
    kfi_free_text(&a.allocator, joined);
    kfi_free_text(&a.allocator, NULL);
    assert_true(fixture_allocator_is_clean(&a)); /* it compares the sizes */
    assert_null(kfi_strndup(NULL, "", SIZE_MAX));
    assert_null(kfi_concat(NULL, "", SIZE_MAX - 1, "ab"));
}

static void arena_blocks_are_aligned_and_apart(void **state)
{
    (void)state;
    kfi_arena arena;
    kfi_arena_init(&arena, NULL, (size_t)1 << 20);
    unsigned char *last = NULL;
    for (size_t i = 1; i < 500; i++) {
        unsigned char *p = kfi_arena_alloc(&arena, 8, i % 50 + 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 8, 0);
        memset(p, (int)i, i % 50 + 1);
        if (last != NULL) {
            assert_int_equal(*last, (unsigned char)(i - 1));
        }
        last = p;
    }
    kfi_arena_deinit(&arena);
}

static void arena_holds_its_ceiling(void **state)
{
    (void)state;
    kfi_arena arena;
    kfi_arena_init(&arena, NULL, 10000);
    assert_null(kfi_arena_alloc(&arena, 1, 20000));
    assert_non_null(kfi_arena_alloc(&arena, 1, 5000));
    assert_null(kfi_arena_alloc(&arena, 1, 6000));
    kfi_arena_deinit(&arena);
}

static void buffer_stays_a_string_when_it_grows(void **state)
{
    (void)state;
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 10000);
    assert_true(kfi_buf_append_text(&buf, "abc"));
    for (size_t n = 1; n < 9000; n *= 2) {
        assert_true(kfi_buf_reserve(&buf, n));
        assert_string_equal(buf.data, "abc");
    }
    kfi_buf_deinit(&buf);
}

static void buffer_grows_up_to_its_ceiling(void **state)
{
    (void)state;
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, 1000);
    for (int i = 0; i < 100; i++) {
        assert_true(kfi_buf_printf(&buf, "%s", "0123456789"));
    }
    assert_int_equal(buf.n, 1000);
    assert_false(kfi_buf_append_byte(&buf, 'x'));
    assert_true(buf.failed);
    assert_int_equal(buf.n, 1000);
    assert_int_equal(strlen(buf.data), 1000);
    kfi_buf_deinit(&buf);
}

/* Also in the upper half of what its ceiling allows. */
static void buffer_grows_in_few_steps(void **state)
{
    (void)state;
    static const size_t ceilings[] = {100, 1000, 65536, 100000, 131071};
    for (size_t i = 0; i < sizeof ceilings / sizeof ceilings[0]; i++) {
        fixture_allocator a;
        kfi_buf buf;
        fixture_allocator_init(&a, 0);
        kfi_buf_init(&buf, &a.allocator, ceilings[i]);
        for (size_t n = 0; n < ceilings[i]; n++) {
            assert_true(kfi_buf_append_byte(&buf, 'x'));
        }
        assert_int_equal(strlen(buf.data), ceilings[i]);
        assert_true(buf.capacity <= ceilings[i] + 1);
        assert_true(a.n_calls <= 12); /* 64 * 2^11 = 131 072 */
        kfi_buf_deinit(&buf);
        assert_true(fixture_allocator_is_clean(&a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligns_to_a_cache_line),
        cmocka_unit_test(blocks_to_stream_are_as_all_others),
        cmocka_unit_test(refuses_a_product_that_overflows),
        cmocka_unit_test(joins_texts_into_blocks_of_their_size),
        cmocka_unit_test(arena_blocks_are_aligned_and_apart),
        cmocka_unit_test(arena_holds_its_ceiling),
        cmocka_unit_test(buffer_stays_a_string_when_it_grows),
        cmocka_unit_test(buffer_grows_up_to_its_ceiling),
        cmocka_unit_test(buffer_grows_in_few_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
