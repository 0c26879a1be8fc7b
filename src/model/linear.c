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
typedef struct panels {
    kfi_workspace *workspace;
    const kfi_linear *linears[KFI_LINEARS_MOST];
    float *ys[KFI_LINEARS_MOST];
    size_t ends[KFI_LINEARS_MOST]; /* panels up to and with this layer */
    size_t n_linears;
    kfi_float_activations floats; /* x NULL: `activations` */
    kfi_activations activations;
    bool has_side;
    kfi_side_run side;
    kfi_split split;
} panels;

/* Panels begin … end-1 of one layer. */
static void run_panels(const panels *p, size_t i_linear, size_t begin, size_t end, size_t i_thread)
{
    const kfi_linear *linear = p->linears[i_linear];
    const kfi_kernels *kernels = p->workspace->kernels;
    void *scratch = kfi_workspace_scratch(p->workspace, i_thread);
    if (p->floats.x != NULL) {
        kernels->matmul_float(p->ys[i_linear], linear->rows, &linear->packed, begin, end,
                              &p->floats, scratch);
    } else {
        kernels->matmul_int8(p->ys[i_linear], linear->rows, &linear->packed, begin, end,
                             &p->activations, scratch);
    }
    if (p->has_side) {
        kfi_side_add(&p->side, i_linear, p->ys[i_linear], begin, end, i_thread);
    }
}

static void run_piece(void *ctx, size_t i_item, size_t i_thread)
{
    const panels *p = ctx;
    size_t begin = kfi_split_begin(&p->split, i_item);
    const size_t end = kfi_split_begin(&p->split, i_item + 1);
    size_t first = 0; /* panel of the layer's beginning */
    for (size_t i = 0; i < p->n_linears && begin < end; i++) {
        if (begin < p->ends[i]) {
            const size_t stop = end < p->ends[i] ? end : p->ends[i];
            run_panels(p, i, begin - first, stop - first, i_thread);
            begin = stop;
        }
        first = p->ends[i];
    }
}

/* Tokens that become the input of the panels. */
typedef struct preparing {
    const panels *panels;
    kf_activation format;
    kfi_quantizer quantizer; /* where the format has codes */
    kfi_split split;
} preparing;

/* x: what is left of the token beside its outliers; it may lie in scratch. */
static void quantize_token(const preparing *q, size_t t, const float *x)
{
    const panels *p = q->panels;
    const kfi_activations *a = &p->activations;
    const size_t n_chunks = a->cols_padded / KFI_CHUNK_COLS;
    p->workspace->kernels->quantize(a->codes + t * a->cols_padded, a->scales + t * a->n_groups,
                                    a->sums + t * n_chunks, x, a->cols, &q->quantizer);
}

static void prepare_token(const preparing *q, size_t t, void *scratch)
{
    const panels *p = q->panels;
    const size_t cols = p->side.cols;
    const float *x = kfi_side_gather(&p->side, t, scratch);
    if (p->floats.x == NULL) {
        quantize_token(q, t, x);
    } else if (p->floats.x != p->side.x) {
        p->workspace->kernels->round_fp8(p->workspace->rounded + t * cols, x, cols,
                                         kfi_activation_group(q->format, cols));
    }
}

static void prepare_tokens(void *ctx, size_t i_item, size_t i_thread)
{
    const preparing *q = ctx;
    const panels *p = q->panels;
    void *scratch = kfi_workspace_scratch(p->workspace, i_thread);
    const size_t begin = kfi_split_begin(&q->split, i_item);
    const size_t end = kfi_split_begin(&q->split, i_item + 1);
    for (size_t t = begin; t < end; t++) {
        prepare_token(q, t, scratch);
    }
    if (p->has_side) {
        kfi_side_project(&p->side, &p->activations, begin, end, scratch);
        kfi_side_spread(&p->side, &p->activations, begin, end);
    }
}

/* Where the codes of n tokens will stand. */
static kfi_activations activations_of(const kfi_workspace *workspace, kf_activation format,
                                      size_t cols, size_t n)
{
    const size_t padded = kfi_round_up(cols, KFI_CHUNK_COLS);
    const size_t group = kfi_activation_group(format, cols);
    return (kfi_activations){
        .n_tokens = n,
        .cols = cols,
        .cols_padded = padded,
        .group = group,
        .n_groups = (padded + group - 1) / group,
        .codes = workspace->codes,
        .scales = workspace->scales,
        .sums = workspace->sums,
    };
}

/* The input as the panels take it: in codes, rounded to small floats, or as it is; and what side
 * paths make of it. */
static void prepare_input(panels *p, kf_activation format, const float *x, size_t cols, size_t n)
{
    preparing q = {.panels = p, .format = format};
    const bool is_float = kfi_activation_is_float(format);
    if (kfi_activation_has_codes(format)) {
        p->activations = activations_of(p->workspace, format, cols, n);
        q.quantizer = kfi_activation_quantizer(format, cols);
    } else {
        p->floats = (kfi_float_activations){n, is_float ? x : p->workspace->rounded, cols};
    }
    p->side = (kfi_side_run){.workspace = p->workspace,
                             .linears = p->linears,
                             .n_linears = p->n_linears,
                             .x = x,
                             .n_tokens = n,
                             .cols = cols,
                             .floats = p->floats.x};
    if (!is_float || p->has_side) {
        q.split = kfi_split_make(p->workspace->pool, n, TOKENS_A_PIECE, 4);
        kfi_pool_run(p->workspace->pool, prepare_tokens, &q, q.split.n_pieces);
    }
}

