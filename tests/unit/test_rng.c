/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/rng.h"

/* The reference implementation of the authors with state {1, 2, 3, 4}. */
static void follows_the_reference_sequence(void **state)
{
    (void)state;
    static const uint64_t expected[] = {
        11520u,
        0u,
        1509978240u,
        1215971899390074240u,
        1216172134540287360u,
        607988272756665600u,
        16172922978634559625u,
        8476171486693032832u,
        10595114339597558777u,
        2904607092377533576u,
    };
    kfi_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_true(kfi_rng_next(&rng) == expected[i]);
    }
}

/* The published outputs of splitmix64 from 0. */
static void seeds_through_splitmix64(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 0);
    assert_true(rng.state[0] == 0xE220A8397B1DCDAFu);
    assert_true(rng.state[1] == 0x6E789E6AA1B965F4u);
    assert_true(rng.state[2] == 0x06C45D188009454Fu);
    assert_true(rng.state[3] == 0xF88BB8A8724C81ECu);
}

static void draws_below_a_bound_evenly(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 7);
    size_t counts[6] = {0};
    for (int i = 0; i < 60000; i++) {
        const uint64_t value = kfi_rng_below(&rng, 6);
        assert_true(value < 6);
        counts[value]++;
    }
    for (int i = 0; i < 6; i++) { /* five standard deviations are 456 */
        assert_in_range(counts[i], 10000 - 456, 10000 + 456);
    }
    assert_true(kfi_rng_below(&rng, 1) == 0);
    /* Almost half of all draws must be drawn again for this bound. */
    const uint64_t bound = ((uint64_t)1 << 63) + 1;
    for (int i = 0; i < 1000; i++) {
        assert_true(kfi_rng_below(&rng, bound) < bound);
    }
}

static void uniform_stays_below_one(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        const float u = kfi_rng_uniform(&rng);
        assert_true(u >= 0.0f && u < 1.0f);
        sum += (double)u;
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.005);
}

static void normal_has_mean_zero_and_variance_one(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    double sum = 0;
    double squares = 0;
    for (int i = 0; i < 100000; i++) {
        const double x = (double)kfi_rng_normal(&rng);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / 100000) < 0.016);
    assert_true(fabs(squares / 100000 - 1.0) < 0.023);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_reference_sequence),
        cmocka_unit_test(seeds_through_splitmix64),
        cmocka_unit_test(draws_below_a_bound_evenly),
        cmocka_unit_test(uniform_stays_below_one),
        cmocka_unit_test(normal_has_mean_zero_and_variance_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
