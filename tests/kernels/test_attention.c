/* Attention in use (KERF_ISA) against plain C, bit for bit, and against a softmax in double.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "kernels/kernels_list.h"
#include "random_packed.h"

/* A cache with random keys and values, and queries for tokens first … first + n_tokens - 1. */
typedef struct attention_case {
    kfi_attention_args args;
    size_t n_keys, capacity, n_q;
    float *q, *keys, *values, *expected, *actual, *plain_keys;
    void *scratch;
    size_t scratch_bytes;
} attention_case;

#define GUARD_BYTES 64

static attention_case case_make(size_t n_heads, size_t head_dim, size_t first, size_t n_tokens,
                                float spread, kfi_rng *rng)
{
    attention_case c = {.n_keys = first + n_tokens};
    const size_t ld = n_heads * head_dim + 3; /* rows need not be dense */
    c.capacity = (c.n_keys + 15) / 16 * 16;
    c.n_q = n_tokens * ld;
    c.q = random_floats(c.n_q, rng);
    c.keys = random_floats(c.capacity * head_dim, rng);
    c.values = random_floats(c.capacity * head_dim, rng);
    c.plain_keys = random_floats(c.n_keys * head_dim, rng);
    c.expected = kfi_calloc(NULL, c.n_q, sizeof(float));
    c.actual = kfi_calloc(NULL, c.n_q, sizeof(float));
    float *value = random_floats(head_dim, rng);
    for (size_t i = 0; i < c.capacity * head_dim; i++) { /* what is not stored must not matter */
        c.keys[i] = NAN;
        c.values[i] = NAN;
    }
    for (size_t i = 0; i < c.n_keys; i++) {
        for (size_t d = 0; d < head_dim; d++) {
            c.plain_keys[i * head_dim + d] *= spread;
            value[d] = kfi_rng_normal(rng);
        }
        kfi_kv_store(c.keys, c.values, i, c.plain_keys + i * head_dim, value, head_dim);
    }
    kfi_free(NULL, value, head_dim * sizeof *value);
    c.scratch_bytes = kfi_attention_scratch_bytes(head_dim);
    c.scratch = kfi_alloc(NULL, c.scratch_bytes + GUARD_BYTES);
    memset(c.scratch, 0xC3, c.scratch_bytes + GUARD_BYTES);
    c.args = (kfi_attention_args){.dst = c.expected,
                                  .ld_dst = ld,
                                  .q = c.q,
                                  .ld_q = ld,
                                  .n_tokens = n_tokens,
                                  .n_heads = n_heads,
                                  .head_dim = head_dim,
                                  .first = first,
                                  .n_keys = c.n_keys,
                                  .keys = c.keys,
                                  .values = c.values,
                                  .scale = 1.0f / sqrtf((float)head_dim),
                                  .scratch = c.scratch};
    return c;
}

static void case_free(attention_case *c)
{
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(((uint8_t *)c->scratch)[c->scratch_bytes + i], 0xC3);
    }
    kfi_free(NULL, c->scratch, c->scratch_bytes + GUARD_BYTES);
    kfi_free(NULL, c->q, c->n_q * sizeof(float));
    kfi_free(NULL, c->expected, c->n_q * sizeof(float));
    kfi_free(NULL, c->actual, c->n_q * sizeof(float));
    kfi_free(NULL, c->keys, c->capacity * c->args.head_dim * sizeof(float));
    kfi_free(NULL, c->values, c->capacity * c->args.head_dim * sizeof(float));
    kfi_free(NULL, c->plain_keys, c->n_keys * c->args.head_dim * sizeof(float));
}

/* One result in double. The float scores err by gamma_d |q||k| scale, which the exponential turns
 * into that relative error of each weight; the rest are sums over the keys. */
