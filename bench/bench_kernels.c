/* bench_kernels.c - speed of every kernel beside what the machine gives.
 *
 * usage: bench_kernels [--json] [WORD]   only kernels whose name has WORD in it, "int4g64"
 *
 * Products are measured for 1, 4 and 16 tokens (weights that fit no cache are walked through, as
 * decoding does) and for 512, with one thread and with all; the share is that of the nearer limit,
 * memory or arithmetic. Correctness is the tests' affair. KERF_ISA caps the kernels.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/half.h"
#include "base/rng.h"
#include "kerf/machine.h"
#include "kerf/pool.h"
#include "kernels/kernels.h"
#include "linalg/hadamard.h"
#include "machine_limits.h"
#include "measure.h"

#define ROUNDS 3 /* of which the best counts */

/* One line of the result. */
typedef struct result {
    char name[64];
    size_t threads;
    double seconds;    /* of one call */
    double bytes;      /* of weights (or all operands) that one call reads */
    double operations; /* of one call */
    double limit;      /* least seconds by the machine's limits, 0: none stated */
} result;

static void print_header(const options *o)
{
    if (!o->json) {
        (void)printf("%-40s %7s %12s %9s %9s %7s\n", "kernel", "threads", "us", "GB/s", "GOP/s",
                     "share");
    }
}

