/* bench_matrix.c - speed of float matrix products, beside OpenBLAS and what the machine gives.
 *
 * usage: bench_matrix [--json] [WORD]   only shapes whose name has WORD in it, "gram"
 *
 * Shapes are those of SmolLM2-135M, Qwen2.5-0.5B and TinyLlama: a layer's forward pass over few
 * tokens (weights that fit no cache are walked through, as decoding does) and over some hundred,
 * and Gram matrices. With one thread and with all. KERF_ISA caps our kernels, OPENBLAS_CORETYPE
 * chooses OpenBLAS's.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <cblas.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "kerf/machine.h"
#include "linalg/matrix.h"
#include "machine_limits.h"
#include "measure.h"

#define ROUNDS 5 /* of which the best counts */

/* y[m][n] = x[m][k] w[n][k]^T; or, where is_gram, y[n][n] += x^T x of k rows x[k][n]. */
typedef struct shape {
    size_t m, n, k;
    bool is_gram;
} shape;

typedef struct product {
    shape shape;
    kf_pool *pool;
    const float *x;
    const float *w; /* n_matrices of n x k, walked through one a call */
    size_t n_matrices, next;
    float *y;
} product;

static bool is_walked(shape s)
{
    return s.m <= 16 && !s.is_gram;
}

static const float *next_matrix(product *p)
{
    const float *w = p->w + p->next * p->shape.n * p->shape.k;
    p->next = (p->next + 1) % p->n_matrices;
    return w;
}

static void run_ours(void *ctx)
{
    product *p = ctx;
    const shape s = p->shape;
    if (s.is_gram) {
        kfi_matrix_gram_add(p->pool, p->y, p->x, s.n, s.k, s.n);
    } else {
        const kfi_gemm gemm = {.kind = KFI_GEMM_NT,
                               .m = s.m,
                               .n = s.n,
                               .k = s.k,
                               .a = p->x,
                               .ld_a = s.k,
                               .b = next_matrix(p),
                               .ld_b = s.k,
                               .c = p->y,
                               .ld_c = s.n};
        kfi_matrix_multiply(p->pool, &gemm);
    }
}

static void run_openblas(void *ctx)
{
    product *p = ctx;
    const int m = (int)p->shape.m;
    const int n = (int)p->shape.n;
    const int k = (int)p->shape.k;
    if (p->shape.is_gram) {
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, n, k, 1.0f, p->x, n, 1.0f, p->y, n);
    } else if (m == 1) {
        cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1.0f, next_matrix(p), k, p->x, 1, 0.0f, p->y,
                    1);
    } else {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, p->x, k, next_matrix(p),
                    k, 0.0f, p->y, n);
    }
}

/* A Gram matrix counts half its products: the other half is the same. The share is that of the
 * nearer limit, memory (for few tokens) or arithmetic. */
static void print_result(const options *o, const product *p, const char *name, double ours,
                         double openblas, const machine_limits *limits)
{
    const shape s = p->shape;
    const size_t n_threads = kf_pool_threads(p->pool);
    const double operations = s.is_gram ? (double)s.n * (double)s.n * (double)s.k
                                        : 2.0 * (double)(s.m * s.n) * (double)s.k;
    const double bytes = is_walked(s) ? (double)(s.n * s.k * sizeof(float)) : 0.0;
    const double limit = machine_least_seconds(limits, bytes, operations, limits->float_operations);
    if (o->json) {
        (void)printf("{\"shape\":\"%s\",\"threads\":%zu,\"gflop_per_s\":%.2f,\"gb_per_s\":%.2f,"
                     "\"share\":%.4f,\"openblas_gflop_per_s\":%.2f}\n",
                     name, n_threads, operations / ours * 1e-9, bytes / ours * 1e-9, limit / ours,
                     operations / openblas * 1e-9);
    } else {
        (void)printf("%-28s %7zu %9.1f %9.2f %6.1f%% %9.1f %6.2f\n", name, n_threads,
                     operations / ours * 1e-9, bytes / ours * 1e-9, 100.0 * limit / ours,
                     operations / openblas * 1e-9, openblas / ours);
    }
    (void)fflush(stdout);
}

static void bench_shape(const options *o, shape s, kf_pool *pool, const machine_limits *limits)
{
    char name[64];
    (void)snprintf(name, sizeof name, s.is_gram ? "gram n=%zu rows=%zu" : "%zux%zu M=%zu", s.n, s.k,
                   s.m);
    if (!is_wanted(o, name)) {
        return;
    }
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    const size_t w_bytes = s.n * s.k * sizeof(float);
    const size_t n_x = s.is_gram ? s.n * s.k : s.m * s.k;
    const size_t n_y = s.is_gram ? s.n * s.n : s.m * s.n;
    product p = {.shape = s,
                 .pool = pool,
                 .n_matrices = is_walked(s) ? MACHINE_READ_BYTES / w_bytes + 1 : 1};
    float *x = random_floats(n_x, &rng);
    float *w = random_floats(s.is_gram ? 1 : p.n_matrices * s.n * s.k, &rng);
    p.x = x;
    p.w = w;
    p.y = random_floats(n_y, &rng);
    const double ours = seconds_of(run_ours, &p, ROUNDS);
    const double openblas = seconds_of(run_openblas, &p, ROUNDS);
    print_result(o, &p, name, ours, openblas, limits);
    kfi_free(NULL, x, n_x * sizeof *x);
    kfi_free(NULL, w, (s.is_gram ? 1 : p.n_matrices * s.n * s.k) * sizeof *w);
    kfi_free(NULL, p.y, n_y * sizeof *p.y);
}

static void bench_with(const options *o, kf_pool *pool)
{
    static const shape shapes[] = {
        {1, 1536, 576, false},   {1, 576, 1536, false},    {1, 4864, 896, false},
        {1, 5632, 2048, false},  {4, 5632, 2048, false},   {16, 1536, 576, false},
        {16, 5632, 2048, false}, {64, 5632, 2048, false},  {512, 576, 576, false},
        {512, 1536, 576, false}, {512, 576, 1536, false},  {512, 2048, 2048, false},
        {1024, 896, 896, false}, {1024, 4864, 896, false}, {1024, 896, 4864, false},
        {1024, 128, 896, false}, {0, 576, 512, true},      {0, 1536, 512, true},
        {0, 896, 2048, true},    {0, 4864, 512, true},     {0, 4864, 2048, true},
    };
    const size_t n_threads = kf_pool_threads(pool);
    openblas_set_num_threads((int)n_threads);
    char cpu[80];
    kf_cpu_name(cpu, sizeof cpu);
    const machine_limits limits = machine_limits_measure(pool);
    (void)printf(o->json ? "{\"cpu\":\"%s\",\"openblas\":\"%s\",\"threads\":%zu,"
                           "\"read_gb_per_s\":%.2f,\"float_gop_per_s\":%.1f}\n"
                         : "%s, OpenBLAS for %s, %zu threads: reads %.1f GB/s, float32 %.0f "
                           "GFLOP/s\n",
                 cpu, openblas_get_corename(), n_threads, limits.read_bytes * 1e-9,
                 limits.float_operations * 1e-9);
    if (!o->json) {
        (void)printf("%-28s %7s %9s %9s %7s %9s %6s\n", "shape", "threads", "GFLOP/s", "GB/s",
                     "share", "OpenBLAS", "ratio");
    }
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        bench_shape(o, shapes[i], pool, &limits);
    }
}

int main(int argc, char **argv)
{
    const options o = options_read(argc, argv, "bench_matrix");
    return measure_passes(&o, bench_with);
}
