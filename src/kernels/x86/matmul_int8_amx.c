/* matmul_int8_amx.c - packed weights times int8 activations with tiles, for many tokens.
 *
 * A block is 32 tokens x 32 rows (two panels), four tiles of sums, and takes 64 columns a step:
 *
 *                          B  tmm6  panel 0     B  tmm7  panel 1
 *                             16 lines = 64 columns x 16 rows
 *     A  tmm4  16 tokens   C  tmm0              C  tmm1
 *     A  tmm5  16 tokens   C  tmm2              C  tmm3        4 loads, 4 tdpbsud: 65 536 products
 *
 * An unpacked panel is a row of B tiles as it lies there, the codes of 16 tokens a row of A tiles.
 * Where an odd chunk of 32 columns is left, A is copied with zeros behind it, and what B then reads
 * too much does not count.
 *
 * Tiles only know integers. Their sums go through a buffer in the first-level cache: a step ends
 * where the definition (kernels.h) has a float step, the sums of up to STEPS of them are stored,
 * and then every token's row takes its float steps with vectors. With scales of two levels the
 * codes are multiplied first (multiplied_avx512.h), and a step is a group of activations.
 *
 * Two panels are unpacked once for BLOCK_TOKENS tokens, whose codes stay in the second-level cache,
 * and BLOCK_CHUNKS at a time, so that what is unpacked stays in the first-level one. What a block
 * of tokens has summed waits for the next columns in scratch memory: floats, and of a step that is
 * longer than the columns integers. The last tile of tokens begins 16 tokens before the end: some
 * are done twice, alike.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/kernels_list.h"
#include "kernels/segments_inline.h"
#include "kernels/x86/multiplied_avx512.h"
#include "kernels/x86/tiles_amx.h"

#define PANELS       2
#define BLOCK_TOKENS KFI_MATMUL_TOKENS
#define BLOCK_CHUNKS 16u /* 512 columns of two panels: 16 KiB */
#define STEPS        4   /* 16 KiB of sums */
#define SHORT_CHUNKS 8   /* a sum of so many chunks of activations has 16 bits */

/* Sums of a step. */
typedef struct isum_step {
    alignas(64) int32_t of[PANELS][2 * TILE_ROWS][KFI_PANEL_ROWS];
} isum_step;

/* What 32 tokens x 32 rows have summed. */
typedef struct sums {
    alignas(64) float totals[PANELS][2 * TILE_ROWS][KFI_PANEL_ROWS];
    isum_step isums; /* of the step that is under way */
} sums;

_Static_assert(BLOCK_TOKENS / (2 * TILE_ROWS) * sizeof(sums) == KFI_MATMUL_SUM_BYTES,
               "scratch memory has room for the sums of a block of tokens");

/* One thread's work on some tokens and its pieces of scratch memory. */
typedef struct work {
    float *y;
    size_t ld_y;
    const kfi_packed *w;
    const kfi_activations *x; /* of 16 … BLOCK_TOKENS tokens */
    kfi_segments segments;
    size_t step_segments; /* segments and chunks of a step */
    size_t step_chunks;
    bool is_two_level;
    sums *sums;             /* of every 32 tokens */
    uint8_t *codes[PANELS]; /* unpacked columns */
    uint8_t *zeros[PANELS]; /* of multiplied codes: [group][16] 32-bit words */
    int32_t *minus_sums;    /* [token][segment], of the activations' codes */
} work;

/* 16 or 32 tokens and rows, and the columns that are unpacked. */
typedef struct block {
    size_t tokens[2]; /* first of 16 */
    size_t n_tiles;   /* of tokens */
    size_t i_panel;
    size_t n_panels;
    size_t first_chunk;
    size_t end_chunk;
} block;

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- integer sums ---- */