/* Pieces a thread: a decode step wants few hand-overs, a batch wants balance. */
static void run_packed(panels *p, size_t n)
{
    kf_pool *pool = p->workspace->pool;
    /* Products of many tokens take two panels at once. */
    p->split = kfi_split_make(pool, p->ends[p->n_linears - 1], n == 1 ? 1 : 2, n == 1 ? 2 : 4);
    kfi_pool_run(pool, run_piece, p, p->split.n_pieces);
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
    return is_packed(a) && is_packed(b) && kfi_activation_is_same(a->activation, b->activation) &&
           kfi_side_shares_input(&a->side, &b->side);
}

/* Tokens as kept layers take them. */
typedef struct rounding {
    kfi_workspace *workspace;
    kf_activation format;
    const float *x;
    size_t cols;
    kfi_split split;
} rounding;

static void round_tokens(void *ctx, size_t i_item, size_t i_thread)
{
    const rounding *r = ctx;
    const size_t end = kfi_split_begin(&r->split, i_item + 1);
    for (size_t t = kfi_split_begin(&r->split, i_item); t < end; t++) {
        kfi_activation_round(r->workspace->kernels, r->workspace->rounded + t * r->cols,
                             r->x + t * r->cols, r->cols, r->format,
                             kfi_workspace_scratch(r->workspace, i_thread));
    }
}

static const float *round_input(kfi_workspace *workspace, kf_activation format, const float *x,
                                size_t cols, size_t n)
{
    rounding r = {.workspace = workspace, .format = format, .x = x, .cols = cols};
    if (kfi_activation_is_float(format)) {
        return x;
    }
    r.split = kfi_split_make(workspace->pool, n, TOKENS_A_PIECE, 4);
    kfi_pool_run(workspace->pool, round_tokens, &r, r.split.n_pieces);
    return workspace->rounded;
}

/* Runs linears[0], whose weights are float, and those behind it that take the same input. */
static size_t run_kept(kfi_workspace *workspace, const kfi_linear *const *linears, float *const *ys,
                       size_t n_linears, const float *x, size_t n)
{
    const kf_activation format = linears[0]->activation;
    const float *input = round_input(workspace, format, x, linears[0]->cols, n);
    size_t i = 0;
    while (i < n_linears && !is_packed(linears[i]) &&
           kfi_activation_is_same(linears[i]->activation, format)) {
        const kfi_linear *linear = linears[i];
        const kfi_gemm product = {.kind = KFI_GEMM_NT,
                                  .m = n,
                                  .n = linear->rows,
                                  .k = linear->cols,
                                  .a = input,
                                  .ld_a = linear->cols,
                                  .b = linear->weights,
                                  .ld_b = linear->cols,
                                  .c = ys[i],
                                  .ld_c = linear->rows};
        kfi_matrix_multiply(workspace->pool, &product);
        i++;
    }
    return i;
}

/* Runs linears[0] and as many of its successors as go with it; returns how many. */
static size_t run_together(kfi_workspace *workspace, const kfi_linear *const *linears,
                           float *const *ys, size_t n_linears, const float *x, size_t n)
{
    const kfi_linear *first = linears[0];
    if (!is_packed(first)) {
        return run_kept(workspace, linears, ys, n_linears, x, n);
    }
    panels p = {.workspace = workspace};
    size_t n_panels = 0;
    while (p.n_linears < n_linears && p.n_linears < KFI_LINEARS_MOST &&
           go_together(first, linears[p.n_linears])) {
        n_panels += linears[p.n_linears]->packed.n_panels;
        p.linears[p.n_linears] = linears[p.n_linears];
        p.ys[p.n_linears] = ys[p.n_linears];
        p.ends[p.n_linears] = n_panels;
        p.has_side = p.has_side || kfi_side_is_set(&linears[p.n_linears]->side);
        p.n_linears++;
    }
    prepare_input(&p, first->activation, x, first->cols, n);
    run_packed(&p, n);
    return p.n_linears;
}

/* How many of the layers, from the first on, see their input through the same map. */
static size_t count_same_map(const kfi_linear *const *linears, size_t n_linears)
{
    size_t n = 1;
    while (n < n_linears && kfi_online_is_same(&linears[0]->online, &linears[n]->online)) {
        n++;
    }
    return n;
}

void kfi_linear_forward_shared(kfi_workspace *workspace, const kfi_linear *const *linears,
                               float *const *ys, size_t n_linears, const float *x, size_t n)
{
    for (size_t i = 0; i < n_linears;) {
        const size_t end = i + count_same_map(linears + i, n_linears - i);
        const float *input = kfi_online_input(workspace, &linears[i]->online, x, n);
        while (i < end) {
            i += run_together(workspace, linears + i, ys + i, end - i, input, n);
        }
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
