/* Attention over packed keys and values: in use (KERF_ISA) against plain C, bit for bit, and
 * against a softmax in double over what the codes say.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>

#include "base/half.h"
#include "kernels/attention_packed_inline.h"
#include "kernels/kernels_list.h"
#include "random_packed.h"

#define GUARD_BYTES 64
#define COUNT(x)    (sizeof(x) / sizeof(x)[0])

/* The shape of a case. */
typedef struct shape {
    unsigned key_bits, value_bits;
    size_t n_heads, head_dim, first, n_tokens;
    float spread; /* of the keys: 20 lets one key take nearly all */
    bool is_fitted;
    bool has_common;
} shape;

/* A cache with random keys and values, and queries for tokens first … first + n_tokens - 1. */
typedef struct packed_case {
    kfi_attention_args args;
    size_t capacity, n_q;
    float *q, *expected, *actual;
    float *keys, *values;                       /* as the codes have them, [token][head_dim] */
    float *weights, *chunk_turns, *token_turns; /* of the common key */
    unsigned char *scratch;
} packed_case;

static void *filled(size_t n, int byte)
{
    void *memory = kfi_alloc(NULL, n);
    assert_non_null(memory);
    memset(memory, byte, n);
    return memory;
}

static void store_random(packed_case *c, const shape *s, kfi_rng *rng)
{
    const size_t dim = s->head_dim;
    float *key = random_floats(dim, rng);
    float *value = random_floats(dim, rng);
    for (size_t i = 0; i < c->args.n_keys; i++) {
        for (size_t d = 0; d < dim; d++) {
            key[d] = s->spread * kfi_rng_normal(rng);
            value[d] = kfi_rng_normal(rng);
        }
        kfi_packed_kv_store(&c->args.kv, i, key, value, dim);
        kfi_packed_kv_load(c->keys + i * dim, c->values + i * dim, &c->args.kv, i, dim);
    }
    kfi_free(NULL, key, dim * sizeof *key);
    kfi_free(NULL, value, dim * sizeof *value);
}

/* What is not stored must not matter: 0xFF is the greatest code, and a NaN. */
static kfi_kv_codes codes_make(unsigned bits, kfi_kv_fit fit, size_t capacity, size_t cols)
{
    return (kfi_kv_codes){.bits = bits,
                          .table = fit == KFI_KV_GREATEST ? NULL : kfi_kv_levels(bits),
                          .fit = fit,
                          .codes = filled(kfi_packed_kv_code_bytes(capacity, cols, bits), 0xFF),
                          .scales = filled(capacity * sizeof(uint16_t), 0xFF)};
}

static void codes_free(const kfi_kv_codes *codes, size_t capacity, size_t cols)
{
    kfi_free(NULL, codes->codes, kfi_packed_kv_code_bytes(capacity, cols, codes->bits));
    kfi_free(NULL, codes->scales, capacity * sizeof(uint16_t));
}

/* Radians a token of pair j, from 1 down. */
static double frequency(size_t j, size_t head_dim)
{
    return pow(1e4, -2.0 * (double)j / (double)head_dim);
}

static size_t n_chunk_floats(const packed_case *c)
{
    return (c->args.n_keys / KFI_ATTENTION_CHUNK + 1) * c->args.head_dim;
}

static void make_common(packed_case *c, kfi_rng *rng)
{
    const size_t dim = c->args.head_dim;
    const size_t half = dim / 2;
    c->weights = random_floats(c->n_q, rng);
    c->chunk_turns = kfi_calloc(NULL, n_chunk_floats(c), sizeof(float));
    c->token_turns = kfi_calloc(NULL, KFI_ATTENTION_CHUNK * dim, sizeof(float));
    for (size_t j = 0; j < half; j++) {
        for (size_t i = 0; i < n_chunk_floats(c) / dim; i++) {
            const double angle = (double)(i * KFI_ATTENTION_CHUNK) * frequency(j, dim);
            c->chunk_turns[i * dim + j] = (float)cos(angle);
            c->chunk_turns[i * dim + half + j] = -(float)sin(angle);
        }
        for (size_t i = 0; i < KFI_ATTENTION_CHUNK; i++) {
            const size_t place = (i / 16 * dim + j) * 16 + i % 16;
            c->token_turns[place] = (float)cos((double)i * frequency(j, dim));
            c->token_turns[place + half * 16] = (float)sin((double)i * frequency(j, dim));
        }
    }
    c->args.common = (kfi_common_key){c->weights, c->chunk_turns, c->token_turns};
}

