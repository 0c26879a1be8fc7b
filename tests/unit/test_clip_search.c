/* Clips of activations against trying all of them in double.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "format/format.h"
#include "quantize/clip_search.h"
#include "random_packed.h"

#define COLS 96u
#define ROWS 24u

static kf_activation activation_of(const char *name)
{
    kf_error err = {0};
    kf_activation activation = {0};
    CHECK_OK(kf_activation_parse(&activation, name, &err), &err);
    return activation;
}

static kfi_clip_sample sample_of(const float *x, size_t n)
{
    kf_error err = {0};
    kfi_clip_sample sample;
    CHECK_OK(kfi_clip_sample_init(&sample, n, COLS, NULL, &err), &err);
    for (size_t first = 0; first < n; first += 7) { /* as batches come */
        kfi_clip_sample_add(&sample, x + first * COLS, first, n - first < 7 ? n - first : 7);
    }
    return sample;
}

static void samples_tokens_at_even_distances(void **state)
{
    (void)state;
    static const struct {
        size_t n_tokens, stride;
    } cases[] = {{1, 1}, {100, 1}, {256, 1}, {257, 2}, {1000, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t n = cases[i].n_tokens;
        float *x = kfi_calloc(NULL, n * COLS, sizeof *x);
        for (size_t t = 0; t < n; t++) {
            x[t * COLS] = (float)t;
            x[t * COLS + COLS - 1] = -(float)t;
        }
        kfi_clip_sample sample = sample_of(x, n);
        assert_int_equal(sample.n, (n + cases[i].stride - 1) / cases[i].stride);
        assert_true(sample.n <= KFI_CLIP_TOKENS);
        for (size_t s = 0; s < sample.n; s++) {
            const float expected = (float)(s * cases[i].stride);
            assert_true(sample.x[s * COLS] == expected); /* exact: copied */
            assert_true(sample.x[s * COLS + COLS - 1] == -expected);
        }
        kfi_clip_sample_deinit(&sample);
        kfi_free(NULL, x, n * COLS * sizeof *x);
    }
}

/* The error of the outputs with a clip, in double: the squares, and those of the sums. */
static double error_of(const kfi_clip_job *job, uint8_t clip)
{
    double sum = 0.0;
    double sums[2][ROWS] = {0};
    kf_activation activation = job->activation;
    activation.clip = clip;
    for (size_t t = 0; t < job->sample->n; t++) {
        _Alignas(64) unsigned char scratch[2 * COLS];
        float rounded[COLS];
        const float *x = job->sample->x + t * COLS;
        kfi_activation_round(kfi_kernels_get(), rounded, x, COLS, activation, scratch);
        for (size_t i = 0; i < job->n_linears; i++) {
            for (size_t r = 0; r < job->linears[i]->rows; r++) {
                double y = 0.0;
                for (size_t k = 0; k < COLS; k++) {
                    const float e = x[k] - rounded[k];
                    y += (double)job->linears[i]->weights[r * COLS + k] * (double)e;
                }
                sum += y * y;
                sums[i][r] += y;
            }
        }
    }
    for (size_t i = 0; i < 2 * ROWS; i++) {
        const double total = sums[i / ROWS][i % ROWS];
        sum += (double)(job->n_blocks - 1) * total * total / (double)job->sample->n;
    }
    return sum;
}

static void finds_the_clip_with_the_least_error_of_all_outputs(void **state)
{
    (void)state;
    static const char *const formats[] = {"int3t", "int4tg32", "int4ta", "int3tg32a", "int8t"};
    kf_error err = {0};
    kf_pool *pool = NULL;
    kfi_rng rng;
    bool found[100] = {false};
    CHECK_OK(kf_pool_new(&pool, 2, NULL, &err), &err);
    kfi_rng_init(&rng, 1);
    for (size_t i = 0; i < 4 * sizeof formats / sizeof formats[0]; i++) {
        float *x = random_floats(300 * COLS, &rng);
        float *weights = random_floats(2 * ROWS * COLS, &rng);
        for (size_t t = 0; t < 300; t++) {
            x[t * COLS + 5] *= i % 2 == 0 ? 6.0f : 1.0f; /* an outlier, or none */
        }
        kfi_clip_sample sample = sample_of(x, 300);
        const kfi_linear first = {.rows = ROWS, .cols = COLS, .weights = weights};
        const kfi_linear second = {
            .rows = ROWS / 2, .cols = COLS, .weights = weights + ROWS * COLS};
        const kfi_clip_job job = {.sample = &sample,
                                  .linears = {&first, &second},
                                  .n_linears = 2,
                                  .activation = activation_of(formats[i / 4]),
                                  .n_blocks = i % 4 < 2 ? 1 : 30,
                                  .pool = pool};
        uint8_t clip = 1;
        CHECK_OK(kfi_clip_search(&clip, &job, &err), &err);
        assert_true(clip == 0 || (clip >= KF_CLIP_LEAST && clip < 100 && clip % 5 == 0));
        const double least = error_of(&job, clip);
        for (unsigned percent = 100; percent >= KF_CLIP_LEAST; percent -= 5) {
            assert_true(least <= error_of(&job, percent == 100 ? 0 : (uint8_t)percent) * 1.00001);
        }
        found[clip] = true;
        kfi_clip_sample_deinit(&sample);
        kfi_free(NULL, x, 300 * COLS * sizeof *x);
        kfi_free(NULL, weights, 2 * ROWS * COLS * sizeof *weights);
    }
    kf_pool_free(pool);
    size_t n_found = 0;
    for (size_t i = 0; i < 100; i++) {
        n_found += found[i];
    }
    assert_true(found[0] && n_found > 3);
}

/* A channel that is large in every token: cutting it errs to one side, which counts as often as
 * there are blocks to add it up. */
static void many_blocks_do_not_cut_what_is_large_in_every_token(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    float *x = random_floats(256 * COLS, &rng);
    float *weights = random_floats(ROWS * COLS, &rng);
    for (size_t t = 0; t < 256; t++) {
        x[t * COLS + 7] = 4.0f;
    }
    kfi_clip_sample sample = sample_of(x, 256);
    const kfi_linear linear = {.rows = ROWS, .cols = COLS, .weights = weights};
    kfi_clip_job job = {.sample = &sample,
                        .linears = {&linear},
                        .n_linears = 1,
                        .activation = activation_of("int3t"),
                        .n_blocks = 1};
    uint8_t clip[2] = {0, 1};
    CHECK_OK(kfi_clip_search(&clip[0], &job, &err), &err);
    job.n_blocks = 100;
    CHECK_OK(kfi_clip_search(&clip[1], &job, &err), &err);
    assert_true(clip[0] != 0);
    assert_true(clip[1] == 0 || clip[1] > clip[0]);
    kfi_clip_sample_deinit(&sample);
    kfi_free(NULL, x, 256 * COLS * sizeof *x);
    kfi_free(NULL, weights, ROWS * COLS * sizeof *weights);
}

static void without_tokens_nothing_is_clipped(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_clip_sample sample = sample_of(NULL, 0);
    float weights[ROWS * COLS] = {0};
    const kfi_linear linear = {.rows = ROWS, .cols = COLS, .weights = weights};
    const kfi_clip_job job = {.sample = &sample,
                              .linears = {&linear},
                              .n_linears = 1,
                              .activation = activation_of("int4t"),
                              .n_blocks = 1};
    uint8_t clip = 50;
    CHECK_OK(kfi_clip_search(&clip, &job, &err), &err);
    assert_int_equal(clip, 0);
    kfi_clip_sample_deinit(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_tokens_at_even_distances),
        cmocka_unit_test(finds_the_clip_with_the_least_error_of_all_outputs),
        cmocka_unit_test(many_blocks_do_not_cut_what_is_large_in_every_token),
        cmocka_unit_test(without_tokens_nothing_is_clipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