/* C += A B of 64 columns from k on. */
INLINE void dot_64(const int n_tiles, const int n_panels, const int8_t *const a[2], size_t stride,
                   const uint8_t *const b[PANELS], size_t k)
{
    TILE_LOAD(6, b[0] + k * KFI_PANEL_ROWS, KFI_LINE_BYTES);
    if (n_panels > 1) {
        TILE_LOAD(7, b[1] + k * KFI_PANEL_ROWS, KFI_LINE_BYTES);
    }
    TILE_LOAD(4, a[0] + k, stride);
    TILE_DOT(0, 4, 6);
    if (n_panels > 1) {
        TILE_DOT(1, 4, 7);
    }
    if (n_tiles > 1) {
        TILE_LOAD(5, a[1] + k, stride);
        TILE_DOT(2, 5, 6);
        if (n_panels > 1) {
            TILE_DOT(3, 5, 7);
        }
    }
}

/* C += A B of the 32 columns from k on: those of A are copied, rows of 64 bytes with zeros. */
INLINE void dot_32(const int n_tiles, const int n_panels, const int8_t *const a[2], size_t stride,
                   const uint8_t *const b[PANELS], size_t k)
{
    int8_t halves[2][TILE_ROWS * TILE_COLS] = {{0}};
    for (int i = 0; i < n_tiles; i++) {
        for (size_t r = 0; r < TILE_ROWS; r++) {
            memcpy(halves[i] + r * TILE_COLS, a[i] + r * stride + k, KFI_CHUNK_COLS);
        }
    }
    dot_64(n_tiles, n_panels, (const int8_t *const[]){halves[0], halves[1]}, TILE_COLS,
           (const uint8_t *const[]){b[0] + k * KFI_PANEL_ROWS, b[1] + k * KFI_PANEL_ROWS}, 0);
}

INLINE void load_sums(const int n_tiles, const int n_panels, const isum_step *src)
{
    TILE_LOAD(0, src->of[0][0], KFI_LINE_BYTES);
    if (n_panels > 1) {
        TILE_LOAD(1, src->of[1][0], KFI_LINE_BYTES);
    }
    if (n_tiles > 1) {
        TILE_LOAD(2, src->of[0][TILE_ROWS], KFI_LINE_BYTES);
        if (n_panels > 1) {
            TILE_LOAD(3, src->of[1][TILE_ROWS], KFI_LINE_BYTES);
        }
    }
}

INLINE void store_sums(const int n_tiles, const int n_panels, isum_step *dst)
{
    TILE_STORE(0, dst->of[0][0], KFI_LINE_BYTES);
    if (n_panels > 1) {
        TILE_STORE(1, dst->of[1][0], KFI_LINE_BYTES);
    }
    if (n_tiles > 1) {
        TILE_STORE(2, dst->of[0][TILE_ROWS], KFI_LINE_BYTES);
        if (n_panels > 1) {
            TILE_STORE(3, dst->of[1][TILE_ROWS], KFI_LINE_BYTES);
        }
    }
}

/* dst = Σ q x over the chunks begin … end-1 of the block, or with `add` what is added to it. */
INLINE void dot_chunks(const int n_tiles, const int n_panels, isum_step *dst, const bool add,
                       const work *job, const block *at, size_t begin, size_t end)
{
    const size_t stride = job->x->cols_padded;
    const int8_t *const x = job->x->codes + at->first_chunk * KFI_CHUNK_COLS;
    const int8_t *const a[2] = {x + at->tokens[0] * stride, x + at->tokens[1] * stride};
    const uint8_t *const b[PANELS] = {job->codes[0], job->codes[1]};
    size_t k = (begin - at->first_chunk) * KFI_CHUNK_COLS;
    const size_t k_end = (end - at->first_chunk) * KFI_CHUNK_COLS;
    if (add) {
        load_sums(n_tiles, n_panels, dst);
    } else {
        TILE_ZERO(0);
        TILE_ZERO(1);
        TILE_ZERO(2);
        TILE_ZERO(3);
    }
    for (; k + TILE_COLS <= k_end; k += TILE_COLS) {
        dot_64(n_tiles, n_panels, a, stride, b, k);
    }
    if (k < k_end) {
        dot_32(n_tiles, n_panels, a, stride, b, k);
    }
    store_sums(n_tiles, n_panels, dst);
}