/* What a query has of it at key i; adds the sizes of the products to `absolute`. */
static double common_score(const packed_case *c, const float *w, size_t i, double *absolute)
{
    const size_t half = c->args.head_dim / 2;
    double score = 0.0;
    for (size_t j = 0; j < half; j++) {
        const double angle = (double)i * frequency(j, c->args.head_dim);
        score += (double)w[j] * cos(angle) + (double)w[half + j] * sin(angle);
        *absolute += hypot((double)w[j], (double)w[half + j]);
    }
    return score * (double)c->args.scale;
}

static packed_case case_make(const shape *s, kfi_rng *rng)
{
    packed_case c = {0};
    const size_t n_keys = s->first + s->n_tokens;
    const size_t ld = s->n_heads * s->head_dim + 3; /* rows need not be dense */
    const size_t cols = kfi_packed_kv_cols(s->head_dim);
    c.capacity = (n_keys + KFI_KV_BLOCK - 1) / KFI_KV_BLOCK * KFI_KV_BLOCK;
    c.n_q = s->n_tokens * ld;
    c.q = random_floats(c.n_q, rng);
    c.expected = kfi_calloc(NULL, c.n_q, sizeof(float));
    c.actual = kfi_calloc(NULL, c.n_q, sizeof(float));
    c.keys = random_floats(n_keys * s->head_dim, rng);
    c.values = random_floats(n_keys * s->head_dim, rng);
    c.scratch = filled(kfi_attention_packed_scratch_bytes(s->head_dim) + GUARD_BYTES, 0xC3);
    c.args = (kfi_attention_args){
        .dst = c.expected,
        .ld_dst = ld,
        .q = c.q,
        .ld_q = ld,
        .n_tokens = s->n_tokens,
        .n_heads = s->n_heads,
        .head_dim = s->head_dim,
        .first = s->first,
        .n_keys = n_keys,
        .kv = {.keys = codes_make(s->key_bits, s->is_fitted ? KFI_KV_NEAREST : KFI_KV_GREATEST,
                                  c.capacity, cols),
               .values = codes_make(s->value_bits, s->is_fitted ? KFI_KV_UNBIASED : KFI_KV_GREATEST,
                                    c.capacity, cols),
               .cols = cols},
        .scale = 1.0f / sqrtf((float)s->head_dim),
        .scratch = c.scratch};
    store_random(&c, s, rng);
    if (s->has_common) {
        make_common(&c, rng);
    }
    return c;
}

static void case_free(packed_case *c)
{
    const kfi_packed_kv *kv = &c->args.kv;
    const size_t n_scratch = kfi_attention_packed_scratch_bytes(c->args.head_dim);
    const size_t n_kv = c->args.n_keys * c->args.head_dim;
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(c->scratch[n_scratch + i], 0xC3);
    }
    kfi_free(NULL, c->scratch, n_scratch + GUARD_BYTES);
    kfi_free(NULL, c->q, c->n_q * sizeof(float));
    kfi_free(NULL, c->expected, c->n_q * sizeof(float));
    kfi_free(NULL, c->actual, c->n_q * sizeof(float));
    if (c->weights != NULL) {
        kfi_free(NULL, c->weights, c->n_q * sizeof(float));
        kfi_free(NULL, c->chunk_turns, n_chunk_floats(c) * sizeof(float));
        kfi_free(NULL, c->token_turns, KFI_ATTENTION_CHUNK * c->args.head_dim * sizeof(float));
    }
    kfi_free(NULL, c->keys, n_kv * sizeof(float));
    kfi_free(NULL, c->values, n_kv * sizeof(float));
    codes_free(&kv->keys, c->capacity, kv->cols);
    codes_free(&kv->values, c->capacity, kv->cols);
}

