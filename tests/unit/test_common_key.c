/* The score of what all keys share, against RoPE itself.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/common_key.h"
#include "model/rope.h"

#define CONTEXT 700u
#define EXACT   11u /* tokens in front of those in codes */

/* x = R(position) x in double. */
static void turn(double *x, const kfi_config *config, size_t position)
{
    const size_t half = config->head_dim / 2;
    for (size_t j = 0; j < half; j++) {
        const double angle = (double)position * kfi_rope_frequency(config, j);
        const double a = x[j];
        const double b = x[half + j];
        x[j] = a * cos(angle) - b * sin(angle);
        x[half + j] = b * cos(angle) + a * sin(angle);
    }
}

/* q R(EXACT + i) c, and what bounds its error. */
static double exact_score(double *size, const kfi_config *config, const float *q, const float *c,
                          size_t i)
{
    double key[128];
    double score = 0.0;
    *size = 0.0;
    for (size_t d = 0; d < config->head_dim; d++) {
        key[d] = (double)c[d];
    }
    turn(key, config, EXACT + i);
    for (size_t d = 0; d < config->head_dim; d++) {
        score += (double)q[d] * key[d];
        *size += fabs((double)q[d] * key[d]);
    }
    return score;
}

/* The same by the tables, as kernels do it. */
static double table_score(const kfi_config *config, const float *turns, const float *weights,
                          size_t i)
{
    const size_t dim = config->head_dim;
    const size_t half = dim / 2;
    const float *chunk = turns + i / 256 * dim;
    const float *panel = turns + kfi_common_chunk_floats(dim, CONTEXT) + i % 256 / 16 * 16 * dim;
    double score = 0.0;
    for (size_t j = 0; j < half; j++) {
        const float u = weights[j] * chunk[j] - weights[half + j] * chunk[half + j];
        const float w = weights[half + j] * chunk[j] + weights[j] * chunk[half + j];
        score += (double)u * (double)panel[j * 16 + i % 16];
        score += (double)w * (double)panel[(half + j) * 16 + i % 16];
    }
    return score;
}

static void fill_random(float *x, size_t n, kfi_rng *rng)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = 10.0f * kfi_rng_normal(rng);
    }
}

static void check_scores(const kfi_config *config, kfi_rng *rng)
{
    const size_t dim = config->head_dim;
    const size_t n = kfi_common_chunk_floats(dim, CONTEXT) + kfi_common_token_floats(dim);
    float *turns = kfi_calloc(NULL, n, sizeof *turns);
    float q[2 * 128];
    float c[128];
    float turned[128];
    float weights[2 * 128];
    double in_double[128];
    assert_non_null(turns);
    fill_random(q, 2 * dim, rng);
    fill_random(c, dim, rng);
    for (size_t d = 0; d < dim; d++) {
        in_double[d] = (double)c[d];
    }
    turn(in_double, config, EXACT);
    for (size_t d = 0; d < dim; d++) {
        turned[d] = (float)in_double[d];
    }
    kfi_common_fill(turns, config, CONTEXT);
    kfi_common_weigh(weights, q, 2, turned, dim);
    for (size_t i = 0; i < 2 * (CONTEXT - EXACT); i++) {
        double size = 0.0;
        const size_t query = i % 2 * dim;
        const double exact = exact_score(&size, config, q + query, c, i / 2);
        const double found = table_score(config, turns, weights + query, i / 2);
        if (!(fabs(found - exact) <= 1e-6 * (size + fabs(exact)))) {
            fail_msg("token %zu: %.9g, expected %.9g", i / 2, found, exact);
        }
    }
    kfi_free(NULL, turns, n * sizeof *turns);
}

static kfi_config config_of(size_t head_dim, kfi_rope_scaling scaling)
{
    return (kfi_config){.head_dim = head_dim,
                        .rope_theta = 10000.0f,
                        .rope_scaling = scaling,
                        .rope_factor = 8.0f,
                        .rope_low_frequency = 1.0f,
                        .rope_high_frequency = 4.0f,
                        .rope_original_context = 512};
}

static void is_the_product_with_a_turned_key(void **state)
{
    (void)state;
    static const size_t head_dims[] = {2, 6, 64, 80, 128};
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++) {
        for (unsigned scaling = KFI_ROPE_NONE; scaling <= KFI_ROPE_LLAMA3; scaling++) {
            const kfi_config config = config_of(head_dims[i], (kfi_rope_scaling)scaling);
            check_scores(&config, &rng);
        }
    }
}

static void turning_back_undoes_rope(void **state)
{
    (void)state;
    enum {
        dim = 64
    };
    const kfi_config config = config_of(dim, KFI_ROPE_LLAMA3);
    double frequencies[dim / 2];
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (size_t j = 0; j < dim / 2; j++) {
        frequencies[j] = kfi_rope_frequency(&config, j);
    }
    for (size_t position = 0; position < 5000; position += 499) {
        float x[dim];
        float key[dim];
        double turned[dim];
        fill_random(x, dim, &rng);
        for (size_t d = 0; d < dim; d++) {
            turned[d] = (double)x[d];
        }
        turn(turned, &config, position);
        for (size_t d = 0; d < dim; d++) {
            key[d] = (float)turned[d];
        }
        kfi_common_turn_back(key, frequencies, dim, position);
        for (size_t d = 0; d < dim; d++) {
            assert_true(fabsf(key[d] - x[d]) <= 1e-5f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_product_with_a_turned_key),
        cmocka_unit_test(turning_back_undoes_rope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
