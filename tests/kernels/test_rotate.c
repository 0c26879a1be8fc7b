/* Rotations in use (KERF_ISA) against plain C, bit for bit, and against double.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/rng.h"
#include "kernels/kernels_list.h"

#define MOST       4864u
#define ORDER_MOST 140u

static const struct shape {
    size_t m, block;
} shapes[] = {{1, 1},   {1, 64},   {1, 2048}, {4, 1},   {12, 1},   {12, 2},
              {12, 8},  {36, 16},  {20, 4},   {28, 32}, {12, 128}, {60, 2},
              {76, 64}, {140, 16}, {44, 64},  {8, 16},  {100, 1}};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])

static void draw_signs(int8_t *signs, size_t n, kfi_rng *rng)
{
    for (size_t i = 0; i < n; i++) {
        signs[i] = kfi_rng_below(rng, 2) == 0 ? 1 : -1;
    }
}

/* Element i of the result in double. A sum errs by as many roundings as it has stages, the two
 * scales and the products with them by two each. */
static void check_element(float found, const float *x, const kfi_rotation *r, size_t i)
{
    const size_t n = r->m * r->block;
    double exact = 0.0;
    double absolute = 0.0;
    for (size_t j = 0; j < n; j++) {
        const float h = r->matrix == NULL ? 1.0f : r->matrix[i / r->block * r->m + j / r->block];
        const bool odd = __builtin_parityll((i % r->block) & (j % r->block)) != 0;
        const double sign = (r->signs == NULL ? 1.0 : r->signs[j]) * (odd ? -1.0 : 1.0);
        exact += (double)h * sign * (double)x[j];
        absolute += fabs((double)x[j]);
    }
    const double scale = 1.0 / sqrt((double)n);
    const double roundings = log2((double)r->block) + (double)r->m + 4.0;
    exact *= scale * (r->undoing == NULL ? 1.0 : r->undoing[i]);
    if (!(fabs((double)found - exact) <= roundings * 0x1p-24 * absolute * scale)) {
        fail_msg("%zu x %zu, element %zu is %g, expected %g", r->m, r->block, i, (double)found,
                 exact);
    }
}

static void check_rotation(const kfi_rotation *r, kfi_rng *rng)
{
    static float before[MOST + 16], expected[MOST + 16], found[MOST + 16];
    const size_t n = r->m * r->block;
    for (size_t i = 0; i < n + 16; i++) {
        before[i] = kfi_rng_normal(rng) * (kfi_rng_below(rng, 50) == 0 ? 1000.0f : 1.0f);
    }
    memcpy(expected, before, sizeof before);
    memcpy(found, before, sizeof before);
    kfi_rotate_generic(expected, r);
    kfi_kernels_get()->rotate(found, r);
    assert_memory_equal(expected, found, (n + 16) * sizeof *found); /* and nothing behind */
    for (size_t i = 0; i < n; i += n < 100 ? 1 : 37) {
        check_element(found[i], before, r, i);
    }
}

static void rotates_as_plain_c_does(void **state)
{
    (void)state;
    static float matrix[ORDER_MOST * ORDER_MOST];
    static int8_t signs[2][MOST];
    kfi_rng rng;
    kfi_rng_init(&rng, 21);
    for (size_t i = 0; i < N_SHAPES; i++) {
        for (size_t k = 0; k < shapes[i].m * shapes[i].m; k++) {
            matrix[k] = kfi_rng_below(&rng, 2) == 0 ? 1.0f : -1.0f;
        }
        draw_signs(signs[0], MOST, &rng);
        draw_signs(signs[1], MOST, &rng);
        kfi_rotation r = {
            .m = shapes[i].m, .block = shapes[i].block, .matrix = shapes[i].m == 1 ? NULL : matrix};
        check_rotation(&r, &rng);
        r.signs = signs[0];
        check_rotation(&r, &rng);
        r.undoing = signs[1];
        check_rotation(&r, &rng);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotates_as_plain_c_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