/* One result in double. A query's number is off by half a step, max |q| / 65534, and a score by as
 * much a column; three roundings come to it. A weight is off by half a step of its chunk, which is
 * the greatest p s / 65534: no more than 1 / 65534 of all weight times the greatest |value|, for
 * each of 256 keys of a chunk; the chunks' weights sum to the whole. The score of the common key is
 * turned twice, in float, and summed over the columns. The rest are sums over the keys. */
static void check_exact(const packed_case *c, size_t token, size_t head)
{
    const size_t dim = c->args.head_dim;
    const size_t n = c->args.first + token + 1;
    const float *q = c->q + token * c->args.ld_q + head * dim;
    const float *y = c->actual + token * c->args.ld_dst + head * dim;
    const double scale = (double)c->args.scale;
    double *p = kfi_calloc(NULL, n, sizeof *p);
    double max = -(double)INFINITY;
    double error = 0.0;
    double sum = 0.0;
    double q_max = 0.0;
    for (size_t d = 0; d < dim; d++) {
        q_max = fmax(q_max, fabs((double)q[d]));
    }
    for (size_t i = 0; i < n; i++) {
        double absolute = 0.0;
        double column = 0.0;
        for (size_t d = 0; d < dim; d++) {
            const double key = (double)c->keys[i * dim + d];
            p[i] += (double)q[d] * key * scale;
            absolute += fabs((double)q[d] * key) * scale;
            column += fabs(key) * scale;
        }
        double common = 0.0;
        if (c->weights != NULL) {
            const float *w = c->weights + token * c->args.ld_q + head * dim;
            p[i] += common_score(c, w, i, &common);
        }
        max = fmax(max, p[i]);
        error = fmax(error, column * q_max / 65534.0 * 1.01 + 6.0 * 0x1p-24 * absolute +
                                (double)(dim + 10) * 0x1p-23 * common * scale);
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = exp(p[i] - max);
        sum += p[i];
    }
    const double relative = 2.1 * error + ((double)n + 20.0) * 0x1p-23;
    for (size_t d = 0; d < dim; d++) {
        double exact = 0.0;
        double absolute = 0.0;
        double greatest = 0.0;
        for (size_t i = 0; i < n; i++) {
            const double value = (double)c->values[i * dim + d];
            exact += p[i] / sum * value;
            absolute += p[i] / sum * fabs(value);
            const uint16_t half = c->args.kv.values.scales[i];
            greatest = fmax(greatest, (double)kfi_half_to_float(half));
        }
        const kfi_kv_codes *v = &c->args.kv.values;
        const double codes = v->table != NULL ? 127.0 : (double)(1u << (v->bits - 1));
        const double weights = 256.0 / 65534.0 * 1.01 * greatest * codes;
        if (!(fabs((double)y[d] - exact) <= relative * absolute + weights)) {
            fail_msg("token %zu, head %zu, column %zu: %g, expected %g +- %g", token, head, d,
                     (double)y[d], exact, relative * absolute + weights);
        }
    }
    kfi_free(NULL, p, n * sizeof *p);
}

static void check_case(const shape *s, kfi_rng *rng)
{
    packed_case c = case_make(s, rng);
    kfi_attention_packed_generic(&c.args);
    c.args.dst = c.actual;
    kfi_kernels_get()->attention_packed(&c.args);
    for (size_t i = 0; i < c.n_q; i++) {
        if (memcmp(&c.expected[i], &c.actual[i], sizeof(float)) != 0) {
            fail_msg("k%uv%u, %zu heads of %zu, first %zu, %zu tokens: element %zu is %a, plain C "
                     "has %a",
                     s->key_bits, s->value_bits, s->n_heads, s->head_dim, s->first, s->n_tokens, i,
                     (double)c.actual[i], (double)c.expected[i]);
        }
    }
    check_exact(&c, 0, 0);
    check_exact(&c, s->n_tokens - 1, s->n_heads - 1);
    case_free(&c);
}

