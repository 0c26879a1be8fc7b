/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "fixtures.h"
#include "quantize/concentration.h"
#include "quantize_fixture.h"

enum {
    HEADS = 4,
    KV_HEADS = 2,
    DIM = 16,
    PREFIX = 3,
    LENGTH = 70,
    POSITIONS = PREFIX + LENGTH
};

/* Queries and keys of one window. */
typedef struct window {
    kfi_kv kv;
    void *memory;
    float q[LENGTH * HEADS * DIM];
    float k[POSITIONS * KV_HEADS * DIM];
} window;

static window *window_new(uint64_t seed)
{
    kfi_rng rng;
    window *w = calloc(1, sizeof *w);
    w->kv = (kfi_kv){.capacity = 80, .n_kv_heads = KV_HEADS, .head_dim = DIM};
    w->memory = aligned_alloc(64, kfi_kv_layer_bytes(&w->kv));
    kfi_kv_lay_out(&w->kv, w->memory);
    kfi_rng_init(&rng, seed);
    for (size_t i = 0; i < sizeof w->q / sizeof *w->q; i++) {
        w->q[i] = kfi_rng_normal(&rng);
    }
    for (size_t i = 0; i < sizeof w->k / sizeof *w->k; i++) {
        w->k[i] = kfi_rng_normal(&rng);
    }
    for (size_t t = 0; t < POSITIONS; t++) {
        const float *key = w->k + t * KV_HEADS * DIM;
        kfi_kv_put(&w->kv, t, key, key); /* values are not looked at */
    }
    return w;
}

static void window_free(window *w)
{
    free(w->memory);
    free(w);
}

/* What a head's queries give each position, in double. */
static void give_directly(double *mass, const window *w, size_t head)
{
    for (size_t t = 0; t < LENGTH; t++) {
        double weights[POSITIONS];
        double sum = 0.0;
        for (size_t p = 0; p <= PREFIX + t; p++) {
            double score = 0.0;
            for (size_t d = 0; d < DIM; d++) {
                score += (double)w->q[(t * HEADS + head) * DIM + d] *
                         (double)w->k[(p * KV_HEADS + head / (HEADS / KV_HEADS)) * DIM + d];
            }
            weights[p] = exp(score / sqrt(DIM));
            sum += weights[p];
        }
        for (size_t p = 0; p <= PREFIX + t; p++) {
            mass[p] += weights[p] / sum;
        }
    }
}

/* Two windows, the first of which is the one of `w`, in batches of 23 tokens. */
static void concentrate(kfi_concentration *c, const window *w, kf_pool *pool)
{
    kf_error err = {0};
    CHECK_OK(kfi_concentration_init(c, HEADS, &w->kv, pool, 2, LENGTH, NULL, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        for (size_t t = 0; t < LENGTH; t += 23) {
            const size_t n = LENGTH - t < 23 ? LENGTH - t : 23;
            kfi_concentration_add(c, pool, &w->kv, w->q + t * HEADS * DIM, PREFIX + t, n);
        }
        kfi_concentration_end(c, i, PREFIX);
    }
}

static void parts_are_column_sums_of_attention_scaled_to_one(void **state)
{
    (void)state;
    double mass[POSITIONS] = {0};
    double low = (double)INFINITY;
    double high = 0.0;
    kfi_concentration c;
    window *w = window_new(1);
    concentrate(&c, w, NULL);
    for (size_t h = 0; h < HEADS; h++) {
        give_directly(mass, w, h);
    }
    for (size_t t = PREFIX; t < POSITIONS; t++) {
        low = fmin(low, mass[t]);
        high = fmax(high, mass[t]);
    }
    for (size_t t = 0; t < LENGTH; t++) {
        const double part = (mass[PREFIX + t] - low) / (high - low);
        assert_true(fabs((double)c.parts[t] - part) < 1e-5);
        assert_true(c.parts[LENGTH + t] == c.parts[t]); /* the second window begins anew */
    }
    kfi_concentration_deinit(&c);
    window_free(w);
}

static void weights_have_a_mean_of_one_and_reach_down_to_the_least(void **state)
{
    (void)state;
    static const double leasts[] = {0.005, 0.1, 1.0};
    kfi_concentration c;
    window *w = window_new(2);
    concentrate(&c, w, NULL);
    for (size_t i = 0; i < sizeof leasts / sizeof leasts[0]; i++) {
        float weights[LENGTH];
        float low = INFINITY;
        float high = 0.0f;
        double sum = 0.0;
        kfi_concentration_weights(weights, &c, LENGTH, LENGTH, leasts[i]);
        for (size_t t = 0; t < LENGTH; t++) {
            low = fminf(low, weights[t]);
            high = fmaxf(high, weights[t]);
            sum += (double)weights[t];
        }
        assert_true(fabs(sum / LENGTH - 1.0) < 1e-6);
        assert_true(fabs((double)low / (double)high - leasts[i]) < 1e-6);
    }
    kfi_concentration_deinit(&c);
    window_free(w);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_pool *pool = NULL;
    kfi_concentration one;
    kfi_concentration three;
    window *w = window_new(3);
    CHECK_OK(kf_pool_new(&pool, 3, NULL, &err), &err);
    concentrate(&one, w, NULL);
    concentrate(&three, w, pool);
    assert_memory_equal(one.parts, three.parts, 2 * LENGTH * sizeof *one.parts);
    kfi_concentration_deinit(&one);
    kfi_concentration_deinit(&three);
    window_free(w);
    kf_pool_free(pool);
}

static void without_memory_nothing_leaks(void **state)
{
    (void)state;
    window *w = window_new(4);
    kf_status st = KF_NOMEM;
    for (size_t fail_at = 1; st != KF_OK; fail_at++) {
        fixture_allocator a;
        kf_error err = {0};
        kfi_concentration c;
        fixture_allocator_init(&a, fail_at);
        st = kfi_concentration_init(&c, HEADS, &w->kv, NULL, 2, LENGTH, &a.allocator, &err);
        kfi_concentration_deinit(&c);
        assert_true(st == KF_OK || st == KF_NOMEM);
        assert_true(fixture_allocator_is_clean(&a));
    }
    window_free(w);
}

/* ---- RSQ, which counts tokens by it ---- */

/* The sum over layers of the errors of their weights. */
static void add_error(void *ctx, const kf_layer_report *report)
{
    *(double *)ctx += report->weight_error;
}

static double error_of(const char *architecture, const char *recipe, const char *assignment)
{
    double sum = 0.0;
    quantize_fixture *f = quantize_fixture_new(architecture, recipe, 2);
    quantize_fixture_set(f, "prefix=start");
    quantize_fixture_set(f, assignment);
    f->options.layer = add_error;
    f->options.ctx = &sum;
    quantize_fixture_run(f, "out", NULL);
    quantize_fixture_free(f);
    return sum;
}

static void rsq_on_tokens_that_count_alike_is_gptq(void **state)
{
    (void)state;
    static const char *const architectures[] = {"llama", "qwen2"};
    for (size_t i = 0; i < 2; i++) {
        const double gptq = error_of(architectures[i], "gptq-w3", "gptq.damping=0.01");
        assert_true(gptq > 0.0);
        assert_true(error_of(architectures[i], "rsq-w3", "rsq.least=1") == gptq);
        assert_true(error_of(architectures[i], "rsq-w3", "rsq.least=0.005") != gptq);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_column_sums_of_attention_scaled_to_one),
        cmocka_unit_test(weights_have_a_mean_of_one_and_reach_down_to_the_least),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(without_memory_nothing_leaks),
        cmocka_unit_test(rsq_on_tokens_that_count_alike_is_gptq),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