static void check_exact(const attention_case *c, size_t token, size_t head)
{
    const size_t dim = c->args.head_dim;
    const size_t n = c->args.first + token + 1;
    const float *q = c->q + token * c->args.ld_q + head * dim;
    const float *y = c->actual + token * c->args.ld_dst + head * dim;
    double *p = kfi_calloc(NULL, n, sizeof *p);
    double max = -INFINITY;
    double magnitude = 0.0;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        double absolute = 0.0;
        for (size_t d = 0; d < dim; d++) {
            const double term = (double)q[d] * (double)c->plain_keys[i * dim + d];
            p[i] += term * (double)c->args.scale;
            absolute += fabs(term) * (double)c->args.scale;
        }
        max = fmax(max, p[i]);
        magnitude = fmax(magnitude, absolute);
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = exp(p[i] - max);
        sum += p[i];
    }
    const double bound =
        2.0 * ((double)dim + 3.0) * 0x1p-24 * magnitude + ((double)n + 20.0) * 0x1p-23;
    for (size_t d = 0; d < dim; d++) {
        double exact = 0.0;
        double absolute = 0.0;
        for (size_t i = 0; i < n; i++) {
            exact += p[i] / sum * (double)c->values[i * dim + d];
            absolute += p[i] / sum * fabs((double)c->values[i * dim + d]);
        }
        assert_true(fabs((double)y[d] - exact) <= bound * absolute);
    }
    kfi_free(NULL, p, n * sizeof *p);
}

static void check_case(size_t n_heads, size_t head_dim, size_t first, size_t n_tokens, float spread,
                       kfi_rng *rng)
{
    attention_case c = case_make(n_heads, head_dim, first, n_tokens, spread, rng);
    kfi_attention_generic(&c.args);
    c.args.dst = c.actual;
    kfi_kernels_get()->attention(&c.args);
    for (size_t i = 0; i < c.n_q; i++) {
        if (memcmp(&c.expected[i], &c.actual[i], sizeof(float)) != 0) {
            fail_msg("%zu heads of %zu, first %zu, %zu tokens: element %zu is %a, plain C has %a",
                     n_heads, head_dim, first, n_tokens, i, (double)c.actual[i],
                     (double)c.expected[i]);
        }
    }
    check_exact(&c, 0, 0);
    check_exact(&c, n_tokens - 1, n_heads - 1);
    case_free(&c);
}

static void attends_as_plain_c_does(void **state)
{
    (void)state;
    static const size_t head_dims[] = {2, 6, 8, 16, 24, 32, 48, 64, 80, 96, 128, 130};
    static const size_t firsts[] = {0, 1, 14, 15, 16, 100, 254, 255, 256, 300, 511, 600};
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (size_t i = 0; i < 12; i++) {
        for (size_t k = 0; k < 12; k++) {
            const size_t n_heads = 1 + kfi_rng_below(&rng, 8);
            const size_t n_tokens = 1 + kfi_rng_below(&rng, k % 3 == 0 ? 40 : 4);
            const float spread = k % 4 == 0 ? 20.0f : 1.0f; /* 20: one key takes nearly all */
            check_case(n_heads, head_dims[i], firsts[k], n_tokens, spread, &rng);
        }
    }
}

static void gives_the_same_for_every_tile(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (size_t split = 1; split < 20; split += 3) {
        attention_case c = case_make(3, 64, 250, 20, 1.0f, &rng);
        kfi_kernels_get()->attention(&c.args);
        kfi_attention_args part = c.args;
        part.dst = c.actual;
        part.n_tokens = split;
        kfi_kernels_get()->attention(&part);
        part.dst = c.actual + split * c.args.ld_dst;
        part.q = c.q + split * c.args.ld_q;
        part.first = c.args.first + split;
        part.n_tokens = 20 - split;
        kfi_kernels_get()->attention(&part);
        assert_memory_equal(c.expected, c.actual, c.n_q * sizeof(float));
        case_free(&c);
    }
}

/* The keys from chunk i on, most n_chunks of them. */
static kfi_attention_args chunks_of(const attention_case *c, size_t i, size_t n_chunks)
{
    kfi_attention_args part = c->args;
    const size_t skipped = i * KFI_ATTENTION_CHUNK;
    part.keys += skipped * part.head_dim;
    part.values += skipped * part.head_dim;
    part.first -= skipped;
    part.n_keys -= skipped;
    if (part.n_keys > n_chunks * KFI_ATTENTION_CHUNK) {
        part.n_keys = n_chunks * KFI_ATTENTION_CHUNK;
    }
    return part;
}