static void attends_as_plain_c_does(void **state)
{
    (void)state;
    static const size_t head_dims[] = {2, 6, 16, 24, 48, 64, 80, 96, 128, 130, 512};
    static const size_t firsts[] = {0, 14, 15, 16, 100, 254, 255, 256, 300, 511, 512, 600};
    static const unsigned bits[][2] = {{8, 8}, {8, 4}, {4, 4}, {4, 8}, {5, 3}, {4, 2},
                                       {3, 7}, {2, 6}, {7, 5}, {6, 2}, {3, 3}};
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (size_t i = 0; i < COUNT(head_dims); i++) {
        for (size_t k = 0; k < COUNT(firsts); k++) {
            const size_t b = (i + k) % COUNT(bits);
            const shape s = {.key_bits = bits[b][0],
                             .value_bits = bits[b][1],
                             .n_heads = 1 + kfi_rng_below(&rng, 9),
                             .head_dim = head_dims[i],
                             .first = firsts[k],
                             .n_tokens = 1 + kfi_rng_below(&rng, k % 3 == 0 ? 40 : 3),
                             .spread = k % 4 == 0 ? 20.0f : 1.0f,
                             .is_fitted = (i + k) % 3 == 0,
                             .has_common = (i + k) % 2 == 0};
            check_case(&s, &rng);
        }
    }
}

/* Every number of rows that a block may have, of one token and of several. */
static void attends_for_every_number_of_heads(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (size_t n_heads = 1; n_heads <= 17; n_heads++) {
        for (unsigned bits = 2; bits <= 8; bits++) {
            const shape s = {.key_bits = bits,
                             .value_bits = bits,
                             .n_heads = n_heads,
                             .head_dim = 64,
                             .first = 250 + n_heads,
                             .n_tokens = 1 + n_heads % 2,
                             .spread = 1.0f,
                             .is_fitted = n_heads % 2 == 0,
                             .has_common = n_heads % 3 != 0};
            check_case(&s, &rng);
        }
    }
}

static void gives_the_same_for_every_tile(void **state)
{
    (void)state;
    const shape s = {8, 8, 3, 64, 250, 20, 1.0f, false, true};
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    for (size_t split = 1; split < 20; split += 3) {
        packed_case c = case_make(&s, &rng);
        kfi_kernels_get()->attention_packed(&c.args);
        kfi_attention_args part = c.args;
        part.dst = c.actual;
        part.n_tokens = split;
        kfi_kernels_get()->attention_packed(&part);
        part.dst = c.actual + split * c.args.ld_dst;
        part.q = c.q + split * c.args.ld_q;
        part.common.weights = c.weights + split * c.args.ld_q;
        part.first = c.args.first + split;
        part.n_tokens = 20 - split;
        kfi_kernels_get()->attention_packed(&part);
        assert_memory_equal(c.expected, c.actual, c.n_q * sizeof(float));
        case_free(&c);
    }
}

/* Tokens that go on from what the keys before gave, in two runs. */
static void goes_on_from_a_state(void **state)
{
    (void)state;
    const shape s = {8, 4, 3, 64, 600, 5, 1.0f, true, true};
    enum {
        n_rows = 15,
        n_front = 2 * KFI_ATTENTION_CHUNK
    };
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    packed_case c = case_make(&s, &rng);
    kfi_attention_state states[n_rows];
    kfi_kernels_get()->attention_packed(&c.args);
    kfi_attention_args run = c.args;
    run.dst = c.actual;
    run.state = states;
    run.n_keys = n_front;
    kfi_kernels_get()->attention_packed(&run);
    run.kv = kfi_packed_kv_from(&run.kv, n_front);
    run.common.chunk_turns += n_front / KFI_ATTENTION_CHUNK * s.head_dim;
    run.first -= n_front;
    run.n_keys = c.args.n_keys - n_front;
    run.continues = true;
    kfi_kernels_get()->attention_packed(&run);
    for (size_t i = 0; i < n_rows; i++) {
        float *dst = c.actual + i / s.n_heads * c.args.ld_dst + i % s.n_heads * s.head_dim;
        const kfi_attention_merge_args end = {
            .dst = dst, .results = dst, .states = &states[i], .n = 1, .head_dim = s.head_dim};
        kfi_kernels_get()->attention_merge(&end);
    }
    assert_memory_equal(c.expected, c.actual, c.n_q * sizeof(float));
    case_free(&c);
}

