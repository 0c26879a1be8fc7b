/* linear.c - linear layers: packed ones and float ones over our kernels.
 *
 * Layers that share their input are computed together: the input is quantized once, and all their
 * panels are handed to the pool as one list, so that a decode step has few hand-overs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/alloc.h"
#include "format/format.h"
#include "linalg/matrix.h"
#include "model/workspace.h"

/* Tokens that are worth a hand-over to the pool in the cheap loops over tokens. */
#define TOKENS_A_PIECE 8

/* Panels of some layers, one after the other, against one input. */
#define MOST_SHARED 4

typedef struct panels {
    kfi_workspace *workspace;
    const kfi_linear *linears[MOST_SHARED];
    float *ys[MOST_SHARED];
    size_t ends[MOST_SHARED]; /* panels up to and with this layer */
    size_t n_linears;
    kfi_float_activations floats; /* x NULL: `activations` */
    kfi_activations activations;
    kfi_split split;
} panels;

/* Panels begin … end-1 of one layer. */
static void run_panels(const panels *p, size_t i_linear, size_t begin, size_t end, void *scratch)
{
    const kfi_linear *linear = p->linears[i_linear];
    const kfi_kernels *kernels = p->workspace->kernels;
    if (p->floats.x != NULL) {
        kernels->matmul_float(p->ys[i_linear], linear->rows, &linear->packed, begin, end,
                              &p->floats, scratch);
    } else {
        kernels->matmul_int8(p->ys[i_linear], linear->rows, &linear->packed, begin, end,
                             &p->activations, scratch);
    }
}

static void run_piece(void *ctx, size_t i_item, size_t i_thread)
{
    const panels *p = ctx;
    void *scratch = kfi_workspace_scratch(p->workspace, i_thread);
    size_t begin = kfi_split_begin(&p->split, i_item);
    const size_t end = kfi_split_begin(&p->split, i_item + 1);
    size_t first = 0; /* panel of the layer's beginning */
    for (size_t i = 0; i < p->n_linears && begin < end; i++) {
        if (begin < p->ends[i]) {
            const size_t stop = end < p->ends[i] ? end : p->ends[i];
            run_panels(p, i, begin - first, stop - first, scratch);
            begin = stop;
        }
        first = p->ends[i];
    }
}

typedef struct quantizing {
    const kfi_workspace *workspace;
    const kfi_activations *activations;
    const float *x;
    int32_t most; /* the largest code */
    kfi_split split;
} quantizing;

static void quantize_tokens(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const quantizing *q = ctx;
    const kfi_activations *a = q->activations;
    const size_t n_chunks = a->cols_padded / KFI_CHUNK_COLS;
    const size_t end = kfi_split_begin(&q->split, i_item + 1);
    for (size_t t = kfi_split_begin(&q->split, i_item); t < end; t++) {
        q->workspace->kernels->quantize(a->codes + t * a->cols_padded, a->scales + t * a->n_groups,
                                        a->sums + t * n_chunks, q->x + t * a->cols, a->cols,
                                        a->group, q->most);
    }
}

static void quantize_input(const kfi_workspace *workspace, kfi_activations *activations,
                           kf_activation format, const float *x, size_t cols, size_t n)
{
    const size_t padded = kfi_round_up(cols, KFI_CHUNK_COLS);
    const size_t group = format.group == KF_GROUP_ROW ? padded : format.group;
    *activations = (kfi_activations){
        .n_tokens = n,
        .cols = cols,
        .cols_padded = padded,
        .group = group,
        .n_groups = (padded + group - 1) / group,
        .codes = workspace->codes,
        .scales = workspace->scales,
        .sums = workspace->sums,
    };
    quantizing q = {.workspace = workspace,
                    .activations = activations,
                    .x = x,
                    .most = kfi_activation_most(format)};
    q.split = kfi_split_make(workspace->pool, n, TOKENS_A_PIECE, 4);
    kfi_pool_run(workspace->pool, quantize_tokens, &q, q.split.n_pieces);
}