static void dot_step(isum_step *dst, bool add, const work *job, const block *at, size_t begin,
                     size_t end)
{
    if (at->n_tiles > 1 && at->n_panels > 1) {
        dot_chunks(2, 2, dst, add, job, at, begin, end);
    } else if (at->n_tiles > 1) {
        dot_chunks(2, 1, dst, add, job, at, begin, end);
    } else if (at->n_panels > 1) {
        dot_chunks(1, 2, dst, add, job, at, begin, end);
    } else {
        dot_chunks(1, 1, dst, add, job, at, begin, end);
    }
}

#include "kernels/x86/float_steps_amx.h"

/* ---- blocks ---- */

/* The columns of the block are whole steps. */
static void multiply_steps(sums *acc, const work *job, const block *at)
{
    isum_step isums[STEPS];
    for (size_t c = at->first_chunk; c < at->end_chunk;) {
        const size_t first = c / job->step_chunks;
        size_t n = 0;
        for (; n < STEPS && c < at->end_chunk; n++) {
            const size_t end = least(c + job->step_chunks, at->end_chunk);
            dot_step(&isums[n], false, job, at, c, end);
            c = end;
        }
        add_steps(acc, isums, job, at, first, n);
    }
}

/* They are a part of a step. */
static void multiply_part(sums *acc, const work *job, const block *at)
{
    const size_t step = at->first_chunk / job->step_chunks;
    const bool is_first = at->first_chunk == step * job->step_chunks;
    dot_step(&acc->isums, !is_first, job, at, at->first_chunk, at->end_chunk);
    if (at->end_chunk == least((step + 1) * job->step_chunks, job->w->n_chunks)) {
        add_steps(acc, &acc->isums, job, at, step, 1);
    }
}

static void multiply_block(sums *acc, const work *job, const block *at)
{
    if (at->first_chunk == 0) {
        memset(acc->totals, 0, sizeof acc->totals);
    }
    (job->step_chunks <= BLOCK_CHUNKS ? multiply_steps : multiply_part)(acc, job, at);
    if (at->end_chunk == job->w->n_chunks) {
        store_results(acc, job, at);
    }
}

/* Some columns of a panel as a matrix of their own, to unpack them. They begin with a group, but
 * for a group of the whole row, whose scales are not two-level ones and not looked at. */
static kfi_packed columns_of(const kfi_packed *w, size_t i_panel, size_t first, size_t end)
{
    kfi_packed columns = *w;
    columns.n_chunks = end - first;
    columns.codes += (i_panel * w->n_chunks + first) * w->format.bits * KFI_LINE_BYTES;
    if (w->format.scale == KF_SCALE_TWO_LEVEL) {
        const size_t i_grid = panel_grid(w, i_panel, first * KFI_CHUNK_COLS / w->group);
        columns.scales = (const int8_t *)w->scales + i_grid;
        columns.zeros = w->zeros != NULL ? (const uint8_t *)w->zeros + i_grid : NULL;
    }
    return columns;
}

static void unpack_columns(const work *job, const block *at)
{
    for (size_t p = 0; p < at->n_panels; p++) {
        const kfi_packed columns =
            columns_of(job->w, at->i_panel + p, at->first_chunk, at->end_chunk);
        if (job->is_two_level) {
            const size_t group = at->first_chunk * KFI_CHUNK_COLS / job->w->group;
            unpack_multiplied(job->codes[p], job->zeros[p] + group * KFI_LINE_BYTES, &columns, 0);
        } else {
            unpack_panel(job->codes[p], &columns, 0);
        }
    }
}