/* Half a step, or one where the number is the greatest: its scale was rounded to fp16. */
static void check_row(const float *x, const float *y, size_t n, unsigned bits)
{
    double max = 0.0;
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, fabs((double)x[i]));
    }
    const double step = max / ((double)(1u << (bits - 1)) - 0.5);
    for (size_t i = 0; i < n; i++) {
        const double bound = 0.5 * step + 0x1p-10 * max + 0x1p-18;
        assert_true(fabs((double)x[i] - (double)y[i]) <= bound);
    }
}

static kfi_packed_kv small_cache(uint8_t keys[32 * 32], uint8_t values[32 * 32],
                                 uint16_t scales[2][32], unsigned key_bits, unsigned value_bits)
{
    return (kfi_packed_kv){.keys = {.bits = key_bits, .codes = keys, .scales = scales[0]},
                           .values = {.bits = value_bits, .codes = values, .scales = scales[1]},
                           .cols = 32};
}

static void codes_are_within_half_a_step(void **state)
{
    (void)state;
    uint8_t keys[32 * 32];
    uint8_t values[32 * 32];
    uint16_t scales[2][32];
    static const float sizes[] = {1e-7f, 1e-3f, 1.0f, 500.0f, 9e4f};
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (unsigned i = 0; i < 49; i++) {
        const unsigned key_bits = 2 + i / 7;
        const unsigned value_bits = 2 + i % 7;
        const kfi_packed_kv kv = small_cache(keys, values, scales, key_bits, value_bits);
        float x[32][2][24];
        for (size_t t = 0; t < 32; t++) {
            for (size_t d = 0; d < 24; d++) {
                x[t][0][d] = sizes[t % COUNT(sizes)] * (2.0f * kfi_rng_uniform(&rng) - 1.0f);
                x[t][1][d] = sizes[t % COUNT(sizes)] * (2.0f * kfi_rng_uniform(&rng) - 1.0f);
            }
            kfi_packed_kv_store(&kv, t, x[t][0], x[t][1], 24);
        }
        for (size_t t = 0; t < 32; t++) { /* none was changed by a later one */
            float y[2][24];
            kfi_packed_kv_load(y[0], y[1], &kv, t, 24);
            check_row(x[t][0], y[0], 24, key_bits);
            check_row(x[t][1], y[1], 24, value_bits);
        }
    }
}

/* What n numbers lose at these codes, and how long the codes are along them: 1 is unbiased. */
static double loss_of(double *along, const kfi_packed_kv *kv, const float *x, size_t n)
{
    float y[2][24];
    double error = 0.0;
    double product = 0.0;
    double squares = 0.0;
    kfi_packed_kv_store(kv, 0, x, x, n);
    kfi_packed_kv_load(y[0], y[1], kv, 0, n);
    for (size_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[0][i]) * ((double)x[i] - (double)y[0][i]);
        product += (double)x[i] * (double)y[1][i];
        squares += (double)x[i] * (double)x[i];
    }
    *along = product / squares;
    return error / squares;
}

/* Keys lose less, and values keep their length. */
static void fitted_codes_are_nearer_and_unbiased(void **state)
{
    (void)state;
    uint8_t keys[32 * 32];
    uint8_t values[32 * 32];
    uint16_t scales[2][32];
    kfi_rng rng;
    kfi_rng_init(&rng, 6);
    for (unsigned bits = 2; bits <= 8; bits++) {
        const kfi_packed_kv plain = small_cache(keys, values, scales, bits, bits);
        kfi_packed_kv fitted = plain;
        double lost[2] = {0.0, 0.0};
        fitted.keys.table = fitted.values.table = kfi_kv_levels(bits);
        fitted.keys.fit = KFI_KV_NEAREST;
        fitted.values.fit = KFI_KV_UNBIASED;
        assert_true((fitted.keys.table != NULL) == (bits <= 4));
        for (size_t t = 0; t < 200; t++) {
            float x[24];
            double along = 0.0;
            for (size_t d = 0; d < 24; d++) {
                x[d] = kfi_rng_normal(&rng);
            }
            lost[0] += loss_of(&along, &plain, x, 24);
            lost[1] += loss_of(&along, &fitted, x, 24);
            assert_true(fabs(along - 1.0) < 0x1p-10);
        }
        if (!(lost[1] < 0.99 * lost[0])) {
            fail_msg("%u bits lose %g fitted, %g by the greatest", bits, lost[1], lost[0]);
        }
    }
}

