/* Linear layers against double precision over what their codes say.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/alloc.h"
#include "format/format.h"
#include "kernels/kernels_list.h"
#include "model/forward.h"
#include "random_packed.h"

#define ROWS   37u
#define COLS   196u /* neither groups nor chunks divide it */
#define TOKENS 5u

/* A workspace for an input of COLS. */
static kfi_workspace *new_workspace(kf_pool *pool)
{
    kf_error err = {0};
    kfi_workspace *w = NULL;
    const kfi_config config = {.n_layers = 1,
                               .hidden = COLS,
                               .feed_forward = COLS,
                               .n_heads = 1,
                               .n_kv_heads = 1,
                               .head_dim = 16,
                               .vocabulary = ROWS};
    CHECK_OK(kfi_workspace_new(&w, &config, pool, TOKENS, NULL, &err), &err);
    return w;
}

/* The values that an activation format makes of one token's, by plain C. */
static void round_token(float *dst, const float *x, kf_activation activation)
{
    int8_t codes[COLS + KFI_CHUNK_COLS];
    float scales[COLS / KFI_CHUNK_COLS + 1];
    int32_t sums[COLS / KFI_CHUNK_COLS + 1];
    const size_t group =
        activation.group == KF_GROUP_ROW ? kfi_round_up(COLS, KFI_CHUNK_COLS) : activation.group;
    memcpy(dst, x, COLS * sizeof *x);
    if (activation.bits < 32) {
        kfi_quantize_generic(codes, scales, sums, x, COLS, group, kfi_activation_most(activation));
        for (size_t i = 0; i < COLS; i++) {
            dst[i] = scales[i / group] * (float)codes[i];
        }
    }
}

/* Adds the product of a decoded row with x to *sum, and of their magnitudes to *size. */
static void add_row(double *sum, double *size, const kfi_packed *w, size_t row, const float *x)
{
    float weights[COLS];
    kfi_packed_decode_row(weights, w, row, 0, w->cols);
    for (size_t k = 0; k < w->cols; k++) {
        *sum += (double)weights[k] * (double)x[k];
        *size += fabs((double)weights[k] * (double)x[k]);
    }
}

static kf_activation activation_of(const char *name)
{
    kf_error err = {0};
    kf_activation activation = {0};
    CHECK_OK(kf_activation_parse(&activation, name, &err), &err);
    return activation;
}

static void check_layer(kfi_workspace *w, const char *weights, const char *activation, kfi_rng *rng)
{
    random_packed m = random_packed_make(weights, ROWS, COLS, false, rng);
    const kfi_linear linear = {
        .rows = ROWS, .cols = COLS, .packed = m.packed, .activation = activation_of(activation)};
    float *x = random_floats(TOKENS * COLS, rng);
    float y[TOKENS * ROWS];
    kfi_linear_forward(w, &linear, y, x, TOKENS);
    for (size_t t = 0; t < TOKENS; t++) {
        float rounded[COLS];
        round_token(rounded, x + t * COLS, linear.activation);
        for (size_t r = 0; r < ROWS; r++) {
            double expected = 0.0;
            double size = 0.0;
            add_row(&expected, &size, &m.packed, r, rounded);
            if (!(fabs((double)y[t * ROWS + r] - expected) <= 1e-6 * size)) {
                fail_msg("%s %s: token %zu, row %zu is %g, expected %g", weights, activation, t, r,
                         (double)y[t * ROWS + r], expected);
            }
        }
    }
    kfi_free(NULL, x, TOKENS * COLS * sizeof *x);
    random_packed_free(&m);
}

static void computes_what_the_codes_of_both_sides_say(void **state)
{
    (void)state;
    static const char *const activations[] = {"int8tg64", "int4tg64",  "int4t", "int3tg32",
                                              "int3t",    "int5tg128", "float"};
    static const char *const weights[] = {"int4g64", "int4rowo", "int3g32a", "int2g64ar",
                                          "int4g64r"};
    kfi_workspace *w = new_workspace(NULL);
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (size_t a = 0; a < sizeof activations / sizeof activations[0]; a++) {
        for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
            check_layer(w, weights[i], activations[a], &rng);
        }
    }
    kfi_workspace_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computes_what_the_codes_of_both_sides_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