/* One token whose chunks are gathered alone and merged. */
static void gives_the_same_when_chunks_are_merged(void **state)
{
    (void)state;
    static const size_t firsts[] = {0, 254, 255, 256, 511, 512, 700};
    enum {
        n_heads = 7,
        head_dim = 24,
        most = 3
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (size_t k = 0; k < sizeof firsts / sizeof firsts[0]; k++) {
        attention_case c = case_make(n_heads, head_dim, firsts[k], 1, 3.0f, &rng);
        float results[most][n_heads][head_dim];
        kfi_attention_state states[most][n_heads];
        const size_t n_chunks = (c.n_keys + KFI_ATTENTION_CHUNK - 1) / KFI_ATTENTION_CHUNK;
        kfi_kernels_get()->attention(&c.args);
        for (size_t i = 0; i < n_chunks; i++) {
            kfi_attention_args part = chunks_of(&c, i, 1);
            part.dst = results[i][0];
            part.ld_dst = n_heads * head_dim;
            part.state = states[i];
            kfi_kernels_get()->attention(&part);
        }
        for (size_t h = 0; h < n_heads; h++) {
            const kfi_attention_merge_args merge = {.dst = c.actual + h * head_dim,
                                                    .results = results[0][h],
                                                    .ld = n_heads * head_dim,
                                                    .states = &states[0][h],
                                                    .n_states = n_heads,
                                                    .n = n_chunks,
                                                    .head_dim = head_dim};
            kfi_kernels_get()->attention_merge(&merge);
        }
        assert_memory_equal(c.expected, c.actual, n_heads * head_dim * sizeof(float));
        case_free(&c);
    }
}

/* Several tokens that go on from what the keys before gave. */
static void goes_on_from_a_state(void **state)
{
    (void)state;
    enum {
        n_heads = 3,
        n_tokens = 5,
        head_dim = 64
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 6);
    for (size_t n_before = 1; n_before < 3; n_before++) {
        attention_case c = case_make(n_heads, head_dim, 600, n_tokens, 1.0f, &rng);
        kfi_attention_state states[n_tokens * n_heads];
        kfi_kernels_get()->attention(&c.args);
        kfi_attention_args before = chunks_of(&c, 0, n_before);
        kfi_attention_args behind = chunks_of(&c, n_before, 9);
        before.dst = behind.dst = c.actual;
        before.state = behind.state = states;
        behind.continues = true;
        kfi_kernels_get()->attention(&before);
        kfi_kernels_get()->attention(&behind);
        for (size_t i = 0; i < n_tokens * n_heads; i++) {
            float *dst = c.actual + i / n_heads * c.args.ld_dst + i % n_heads * head_dim;
            const kfi_attention_merge_args end = {
                .dst = dst, .results = dst, .states = &states[i], .n = 1, .head_dim = head_dim};
            kfi_kernels_get()->attention_merge(&end);
        }
        assert_memory_equal(c.expected, c.actual, c.n_q * sizeof(float));
        case_free(&c);
    }
}

static void stores_and_loads_keys(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    attention_case c = case_make(1, 24, 0, 37, 1.0f, &rng);
    for (size_t i = 0; i < 37; i++) {
        float key[24];
        kfi_kv_load_key(key, c.keys, i, 24);
        assert_memory_equal(key, c.plain_keys + i * 24, sizeof key);
    }
    case_free(&c);
}

static void does_nothing_for_no_tokens(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    attention_case c = case_make(2, 16, 3, 1, 1.0f, &rng);
    c.args.n_tokens = 0;
    kfi_kernels_get()->attention(&c.args);
    for (size_t i = 0; i < c.n_q; i++) {
        assert_true(c.expected[i] == 0.0f);
    }
    case_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attends_as_plain_c_does),
        cmocka_unit_test(gives_the_same_for_every_tile),
        cmocka_unit_test(gives_the_same_when_chunks_are_merged),
        cmocka_unit_test(goes_on_from_a_state),
        cmocka_unit_test(stores_and_loads_keys),
        cmocka_unit_test(does_nothing_for_no_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