static void print_result(const options *o, const result *r)
{
    const double gigabytes = r->bytes / r->seconds * 1e-9;
    const double operations = r->operations / r->seconds * 1e-9;
    if (o->json) {
        (void)printf("{\"kernel\":\"%s\",\"threads\":%zu,\"seconds\":%.9f,\"gb_per_s\":%.3f,"
                     "\"gop_per_s\":%.3f,\"share\":%.4f}\n",
                     r->name, r->threads, r->seconds, gigabytes, operations, r->limit / r->seconds);
        return;
    }
    (void)printf("%-40s %7zu %12.2f %9.2f %9.1f", r->name, r->threads, r->seconds * 1e6, gigabytes,
                 operations);
    if (r->limit > 0.0) {
        (void)printf(" %6.1f%%", 100.0 * r->limit / r->seconds);
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

/* ---- products ---- */

typedef struct product {
    kfi_packed *matrices; /* n_matrices of one shape, walked through one a call */
    size_t n_matrices, next, matrix_bytes;
    kfi_activations x;
    kfi_float_activations floats; /* x NULL: int8 activations */
    float *y;
    void **scratch; /* one a thread */
    size_t scratch_bytes;
    kf_pool *pool;
    kfi_split split;
} product;

static void product_piece(void *ctx, size_t i, size_t thread)
{
    const product *p = ctx;
    const kfi_packed *w = &p->matrices[p->next];
    const size_t begin = kfi_split_begin(&p->split, i);
    const size_t end = kfi_split_begin(&p->split, i + 1);
    if (p->floats.x != NULL) {
        kfi_kernels_get()->matmul_float(p->y, w->rows, w, begin, end, &p->floats,
                                        p->scratch[thread]);
    } else {
        kfi_kernels_get()->matmul_int8(p->y, w->rows, w, begin, end, &p->x, p->scratch[thread]);
    }
}

static void product_run(void *ctx)
{
    product *p = ctx;
    kfi_pool_run(p->pool, product_piece, p, p->split.n_pieces);
    p->next = (p->next + 1) % p->n_matrices;
}

/* Entries of a codebook: no matter which. */
static const int8_t table[KFI_TABLE_ENTRIES] = {-127, -99, -66, -33, 0,  33, 66,  99,
                                                127,  -50, -20, 10,  40, 70, 100, 120};

/* A matrix of a format with groups of 64, fp16 scales and no zeros, with random codes and small
 * scales, in one block. */
static kfi_packed random_matrix(uint8_t *bytes, kf_format format, size_t rows, size_t cols,
                                kfi_rng *rng)
{
    kfi_packed w = {.format = format,
                    .rows = rows,
                    .cols = cols,
                    .group = 64,
                    .n_panels = (rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS,
                    .n_chunks = (cols + KFI_CHUNK_COLS - 1) / KFI_CHUNK_COLS,
                    .n_groups = (cols + 63) / 64,
                    .codes = bytes,
                    .table = kfi_element_has_table(format.element) ? table : NULL,
                    .zero = kfi_format_zero(format)};
    const size_t n_codes = w.n_panels * w.n_chunks * format.bits * KFI_LINE_BYTES;
    const size_t n_scales = w.n_panels * w.n_groups * KFI_PANEL_ROWS;
    uint16_t *const scales = (uint16_t *)(void *)(bytes + n_codes);
    for (size_t i = 0; i < n_codes; i += 8) {
        const uint64_t random = kfi_rng_next(rng);
        memcpy(bytes + i, &random, sizeof random);
    }
    for (size_t i = 0; i < n_scales; i++) {
        scales[i] = kfi_half_from_float(0.01f * kfi_rng_uniform(rng));
    }
    w.scales = scales;
    return w;
}

static size_t matrix_bytes(kf_format format, size_t rows, size_t cols)
{
    const size_t n_panels = (rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS;
    const size_t n_chunks = (cols + KFI_CHUNK_COLS - 1) / KFI_CHUNK_COLS;
    const size_t n_groups = (cols + 63) / 64;
    return n_panels * (n_chunks * format.bits * KFI_LINE_BYTES + n_groups * KFI_PANEL_ROWS * 2);
}

static const kfi_quantizer token_quantizer = {KFI_QUANTIZE_SYMMETRIC, 64, 127, 1.0f};

static kfi_activations activations_new(size_t n_tokens, size_t cols, const float *floats)
{
    kfi_activations x = {.n_tokens = n_tokens,
                         .cols = cols,
                         .cols_padded = kfi_round_up(cols, KFI_CHUNK_COLS),
                         .group = 64,
                         .n_groups = (cols + 63) / 64};
    const size_t n_chunks = x.cols_padded / KFI_CHUNK_COLS;
    x.codes = must(kfi_alloc(NULL, n_tokens * x.cols_padded));
    x.scales = must(kfi_calloc(NULL, n_tokens * x.n_groups, sizeof *x.scales));
    x.sums = must(kfi_calloc(NULL, n_tokens * n_chunks, sizeof *x.sums));
    for (size_t t = 0; t < n_tokens; t++) {
        kfi_kernels_get()->quantize(x.codes + t * x.cols_padded, x.scales + t * x.n_groups,
                                    x.sums + t * n_chunks, floats + t * cols, cols,
                                    &token_quantizer);
    }
    return x;
}

static void activations_free(kfi_activations *x)
{
    kfi_free(NULL, x->codes, x->n_tokens * x->cols_padded);
    kfi_free(NULL, x->scales, x->n_tokens * x->n_groups * sizeof *x->scales);
    kfi_free(NULL, x->sums, x->n_tokens * (x->cols_padded / KFI_CHUNK_COLS) * sizeof *x->sums);
}

typedef struct product_case {
    const char *name; /* of the format */
    size_t rows, cols, tokens;
    bool is_float;
} product_case;

static void bench_product(const options *o, const product_case *c, kf_pool *pool,
                          const machine_limits *limits)
{
    const size_t n_threads = kf_pool_threads(pool);
    result r = {.threads = n_threads};
    (void)snprintf(r.name, sizeof r.name, "%s %s %zux%zu M=%zu",
                   c->is_float ? "matmul_float" : "matmul_int8", c->name, c->rows, c->cols,
                   c->tokens);
    if (!is_wanted(o, r.name)) {
        return;
    }
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    kf_error err = {0};
    kf_format format = {0};
    must_succeed(kf_format_parse(&format, c->name, &err), &err);
    product p = {.pool = pool, .matrix_bytes = matrix_bytes(format, c->rows, c->cols)};
    const bool from_memory = c->tokens <= 16;
    p.n_matrices = from_memory ? MACHINE_READ_BYTES / p.matrix_bytes + 1 : 1;
    const size_t all_bytes = p.n_matrices * kfi_round_up(p.matrix_bytes, KFI_LINE_BYTES);
    uint8_t *bytes = must(kfi_alloc(NULL, all_bytes));
    float *floats = random_floats(c->tokens * c->cols, &rng);
    p.matrices = must(kfi_calloc(NULL, p.n_matrices, sizeof *p.matrices));
    for (size_t i = 0; i < p.n_matrices; i++) {
        p.matrices[i] = random_matrix(bytes + i * kfi_round_up(p.matrix_bytes, KFI_LINE_BYTES),
                                      format, c->rows, c->cols, &rng);
    }
    p.floats = (kfi_float_activations){c->tokens, c->is_float ? floats : NULL, c->cols};
    p.x = activations_new(c->tokens, c->cols, floats);
    p.y = must(kfi_calloc(NULL, c->tokens * c->rows, sizeof *p.y));
    p.scratch = must(kfi_calloc(NULL, n_threads, sizeof *p.scratch));
    p.scratch_bytes = kfi_matmul_scratch_bytes(c->cols);
    for (size_t i = 0; i < n_threads; i++) {
        p.scratch[i] = must(kfi_alloc(NULL, p.scratch_bytes));
    }
    p.split = kfi_split_make(pool, p.matrices[0].n_panels, 2, c->tokens == 1 ? 1 : 4);

    r.bytes = (double)p.matrix_bytes;
    r.operations = 2.0 * (double)c->rows * (double)c->cols * (double)c->tokens;
    r.seconds = seconds_of(product_run, &p, ROUNDS);
    const double peak = c->is_float ? limits->float_operations : limits->int8_operations;
    const double read = from_memory ? r.bytes : 0.0;
    r.limit = machine_least_seconds(limits, read, r.operations, peak);
    print_result(o, &r);

    for (size_t i = 0; i < n_threads; i++) {
        kfi_free(NULL, p.scratch[i], p.scratch_bytes);
    }
    kfi_free(NULL, p.scratch, n_threads * sizeof *p.scratch);
    kfi_free(NULL, p.y, c->tokens * c->rows * sizeof *p.y);
    activations_free(&p.x);
    kfi_free(NULL, p.matrices, p.n_matrices * sizeof *p.matrices);
    kfi_free(NULL, floats, c->tokens * c->cols * sizeof *floats);
    kfi_free(NULL, bytes, all_bytes);
}

static void bench_products(const options *o, kf_pool *pool, const machine_limits *limits)
{
    static const char *const formats[] = {"int2g64", "int3g64", "int4g64", "int5g64",
                                          "int6g64", "int7g64", "int8g64", "ternaryg64",
                                          "nf2g64",  "nf3g64",  "nf4g64",  "fp6e3m2g64"};
    static const size_t shapes[][2] = {{1536, 576}, {576, 1536}, {5632, 2048}};
    static const size_t tokens[] = {1, 4, 16, 512};
    for (size_t s = 0; s < 3; s++) {
        for (size_t t = 0; t < sizeof tokens / sizeof tokens[0]; t++) {
            for (size_t f = 0; f < sizeof formats / sizeof formats[0]; f++) {
                const product_case c = {.name = formats[f],
                                        .rows = shapes[s][0],
                                        .cols = shapes[s][1],
                                        .tokens = tokens[t]};
                bench_product(o, &c, pool, limits);
            }
            const product_case c = {.name = "int4g64",
                                    .rows = shapes[s][0],
                                    .cols = shapes[s][1],
                                    .tokens = tokens[t],
                                    .is_float = true};
            bench_product(o, &c, pool, limits);
        }
    }
}

/* ---- the others, one thread ---- */

enum {
    vector_n = 1536,
    vocabulary = 49152,
    heads = 3,
    head_dim = 64,
    depth = 1536
};

typedef struct vectors {
    float *a, *b, *c;
    int8_t codes[vector_n];
    float scales[vector_n / 64];
    int32_t sums[vector_n / 32];
    kfi_attention_args attention;
    kfi_attention_args attention_packed;
    kfi_rotation rotation;
    kfi_sparse sparse;
    kfi_token_panels tokens;
    float exponent; /* of the error of a grid */
    double sink;
} vectors;

static void run_quantize(void *ctx)
{
    vectors *v = ctx;
    kfi_kernels_get()->quantize(v->codes, v->scales, v->sums, v->a, vector_n, &token_quantizer);
}

static void run_rms_norm(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->rms_norm(v->c, v->a, v->b, vector_n, 1e-5f);
}

static void run_silu_mul(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->silu_mul(v->c, v->a, v->b, vector_n);
}

static void run_add(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->add(v->c, v->a, vector_n);
}

static void run_rope(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->rope(v->c, vector_n / head_dim, head_dim, v->a, v->b);
}

static void run_log_sum_exp(void *ctx)
{
    vectors *v = ctx;
    size_t arg_max = 0;
    v->sink += kfi_kernels_get()->log_sum_exp(v->a, vocabulary, &arg_max);
}

static void run_attention(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->attention(&v->attention);
}

static void run_attention_packed(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->attention_packed(&v->attention_packed);
}

static void run_hadamard(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->hadamard(v->c, vector_n / head_dim, head_dim);
}

static void run_rotate(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->rotate(v->c, &v->rotation);
}

static void run_sparse(void *ctx)
{
    const vectors *v = ctx;
    kfi_kernels_get()->matmul_sparse(v->b, v->sparse.rows, &v->sparse, 0, v->sparse.rows,
                                     &v->tokens);
}

static void run_grid_error(void *ctx)
{
    vectors *v = ctx;
    const kfi_grid_error_args args = {
        .weights = v->a, .n = 64, .scale = 0.1f, .zero = 8, .q_max = 15, .exponent = v->exponent};
    v->sink += (double)kfi_kernels_get()->grid_error(&args);
}

static void bench_vector(const options *o, const char *name, void (*run)(void *), vectors *v,
                         double bytes, double operations)
{
    result r = {.threads = 1, .bytes = bytes, .operations = operations};
    (void)snprintf(r.name, sizeof r.name, "%s", name);
    if (is_wanted(o, name)) {
        r.seconds = seconds_of(run, v, ROUNDS);
        print_result(o, &r);
    }
}

static void bench_attention(const options *o, vectors *v, size_t n_tokens, kfi_rng *rng)
{
    const size_t n_q = n_tokens * heads * head_dim;
    const size_t n_kv = (depth + n_tokens + 15) / 16 * 16 * head_dim;
    const size_t scratch_bytes = kfi_attention_scratch_bytes(head_dim);
    float *q = random_floats(n_q, rng);
    float *y = random_floats(n_q, rng);
    float *keys = random_floats(n_kv, rng);
    float *values = random_floats(n_kv, rng);
    void *scratch = must(kfi_alloc(NULL, scratch_bytes));
    char name[64];
    v->attention = (kfi_attention_args){.dst = y,
                                        .ld_dst = heads * head_dim,
                                        .q = q,
                                        .ld_q = heads * head_dim,
                                        .n_tokens = n_tokens,
                                        .n_heads = heads,
                                        .head_dim = head_dim,
                                        .first = depth,
                                        .n_keys = depth + n_tokens,
                                        .keys = keys,
                                        .values = values,
                                        .scale = 0.125f,
                                        .scratch = scratch};
    (void)snprintf(name, sizeof name, "attention %dx%d depth %d M=%zu", heads, head_dim, depth,
                   n_tokens);
    const double pairs = (double)n_tokens * ((double)depth + (double)n_tokens / 2.0);
    bench_vector(o, name, run_attention, v, 8.0 * (double)(depth + n_tokens) * head_dim,
                 4.0 * pairs * heads * head_dim);
    kfi_free(NULL, q, n_q * sizeof *q);
    kfi_free(NULL, y, n_q * sizeof *y);
    kfi_free(NULL, keys, n_kv * sizeof *keys);
    kfi_free(NULL, values, n_kv * sizeof *values);
    kfi_free(NULL, scratch, scratch_bytes);
}

/* Random codes with scales of 1/64. */
static void bench_attention_packed(const options *o, vectors *v, size_t n_tokens, unsigned bits,
                                   kfi_rng *rng)
{
    const size_t n_q = n_tokens * heads * head_dim;
    const size_t n_keys = (depth + n_tokens + KFI_KV_BLOCK - 1) / KFI_KV_BLOCK * KFI_KV_BLOCK;
    const size_t code_bytes = kfi_packed_kv_code_bytes(n_keys, head_dim, bits);
    const size_t scratch_bytes = kfi_attention_packed_scratch_bytes(head_dim);
    float *q = random_floats(n_q, rng);
    float *y = random_floats(n_q, rng);
    uint16_t *scales = must(kfi_alloc(NULL, n_keys * sizeof *scales));
    uint8_t *codes = must(kfi_alloc(NULL, 2 * code_bytes));
    void *scratch = must(kfi_alloc(NULL, scratch_bytes));
    char name[64];
    for (size_t i = 0; i < n_keys; i++) {
        scales[i] = 0x2400; /* 2^-6 */
    }
    for (size_t i = 0; i < 2 * code_bytes; i++) {
        codes[i] = (uint8_t)kfi_rng_next(rng);
    }
    v->attention_packed = (kfi_attention_args){
        .dst = y,
        .ld_dst = heads * head_dim,
        .q = q,
        .ld_q = heads * head_dim,
        .n_tokens = n_tokens,
        .n_heads = heads,
        .head_dim = head_dim,
        .first = depth,
        .n_keys = depth + n_tokens,
        .kv = {.keys = {.bits = bits, .codes = codes, .scales = scales},
               .values = {.bits = bits, .codes = codes + code_bytes, .scales = scales},
               .cols = head_dim},
        .scale = 0.125f,
        .scratch = scratch};
    (void)snprintf(name, sizeof name, "attention k%uv%u %dx%d depth %d M=%zu", bits, bits, heads,
                   head_dim, depth, n_tokens);
    const double pairs = (double)n_tokens * ((double)depth + (double)n_tokens / 2.0);
    bench_vector(o, name, run_attention_packed, v,
                 2.0 * (double)(depth + n_tokens) * (head_dim * bits / 8.0 + 2.0),
                 4.0 * pairs * heads * head_dim);
    kfi_free(NULL, q, n_q * sizeof *q);
    kfi_free(NULL, y, n_q * sizeof *y);
    kfi_free(NULL, scales, n_keys * sizeof *scales);
    kfi_free(NULL, codes, 2 * code_bytes);
    kfi_free(NULL, scratch, scratch_bytes);
}

/* Widths of a feed-forward layer that have a small, a middle and a large matrix; signs of 1. */
static void bench_rotations(const options *o, vectors *v)
{
    static const size_t widths[] = {1536, 4864, 5632, 8960};
    int8_t signs[8960];
    memset(signs, 1, sizeof signs);
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        char name[64];
        kfi_hadamard h;
        if (kfi_hadamard_init(&h, widths[i], NULL, NULL) != KF_OK) {
            continue;
        }
        v->rotation = kfi_hadamard_forward(&h, signs);
        const double butterflies = log2((double)h.block);
        (void)snprintf(name, sizeof name, "rotate %zu = %zux%zu", h.n, h.m, h.block);
        bench_vector(o, name, run_rotate, v, 8.0 * (double)h.n,
                     (double)h.n * (butterflies + 2.0 * (double)h.m));
        kfi_hadamard_deinit(&h);
    }
}

/* A layer 576 x 576 with 0.5 and 10 % of its weights beside it, of one token and of a batch. */
static void bench_sparse(const options *o, vectors *v, kfi_rng *rng)
{
    enum {
        n = 576,
        batch = 64, /* as many as the vectors have room for */
        most = n * n / 9
    };
    uint32_t starts[n + 1];
    uint16_t *columns = must(kfi_alloc(NULL, most * sizeof *columns));
    uint16_t *values = must(kfi_alloc(NULL, most * sizeof *values));
    static const size_t steps[] = {200, 10};
    for (size_t i = 0; i < 2; i++) {
        starts[0] = 0;
        for (size_t r = 0, k = 0; r < n; r++) {
            for (size_t c = kfi_rng_below(rng, (uint32_t)steps[i]); c < n; c += steps[i]) {
                columns[k] = (uint16_t)c;
                values[k++] = 0x2C00;
            }
            starts[r + 1] = (uint32_t)k;
        }
        v->sparse = (kfi_sparse){n, n, starts, columns, values};
        for (size_t n_tokens = 1; n_tokens <= batch; n_tokens *= batch) {
            char name[64];
            v->tokens = (kfi_token_panels){n_tokens, n, v->a};
            (void)snprintf(name, sizeof name, "matmul_sparse %dx%d, %u weights, M=%zu", n, n,
                           starts[n], n_tokens);
            bench_vector(o, name, run_sparse, v, 4.0 * starts[n],
                         2.0 * starts[n] * (double)n_tokens);
        }
    }
    kfi_free(NULL, columns, most * sizeof *columns);
    kfi_free(NULL, values, most * sizeof *values);
}

static void bench_vectors(const options *o)
{
    static vectors v;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    v.a = random_floats(vocabulary, &rng);
    v.b = random_floats(vocabulary, &rng);
    v.c = random_floats(vocabulary, &rng);
    bench_vector(o, "quantize 1536", run_quantize, &v, 4.0 * vector_n, 3.0 * vector_n);
    bench_vector(o, "rms_norm 1536", run_rms_norm, &v, 12.0 * vector_n, 4.0 * vector_n);
    bench_vector(o, "silu_mul 1536", run_silu_mul, &v, 12.0 * vector_n, 4.0 * vector_n);
    bench_vector(o, "add 1536", run_add, &v, 12.0 * vector_n, 1.0 * vector_n);
    bench_vector(o, "rope 24x64", run_rope, &v, 8.0 * vector_n, 3.0 * vector_n);
    bench_vector(o, "hadamard 24x64", run_hadamard, &v, 8.0 * vector_n, 6.0 * vector_n);
    bench_vector(o, "log_sum_exp 49152", run_log_sum_exp, &v, 4.0 * vocabulary, 2.0 * vocabulary);
    bench_rotations(o, &v);
    bench_sparse(o, &v, &rng);
    v.exponent = 2.0f;
    bench_vector(o, "grid_error 64, squares", run_grid_error, &v, 256.0, 0.0);
    v.exponent = 2.4f;
    bench_vector(o, "grid_error 64, power 2.4", run_grid_error, &v, 256.0, 0.0);
    for (size_t n_tokens = 1; n_tokens <= 64; n_tokens *= 64) {
        bench_attention(o, &v, n_tokens, &rng);
        bench_attention_packed(o, &v, n_tokens, 8, &rng);
        bench_attention_packed(o, &v, n_tokens, 4, &rng);
    }
    kfi_free(NULL, v.a, vocabulary * sizeof(float));
    kfi_free(NULL, v.b, vocabulary * sizeof(float));
    kfi_free(NULL, v.c, vocabulary * sizeof(float));
}

/* ---- main ---- */

static void print_machine(const options *o, const machine_limits *limits, size_t n_threads)
{
    char cpu[80];
    const char *family = NULL;
    const char *variant = NULL;
    kf_cpu_name(cpu, sizeof cpu);
    (void)kf_kernel_in_use(0, &family, &variant);
    (void)printf(o->json ? "{\"cpu\":\"%s\",\"variant\":\"%s\",\"threads\":%zu,\"read_gb_per_s\":"
                           "%.2f,\"int8_gop_per_s\":%.1f,\"float_gop_per_s\":%.1f}\n"
                         : "%s, %s, %zu threads: reads %.1f GB/s, int8 %.0f GOP/s, float32 %.0f "
                           "GOP/s\n",
                 cpu, variant, n_threads, limits->read_bytes * 1e-9, limits->int8_operations * 1e-9,
                 limits->float_operations * 1e-9);
}

static void bench_with(const options *o, kf_pool *pool)
{
    const machine_limits limits = machine_limits_measure(pool);
    print_machine(o, &limits, kf_pool_threads(pool));
    print_header(o);
    bench_products(o, pool, &limits);
}

int main(int argc, char **argv)
{
    const options o = options_read(argc, argv, "bench_kernels");
    if (kf_kernel_warning() != NULL) {
        (void)fprintf(stderr, "bench_kernels: %s\n", kf_kernel_warning());
    }
    const int status = measure_passes(&o, bench_with);
    if (status == 0) {
        bench_vectors(&o);
    }
    return status;
}
