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
 * Panels are unpacked once for every BLOCK_TOKENS tokens, whose codes stay in the second-level
 * cache. The last tile of tokens begins 16 tokens before the end: some are done twice, alike.
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
#define BLOCK_TOKENS 256u
#define STEPS        4 /* 16 KiB of sums */
#define SHORT_CHUNKS 8 /* a sum of so many chunks of activations has 16 bits */

/* One thread's work on some tokens and its pieces of scratch memory. */
typedef struct work {
    float *y;
    size_t ld_y;
    const kfi_packed *w;
    const kfi_activations *x; /* of 16 … BLOCK_TOKENS tokens */
    kfi_segments segments;
    bool is_two_level;
    uint8_t *codes[PANELS]; /* unpacked */
    uint8_t *zeros[PANELS]; /* of multiplied codes: [group][16] 32-bit words */
    int32_t *minus_sums;    /* [token][segment], of the activations' codes */
} work;

/* 16 or 32 tokens and rows. */
typedef struct block {
    size_t tokens[2]; /* first of 16 */
    size_t n_tiles;   /* of tokens */
    size_t i_panel;
    size_t n_panels;
} block;

/* Sums of a step. */
typedef struct isum_step {
    alignas(64) int32_t of[PANELS][2 * TILE_ROWS][KFI_PANEL_ROWS];
} isum_step;

typedef struct totals {
    alignas(64) float of[PANELS][2 * TILE_ROWS][KFI_PANEL_ROWS];
} totals;

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