static void store_tokens(const kfi_packed_kv *kv, size_t n, uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    for (size_t t = 0; t < n; t++) {
        float x[24];
        for (size_t d = 0; d < 24; d++) {
            x[d] = kfi_rng_normal(&rng);
        }
        kfi_packed_kv_store(kv, t, x, x, 24);
    }
}

/* After going back, nothing is left of what stood there: tokens share bytes. */
static void a_token_is_stored_anew(void **state)
{
    (void)state;
    static uint8_t keys[2][32 * 32];
    static uint8_t values[2][32 * 32];
    static uint16_t scales[2][2][32];
    const kfi_packed_kv used = small_cache(keys[0], values[0], scales[0], 7, 3);
    const kfi_packed_kv fresh = small_cache(keys[1], values[1], scales[1], 7, 3);
    store_tokens(&used, 20, 10);
    store_tokens(&used, 20, 11);
    store_tokens(&fresh, 20, 11);
    assert_memory_equal(keys[0], keys[1], sizeof keys[0]);
    assert_memory_equal(values[0], values[1], sizeof values[0]);
    assert_memory_equal(scales[0], scales[1], sizeof scales[0]);
}

static void stores_zero_huge_and_not_finite(void **state)
{
    (void)state;
    uint8_t keys[32 * 32];
    uint8_t values[32 * 32];
    uint16_t scales[2][32];
    kfi_packed_kv kv = small_cache(keys, values, scales, 8, 4);
    float zero[24] = {0};
    float huge[24] = {3e38f, -3e38f, 1.0f};
    float y[2][24];
    kfi_packed_kv_store(&kv, 0, zero, zero, 24);
    kfi_packed_kv_store(&kv, 1, huge, huge, 24);
    huge[2] = NAN;
    kfi_packed_kv_store(&kv, 2, huge, zero, 24);
    huge[2] = -INFINITY;
    kfi_packed_kv_store(&kv, 3, zero, huge, 24);
    kfi_packed_kv_load(y[0], y[1], &kv, 0, 24);
    for (size_t d = 0; d < 24; d++) {
        assert_true(y[0][d] == 0.0f && y[1][d] == 0.0f);
    }
    kfi_packed_kv_load(y[0], y[1], &kv, 1, 24); /* the greatest that there is */
    assert_true(y[0][0] == 127.0f * 65504.0f && y[0][1] == -128.0f * 65504.0f);
    assert_true(y[1][0] == 7.0f * 65504.0f && y[1][1] == -8.0f * 65504.0f && y[1][2] == 0.0f);
    kfi_packed_kv_load(y[0], y[1], &kv, 2, 24);
    assert_true(isnan(y[0][5]) && y[1][5] == 0.0f);
    kfi_packed_kv_load(y[0], y[1], &kv, 3, 24);
    assert_true(y[0][5] == 0.0f && isnan(y[1][5]));
    kv.values.fit = KFI_KV_UNBIASED; /* fitted ones likewise */
    kv.values.table = kfi_kv_levels(4);
    kfi_packed_kv_store(&kv, 4, zero, zero, 24);
    kfi_packed_kv_store(&kv, 5, zero, huge, 24);
    kfi_packed_kv_load(y[0], y[1], &kv, 4, 24);
    assert_true(y[1][0] == 0.0f && y[1][23] == 0.0f);
    kfi_packed_kv_load(y[0], y[1], &kv, 5, 24);
    assert_true(isnan(y[1][5]));
    huge[2] = 1.0f; /* its squares overflow */
    kfi_packed_kv_store(&kv, 6, zero, huge, 24);
    kfi_packed_kv_load(y[0], y[1], &kv, 6, 24);
    assert_true(y[1][0] == 127.0f * 65504.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attends_as_plain_c_does),
        cmocka_unit_test(attends_for_every_number_of_heads),
        cmocka_unit_test(gives_the_same_for_every_tile),
        cmocka_unit_test(goes_on_from_a_state),
        cmocka_unit_test(codes_are_within_half_a_step),
        cmocka_unit_test(fitted_codes_are_nearer_and_unbiased),
        cmocka_unit_test(a_token_is_stored_anew),
        cmocka_unit_test(stores_zero_huge_and_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