/* One or two panels against all tokens of the job. */
static void multiply_panels(const work *job, size_t i_panel, size_t n_panels)
{
    const size_t n = job->x->n_tokens;
    const size_t last = n - TILE_ROWS; /* where the last tile begins */
    block at = {.i_panel = i_panel, .n_panels = n_panels};
    for (size_t c = 0; c < job->w->n_chunks; c = at.end_chunk) {
        at.first_chunk = c;
        at.end_chunk = least(c + BLOCK_CHUNKS, job->w->n_chunks);
        unpack_columns(job, &at);
        for (size_t t = 0; t < n; t += 2 * TILE_ROWS) {
            at.tokens[0] = least(t, last);
            at.tokens[1] = least(t + TILE_ROWS, last);
            at.n_tiles = t < last ? 2 : 1;
            multiply_block(&job->sums[t / (2 * TILE_ROWS)], job, &at);
        }
    }
}

/* Pieces of scratch memory: the sums first, KFI_MATMUL_SUM_BYTES. Of the 128 bytes a column, codes
 * take 32 at most, zeros 4 and sums of activations 32; behind the codes an odd chunk may be read.
 */
static void cut_scratch(work *job, uint8_t *scratch)
{
    const size_t code_bytes =
        least(job->w->n_chunks, BLOCK_CHUNKS) * KFI_CHUNK_COLS * KFI_PANEL_ROWS;
    const size_t zero_bytes = multiplied_zero_bytes(job->w);
    job->sums = (sums *)(void *)scratch;
    scratch += KFI_MATMUL_SUM_BYTES;
    for (size_t p = 0; p < PANELS; p++) {
        job->codes[p] = scratch + p * code_bytes;
        job->zeros[p] = scratch + PANELS * code_bytes + p * zero_bytes;
    }
    job->minus_sums = (int32_t *)(void *)(scratch + PANELS * (code_bytes + zero_bytes));
}

/* 16 … BLOCK_TOKENS tokens. */
static void multiply_tokens(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                            size_t panel_end, const kfi_activations *x, uint8_t *scratch)
{
    work job = {.y = y,
                .ld_y = ld_y,
                .w = w,
                .x = x,
                .segments = kfi_segments_make(w, x),
                .is_two_level = w->format.scale == KF_SCALE_TWO_LEVEL};
    job.step_segments = job.is_two_level ? job.segments.n_a_sum : 1;
    job.step_chunks = job.step_segments * job.segments.n_chunks;
    assert(job.step_chunks >= w->n_chunks || BLOCK_CHUNKS % job.step_chunks == 0 ||
           job.step_chunks % BLOCK_CHUNKS == 0);
    cut_scratch(&job, scratch);
    gather_sums(job.minus_sums, x, &job.segments);
    for (size_t i = panel_begin; i < panel_end; i += PANELS) {
        multiply_panels(&job, i, least(panel_end - i, PANELS));
    }
}

/* Fewer tokens than a tile has go through vectors, and so do floats of 6 bits: their sums are moved
 * between two products. */
void kfi_matmul_int8_amx(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                         size_t panel_end, const kfi_activations *x, void *scratch)
{
    assert(x->cols_padded == w->n_chunks * KFI_CHUNK_COLS);
    if (x->n_tokens < TILE_ROWS || w->format.element == KF_ELEMENT_E3M2) {
        kfi_matmul_int8_avx512vnni(y, ld_y, w, panel_begin, panel_end, x, scratch);
        return;
    }
    tiles_configure(&full_tiles);
    for (size_t t = 0; t < x->n_tokens; t += BLOCK_TOKENS) {
        const size_t left = x->n_tokens - t;
        const size_t n = left > BLOCK_TOKENS ? BLOCK_TOKENS : left > TILE_ROWS ? left : TILE_ROWS;
        const size_t first = left < TILE_ROWS ? x->n_tokens - TILE_ROWS : t;
        const kfi_activations some = kfi_activations_from(x, first, n);
        multiply_tokens(y + first * ld_y, ld_y, w, panel_begin, panel_end, &some, scratch);
    }
    tiles_release();
}