/* Pieces a thread: a decode step wants few hand-overs, a batch wants balance. */
static void run_packed(kfi_workspace *workspace, panels *p, size_t n)
{
    p->workspace = workspace;
    p->split = kfi_split_make(workspace->pool, p->ends[p->n_linears - 1], 1, n == 1 ? 2 : 4);
    kfi_pool_run(workspace->pool, run_piece, p, p->split.n_pieces);
}

typedef struct biasing {
    const kfi_workspace *workspace;
    const kfi_linear *linear;
    float *y;
    kfi_split split;
} biasing;

static void add_bias_tokens(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const biasing *b = ctx;
    const size_t rows = b->linear->rows;
    const size_t end = kfi_split_begin(&b->split, i_item + 1);
    for (size_t t = kfi_split_begin(&b->split, i_item); t < end; t++) {
        b->workspace->kernels->add(b->y + t * rows, b->linear->bias, rows);
    }
}

static void add_bias(const kfi_workspace *workspace, const kfi_linear *linear, float *y, size_t n)
{
    if (linear->bias == NULL) {
        return;
    }
    biasing b = {.workspace = workspace, .linear = linear, .y = y};
    b.split = kfi_split_make(workspace->pool, n, TOKENS_A_PIECE, 4);
    kfi_pool_run(workspace->pool, add_bias_tokens, &b, b.split.n_pieces);
}

static bool is_packed(const kfi_linear *linear)
{
    return linear->packed.codes != NULL;
}

/* Layers that can run over one list of panels. */
static bool go_together(const kfi_linear *a, const kfi_linear *b)
{
    return is_packed(a) && is_packed(b) && kfi_activation_is_same(a->activation, b->activation);
}

/* Runs linears[0] and as many of its successors as go with it; returns how many. */
static size_t run_together(kfi_workspace *workspace, const kfi_linear *const *linears,
                           float *const *ys, size_t n_linears, const float *x, size_t n)
{
    const kfi_linear *first = linears[0];
    if (!is_packed(first)) {
        const kfi_gemm product = {.kind = KFI_GEMM_NT,
                                  .m = n,
                                  .n = first->rows,
                                  .k = first->cols,
                                  .a = x,
                                  .ld_a = first->cols,
                                  .b = first->weights,
                                  .ld_b = first->cols,
                                  .c = ys[0],
                                  .ld_c = first->rows};
        kfi_matrix_multiply(workspace->pool, &product);
        return 1;
    }
    panels p = {0};
    size_t n_panels = 0;
    while (p.n_linears < n_linears && p.n_linears < MOST_SHARED &&
           go_together(first, linears[p.n_linears])) {
        n_panels += linears[p.n_linears]->packed.n_panels;
        p.linears[p.n_linears] = linears[p.n_linears];
        p.ys[p.n_linears] = ys[p.n_linears];
        p.ends[p.n_linears] = n_panels;
        p.n_linears++;
    }
    if (first->activation.bits == 32) {
        p.floats = (kfi_float_activations){n, x, first->cols};
    } else {
        quantize_input(workspace, &p.activations, first->activation, x, first->cols, n);
    }
    run_packed(workspace, &p, n);
    return p.n_linears;
}

void kfi_linear_forward_shared(kfi_workspace *workspace, const kfi_linear *const *linears,
                               float *const *ys, size_t n_linears, const float *x, size_t n)
{
    for (size_t i = 0; i < n_linears;) {
        i += run_together(workspace, linears + i, ys + i, n_linears - i, x, n);
    }
    for (size_t i = 0; i < n_linears; i++) {
        add_bias(workspace, linears[i], ys[i], n);
    }
}

void kfi_linear_forward(kfi_workspace *workspace, const kfi_linear *linear, float *y,
                        const float *x, size_t n)
{
    kfi_linear_forward_shared(workspace, &linear, &y, 1, x, n);
}
