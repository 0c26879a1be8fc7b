/* float_steps_amx.h - what vectors make of the sums of tiles: the float steps of matmul_int8_amx.c.
 *
 * A step takes the stored sums of 16 or 32 tokens x 16 rows, undoes the zeros with the sums of the
 * tokens' codes, and adds to the totals in the order that kernels.h defines.
 *
 * Included once by matmul_int8_amx.c, after its types.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
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
INLINE void add_segments_of(const bool is_plain, const size_t n_steps, sums *acc,
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
        lanes total = lanes_load(acc->totals[p][t]);
        UNROLL
        for (size_t i = 0; i < n_steps; i++) {
            const float scale_x = scales_x[(first + i) >> job->segments.token_shift];
            const ilanes minus_sum = ilanes_set1(minus_sums[i]);
            ilanes isum = ilanes_load(isums[i].of[p][t]);
            isum = is_plain ? dot_words(isum, zeros[i], minus_sum)
                            : ilanes_add(isum, ilanes_mul(zeros[i], minus_sum));
            total = add_segment(total, isum, scales[i], scale_x);
            if (!is_plain && w->format.zero == KF_ZERO_OFFSET) {
                const size_t i_grid = segment_grid(job, at->i_panel + p, first + i);
                total = add_offset(total, w, i_grid, -minus_sums[i], scale_x);
            }
        }
        lanes_store(acc->totals[p][t], total);
    }
}

static void add_segments(sums *acc, const isum_step *isums, const work *job, const block *at,
                         size_t p, size_t first, size_t n_steps)
{
    const bool is_plain =
        job->segments.n_chunks <= SHORT_CHUNKS && job->w->format.zero != KF_ZERO_OFFSET;
    if (is_plain && n_steps == STEPS) {
        add_segments_of(true, STEPS, acc, isums, job, at, p, first);
        return;
    }
    for (size_t i = 0; i < n_steps; i++) {
        add_segments_of(false, 1, acc, isums + i, job, at, p, first + i);
    }
}

/* The same with multiplied codes, where a step is one sum over some segments. */
static void add_sums(sums *acc, const isum_step *isums, const work *job, const block *at, size_t p,
                     size_t first, size_t n_steps)
{
    for (size_t t = 0; t < at->n_tiles * TILE_ROWS; t++) {
        const size_t token = block_token(at, t);
        const int32_t *minus_sums = job->minus_sums + token * job->segments.n;
        const float *scales_x = job->x->scales + token * job->x->n_groups;
        lanes total = lanes_load(acc->totals[p][t]);
        for (size_t i = 0; i < n_steps; i++) {
            ilanes isum = ilanes_load(isums[i].of[p][t]);
            const size_t begin = (first + i) * job->step_segments;
            const size_t end = least(begin + job->step_segments, job->segments.n);
            for (size_t s = begin; s < end; s++) {
                const size_t group = s >> job->segments.weight_shift;
                const ilanes zeros = ilanes_load(job->zeros[p] + group * KFI_LINE_BYTES);
                isum = dot_words(isum, zeros, ilanes_set1(minus_sums[s]));
            }
            const lanes scale_x = lanes_set1(scales_x[begin >> job->segments.token_shift]);
            total = lanes_fma(lanes_of_int(isum), scale_x, total);
        }
        lanes_store(acc->totals[p][t], total);
    }
}

/* n_steps steps from `first` on, isums beginning with it. */
static void add_steps(sums *acc, const isum_step *isums, const work *job, const block *at,
                      size_t first, size_t n_steps)
{
    for (size_t p = 0; p < at->n_panels; p++) {
        (job->is_two_level ? add_sums : add_segments)(acc, isums, job, at, p, first, n_steps);
    }
}

static void store_results(const sums *acc, const work *job, const block *at)
{
    for (size_t p = 0; p < at->n_panels; p++) {
        const size_t panel = at->i_panel + p;
        const lanes row_scales =
            job->is_two_level ? panel_row_scales(job->w, panel) : lanes_set1(1.0f);
        for (size_t t = 0; t < at->n_tiles * TILE_ROWS; t++) {
            float *y = job->y + block_token(at, t) * job->ld_y + panel * KFI_PANEL_ROWS;
            lanes_store_n(y, lanes_mul(lanes_load(acc->totals[p][t]), row_scales),
                          panel_rows(job->w, panel));
        }
    }
}
