/* block_fixture.c - a small block with random weights, for transforms.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "block_fixture.h"

#include <math.h>

#include "base/rng.h"
#include "check.h"
#include "fixtures.h"
#include "quantize/pipeline.h"

const size_t block_rows[KFI_LINEAR_COUNT] = {8, 4, 4, 8, BLOCK_FORWARD, BLOCK_FORWARD, 8};

void small_block_init(small_block *b, uint64_t seed)
{
    kfi_rng rng;
    kf_error err = {0};
    kfi_rng_init(&rng, seed);
    *b = (small_block){.block = {.attention_norm = b->norms[0], .mlp_norm = b->norms[1]}};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        kfi_linear *linear = &b->block.linears[role];
        linear->rows = block_rows[role];
        linear->cols = role == KFI_LINEAR_DOWN ? BLOCK_FORWARD : BLOCK_HIDDEN;
        linear->weights = b->weights[role];
        for (size_t i = 0; i < linear->rows * linear->cols; i++) {
            b->weights[role][i] = kfi_rng_normal(&rng);
        }
    }
    for (size_t i = 0; i < BLOCK_HIDDEN; i++) {
        b->norms[0][i] = b->norms[1][i] = 1.0f;
    }
    CHECK_OK(kfi_float_block_init(&b->floats, &b->block, BLOCK_HIDDEN, NULL, &err), &err);
}

void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-5 * fabs(expected))) {
        fail_msg("%.9g, expected %.9g", value, expected);
    }
}

void random_statistics(kfi_statistics *s, size_t n, uint64_t seed)
{
    kf_error err = {0};
    kfi_rng rng;
    const kfi_statistics_request request = {.needs = KFI_NEED_GRAM | KFI_NEED_MEAN_ABS |
                                                     KFI_NEED_MAX_ABS};
    kfi_rng_init(&rng, seed);
    CHECK_OK(kfi_statistics_init(s, n, &request, NULL, &err), &err);
    for (size_t t = 0; t < 100; t++) {
        float x[BLOCK_HIDDEN] = {0};
        for (size_t c = 0; c < n; c++) {
            x[c] = kfi_rng_normal(&rng) * (c == 3 ? 30.0f : 1.0f);
        }
        kfi_statistics_add(s, NULL, x, 1);
    }
    kfi_statistics_finish(s, NULL);
}