/* dst = Σ q x over the chunks begin … end-1. */
INLINE void dot_chunks(const int n_tiles, const int n_panels, isum_step *dst, const work *job,
                       const block *at, size_t begin, size_t end)
{
    const size_t stride = job->x->cols_padded;
    const int8_t *const a[2] = {job->x->codes + at->tokens[0] * stride,
                                job->x->codes + at->tokens[1] * stride};
    const uint8_t *const b[PANELS] = {job->codes[0], job->codes[1]};
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (; begin + 2 <= end; begin += 2) {
        dot_64(n_tiles, n_panels, a, stride, b, begin * KFI_CHUNK_COLS);
    }
    if (begin < end) {
        dot_32(n_tiles, n_panels, a, stride, b, begin * KFI_CHUNK_COLS);
    }
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

static void dot_step(isum_step *dst, const work *job, const block *at, size_t begin, size_t end)
{
    if (at->n_tiles > 1 && at->n_panels > 1) {
        dot_chunks(2, 2, dst, job, at, begin, end);
    } else if (at->n_tiles > 1) {
        dot_chunks(2, 1, dst, job, at, begin, end);
    } else if (at->n_panels > 1) {
        dot_chunks(1, 2, dst, job, at, begin, end);
    } else {
        dot_chunks(1, 1, dst, job, at, begin, end);
    }
}

/* ---- float steps ---- */

/* Minus the sums of the codes of every token and segment. */
static void gather_sums(int32_t *dst, const kfi_activations *x, const kfi_segments *segments)
{
    const size_t n_chunks = x->cols_padded / KFI_CHUNK_COLS;
    for (size_t t = 0; t < x->n_tokens; t++) {
        for (size_t s = 0; s < segments->n; s++) {
            *dst++ = -kfi_segment_sum(x->sums + t * n_chunks, kfi_segment_begin(segments, s),
                                      kfi_segment_end(segments, s, n_chunks));
        }
    }
}

/* Token `token` of 32 and what it has. */
INLINE size_t block_token(const block *at, size_t token)
{
    return at->tokens[token / TILE_ROWS] + token % TILE_ROWS;
}

INLINE size_t segment_grid(const work *job, size_t i_panel, size_t segment)
{
    return panel_grid(job->w, i_panel, segment >> job->segments.weight_shift);
}

/* n_steps (a constant) segments from `first` on of one panel, isums beginning with it. is_plain (a
 * constant): the sums of activations are short, zeros are no offsets. So grids stay in registers.
 */
INLINE void add_segments_of(const bool is_plain, const size_t n_steps, totals *acc,
                            const isum_step *isums, const work *job, const block *at, size_t p,
                            size_t first)
{
    const kfi_packed *w = job->w;
    lanes scales[STEPS];
    ilanes zeros[STEPS];
    UNROLL
    for (size_t i = 0; i < n_steps; i++) {
        const size_t i_grid = segment_grid(job, at->i_panel + p, first + i);
        scales[i] = panel_scales(w, i_grid);
        zeros[i] = panel_zeros(w, i_grid);
    }
    for (size_t t = 0; t < at->n_tiles * TILE_ROWS; t++) {
        const size_t token = block_token(at, t);
        const int32_t *minus_sums = job->minus_sums + token * job->segments.n + first;
        const float *scales_x = job->x->scales + token * job->x->n_groups;
        lanes total = lanes_load(acc->of[p][t]);
        UNROLL
        for (size_t i = 0; i < n_steps; i++) {
            const float scale_x = scales_x[(first + i) >> job->segments.token_shift];
            const ilanes minus_sum = ilanes_set1(minus_sums[i]);
            ilanes isum = ilanes_load(isums[i].of[p][t]);
            isum = is_plain ? dot_words(isum, zeros[i], minus_sum)
                            : ilanes_add(isum, ilanes_mul(zeros[i], minus_sum));
            total = lanes_fma(lanes_of_int(isum), lanes_mul(scales[i], lanes_set1(scale_x)), total);
            if (!is_plain && w->format.zero == KF_ZERO_OFFSET) {
                const size_t i_grid = segment_grid(job, at->i_panel + p, first + i);
                const lanes offsets = lanes_mul(panel_offsets(w, i_grid), lanes_set1(scale_x));
                total = lanes_fma(lanes_set1((float)-minus_sums[i]), offsets, total);
            }
        }
        lanes_store(acc->of[p][t], total);
    }
}

static void add_segments(totals *acc, const isum_step *isums, const work *job, const block *at,
                         size_t p, const size_t *ends, size_t n_steps)
{
    const bool is_plain =
        job->segments.n_chunks <= SHORT_CHUNKS && job->w->format.zero != KF_ZERO_OFFSET;
    if (is_plain && n_steps == STEPS) {
        add_segments_of(true, STEPS, acc, isums, job, at, p, ends[0]);
        return;
    }
    for (size_t i = 0; i < n_steps; i++) {
        add_segments_of(false, 1, acc, isums + i, job, at, p, ends[i]);
    }
}

/* The same with multiplied codes, where a step is one sum over some segments. */
static void add_sums(totals *acc, const isum_step *isums, const work *job, const block *at,
                     size_t p, const size_t *ends, size_t n_steps)
{
    for (size_t t = 0; t < at->n_tiles * TILE_ROWS; t++) {
        const size_t token = block_token(at, t);
        const int32_t *minus_sums = job->minus_sums + token * job->segments.n;
        const float *scales_x = job->x->scales + token * job->x->n_groups;
        lanes total = lanes_load(acc->of[p][t]);
        for (size_t i = 0; i < n_steps; i++) {
            ilanes isum = ilanes_load(isums[i].of[p][t]);
            for (size_t s = ends[i]; s < ends[i + 1]; s++) {
                const size_t group = s >> job->segments.weight_shift;
                const ilanes zeros = ilanes_load(job->zeros[p] + group * KFI_LINE_BYTES);
                isum = dot_words(isum, zeros, ilanes_set1(minus_sums[s]));
            }
            const lanes scale_x = lanes_set1(scales_x[ends[i] >> job->segments.token_shift]);
            total = lanes_fma(lanes_of_int(isum), scale_x, total);
        }
        lanes_store(acc->of[p][t], total);
    }
}

static void store_results(const totals *acc, const work *job, const block *at)
{
    for (size_t p = 0; p < at->n_panels; p++) {
        const size_t panel = at->i_panel + p;
        const lanes row_scales =
            job->is_two_level ? panel_row_scales(job->w, panel) : lanes_set1(1.0f);
        for (size_t t = 0; t < at->n_tiles * TILE_ROWS; t++) {
            float *y = job->y + block_token(at, t) * job->ld_y + panel * KFI_PANEL_ROWS;
            lanes_store_n(y, lanes_mul(lanes_load(acc->of[p][t]), row_scales),
                          panel_rows(job->w, panel));
        }
    }
}

/* ---- blocks ---- */

static void multiply_block(const work *job, const block *at)
{
    const kfi_segments *segments = &job->segments;
    totals acc;
    isum_step isums[STEPS];
    memset(&acc, 0, sizeof acc);
    for (size_t s = 0; s < segments->n;) {
        size_t ends[STEPS + 1] = {s};
        size_t n_steps = 0;
        for (; n_steps < STEPS && s < segments->n; n_steps++) {
            const size_t next = job->is_two_level ? kfi_segment_sum_end(segments, s) : s + 1;
            dot_step(&isums[n_steps], job, at, kfi_segment_begin(segments, s),
                     kfi_segment_end(segments, next - 1, job->w->n_chunks));
            ends[n_steps + 1] = s = next;
        }
        for (size_t p = 0; p < at->n_panels; p++) {
            (job->is_two_level ? add_sums : add_segments)(&acc, isums, job, at, p, ends, n_steps);
        }
    }
    store_results(&acc, job, at);
}

/* One or two panels against all tokens of the job. */
static void multiply_panels(const work *job, size_t i_panel, size_t n_panels)
{
    for (size_t p = 0; p < n_panels; p++) {
        if (job->is_two_level) {
            unpack_multiplied(job->codes[p], job->zeros[p], job->w, i_panel + p);
        } else {
            unpack_panel(job->codes[p], job->w, i_panel + p);
        }
    }
    const size_t n = job->x->n_tokens;
    const size_t last = n - TILE_ROWS; /* where the last tile begins */
    for (size_t t = 0; t < n; t += 2 * TILE_ROWS) {
        const block at = {
            .tokens = {t < last ? t : last, t + TILE_ROWS < last ? t + TILE_ROWS : last},
            .n_tiles = t < last ? 2 : 1,
            .i_panel = i_panel,
            .n_panels = n_panels};
        multiply_block(job, &at);
    }
}

/* 16 … BLOCK_TOKENS tokens. Pieces of scratch for a column: 32 bytes of codes, 4 of zeros, 32 of
 * sums, where kfi_matmul_scratch_bytes() has 128. Of these an odd chunk may be read behind the
 * codes. */
static void multiply_tokens(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                            size_t panel_end, const kfi_activations *x, uint8_t *scratch)
{
    work job = {.y = y,
                .ld_y = ld_y,
                .w = w,
                .x = x,
                .segments = kfi_segments_make(w, x),
                .is_two_level = w->format.scale == KF_SCALE_TWO_LEVEL};
    for (size_t p = 0; p < PANELS; p++) {
        job.codes[p] = scratch + p * unpacked_bytes(w);
        job.zeros[p] = scratch + PANELS * unpacked_bytes(w) + p * multiplied_zero_bytes(w);
    }
    job.minus_sums = (int32_t *)(void *)(job.zeros[0] + PANELS * multiplied_zero_bytes(w));
    gather_sums(job.minus_sums, x, &job.segments);
    for (size_t i = panel_begin; i < panel_end; i += PANELS) {
        multiply_panels(&job, i, panel_end - i < PANELS ? 1 : PANELS);
    }
}

/* Tokens from `first` on. */
static kfi_activations tokens_from(const kfi_activations *x, size_t first, size_t n)
{
    kfi_activations some = *x;
    some.n_tokens = n;
    some.codes += first * x->cols_padded;
    some.scales += first * x->n_groups;
    some.sums += first * (x->cols_padded / KFI_CHUNK_COLS);
    return some;
}

/* Fewer tokens than a tile has go through vectors. */
void kfi_matmul_int8_amx(float *y, size_t ld_y, const kfi_packed *w, size_t panel_begin,
                         size_t panel_end, const kfi_activations *x, void *scratch)
{
    assert(x->cols_padded == w->n_chunks * KFI_CHUNK_COLS);
    if (x->n_tokens < TILE_ROWS) {
        kfi_matmul_int8_avx512vnni(y, ld_y, w, panel_begin, panel_end, x, scratch);
        return;
    }
    tiles_configure(&full_tiles);
    for (size_t t = 0; t < x->n_tokens; t += BLOCK_TOKENS) {
        const size_t left = x->n_tokens - t;
        const size_t n = left > BLOCK_TOKENS ? BLOCK_TOKENS : left > TILE_ROWS ? left : TILE_ROWS;
        const size_t first = left < TILE_ROWS ? x->n_tokens - TILE_ROWS : t;
        const kfi_activations some = tokens_from(x, first, n);
        multiply_tokens(y + first * ld_y, ld_y, w, panel_begin, panel_end, &some, scratch);
    }
    tiles_release();
}
