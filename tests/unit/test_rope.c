/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "model/rope.h"
#include "oracle_forward.h"

static kfi_config config_with(kfi_rope_scaling scaling)
{
    kfi_config c = tiny_options_of("llama").config;
    c.head_dim = 128;
    c.rope_theta = 500000.0f;
    c.rope_scaling = scaling;
    c.rope_factor = 8.0f;
    c.rope_low_frequency = 1.0f;
    c.rope_high_frequency = 4.0f;
    c.rope_original_context = 8192;
    return c;
}

static void every_scaling_agrees_with_the_published_formula(void **state)
{
    (void)state;
    for (int scaling = KFI_ROPE_NONE; scaling <= KFI_ROPE_LLAMA3; scaling++) {
        const kfi_config c = config_with((kfi_rope_scaling)scaling);
        for (size_t i = 0; i < 64; i++) {
            const double expected = oracle_rope_frequency(&c, i);
            assert_true(fabs(kfi_rope_frequency(&c, i) - expected) <= 1e-14 * expected);
        }
    }
}

static void llama3_keeps_short_waves_and_stretches_long_ones(void **state)
{
    (void)state;
    const kfi_config plain = config_with(KFI_ROPE_NONE);
    const kfi_config scaled = config_with(KFI_ROPE_LLAMA3);
    assert_true(kfi_rope_frequency(&scaled, 0) == 1.0);
    assert_true(kfi_rope_frequency(&scaled, 20) == kfi_rope_frequency(&plain, 20));
    const double longest = kfi_rope_frequency(&plain, 63);
    assert_true(fabs(kfi_rope_frequency(&scaled, 63) * 8.0 - longest) < 1e-15);
    const double ratio = kfi_rope_frequency(&plain, 31) / kfi_rope_frequency(&scaled, 31);
    assert_true(ratio > 1.0 && ratio < 8.0);
}

/* In float the angle of position 100000 would be off by up to 0.004. */
static void angles_stay_exact_far_into_the_context(void **state)
{
    (void)state;
    const double frequencies[2] = {1.0, 0.123456789};
    float cosine[2];
    float sine[2];
    static const size_t positions[] = {0, 1, 2047, 100000, 33554432};
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        kfi_rope_angles(cosine, sine, frequencies, 2, positions[i]);
        for (size_t j = 0; j < 2; j++) {
            const double angle = (double)positions[i] * frequencies[j];
            assert_true(fabs((double)cosine[j] - cos(angle)) < 6e-8);
            assert_true(fabs((double)sine[j] - sin(angle)) < 6e-8);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scaling_agrees_with_the_published_formula),
        cmocka_unit_test(llama3_keeps_short_waves_and_stretches_long_ones),
        cmocka_unit_test(angles_stay_exact_far_into_the_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
