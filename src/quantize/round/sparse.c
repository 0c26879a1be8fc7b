/* sparse.c - single weights beside a matrix.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/round/sparse.h"

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"

#define HALF_MOST 65504.0f

void kfi_sparse_magnitude(float *scores, const kfi_round_job *job, size_t row, const void *ctx)
{
    (void)ctx;
    for (size_t c = 0; c < job->cols; c++) {
        scores[c] = fabsf(job->weights[row * job->cols + c]);
    }
}

void kfi_sparse_sensitivity(float *scores, const kfi_round_job *job, size_t row, const void *ctx)
{
    const float *importance = ctx;
    for (size_t c = 0; c < job->cols; c++) {
        const float w = job->weights[row * job->cols + c];
        scores[c] = w * w * importance[c];
    }
}

/* ---- the highest scores ---- */

#define N_BINS (KFI_SPARSE_BIN_BYTES / sizeof(uint32_t))
_Static_assert(N_BINS == 1u << 16, "half of a key tells the bin");

typedef struct choosing {
    kfi_round_job *job;
    const kfi_sparse_rule *rule;
    float *scores;  /* [cols] */
    uint32_t *bins; /* [N_BINS] */
} choosing;

/* Positive floats are ordered as their bits are; 0: not to be chosen. */
static uint32_t key_of(const choosing *c, size_t row, size_t col)
{
    const bool is_free = c->job->sparse.marks[row * c->job->cols + col] == 0;
    return is_free && c->scores[col] > c->rule->least ? kfi_float_bits(c->scores[col]) : 0;
}

/* Counts keys by their low half where the high one is `high`; or by their high half. */
static void count_keys(const choosing *c, bool by_low, uint32_t high)
{
    memset(c->bins, 0, N_BINS * sizeof *c->bins);
    for (size_t r = 0; r < c->job->rows; r++) {
        c->rule->score(c->scores, c->job, r, c->rule->ctx);
        for (size_t col = 0; col < c->job->cols; col++) {
            const uint32_t key = key_of(c, r, col);
            if (key != 0 && (!by_low || key >> 16 == high)) {
                c->bins[by_low ? key & 0xFFFFu : key >> 16]++;
            }
        }
    }
}

/* The bin in which the n-th from above lies, counted from 1, and which it is there; bin 0 where
 * there are fewer. */
static uint32_t find_bin(const choosing *c, size_t *n)
{
    uint32_t bin = N_BINS - 1;
    while (bin > 0 && c->bins[bin] < *n) {
        *n -= c->bins[bin--];
    }
    return bin;
}

/* Marks all above a key and the first n of those that have it. */
static void mark(const choosing *c, uint32_t least, size_t n)
{
    for (size_t r = 0; r < c->job->rows; r++) {
        c->rule->score(c->scores, c->job, r, c->rule->ctx);
        for (size_t col = 0; col < c->job->cols; col++) {
            const uint32_t key = key_of(c, r, col);
            const bool is_last = key == least && n > 0;
            if (key != 0 && (key > least || is_last)) {
                c->job->sparse.marks[r * c->job->cols + col] = 1;
                n -= is_last;
            }
        }
    }
}

static void choose(const choosing *c)
{
    size_t n = kfi_sparse_count(c->rule->fraction, c->job->rows, c->job->cols);
    if (n == 0) {
        return;
    }
    count_keys(c, false, 0);
    const uint32_t high = find_bin(c, &n);
    count_keys(c, true, high);
    const uint32_t low = find_bin(c, &n);
    mark(c, high << 16 | low, n);
}

static kf_status choose_all(kfi_round_job *job, const kfi_sparse_rule *rules, size_t n_rules,
                            kf_error *err)
{
    kf_status st = KF_OK;
    choosing c = {.job = job};
    c.scores = kfi_alloc(job->alloc, job->cols * sizeof *c.scores);
    c.bins = kfi_alloc(job->alloc, N_BINS * sizeof *c.bins);
    job->sparse.marks = kfi_calloc(job->alloc, job->rows * job->cols, 1);
    if (c.scores == NULL || c.bins == NULL || job->sparse.marks == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "marks of %zu x %zu weights", job->rows,
                      job->cols);
    }
    for (size_t i = 0; i < n_rules && st == KF_OK; i++) {
        c.rule = &rules[i];
        choose(&c);
    }
    kfi_free(job->alloc, c.bins, N_BINS * sizeof *c.bins);
    kfi_free(job->alloc, c.scores, job->cols * sizeof *c.scores);
    return st;
}

/* ---- the part ---- */

static size_t count_marks(const uint8_t *marks, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += marks[i];
    }
    return sum;
}

void kfi_sparse_move(kfi_round_job *job, size_t row)
{
    const uint8_t *marks = job->sparse.marks + row * job->cols;
    size_t i = job->sparse.starts[row];
    for (size_t c = 0; c < job->cols; c++) {
        if (marks[c] != 0) {
            job->sparse.columns[i] = (uint16_t)c;
            job->sparse.values[i++] = 0;
        }
    }
}

/* Starts and columns of what is marked, and the rest. */
static kf_status make_part(kfi_round_job *job, kf_error *err)
{
    kfi_sparse_part *s = &job->sparse;
    const size_t n_weights = job->rows * job->cols;
    s->n = count_marks(s->marks, n_weights);
    if (s->n == 0) {
        return KF_OK;
    }
    s->starts = kfi_calloc(job->alloc, job->rows + 1, sizeof *s->starts);
    s->columns = kfi_alloc(job->alloc, s->n * sizeof *s->columns);
    s->values = kfi_alloc(job->alloc, s->n * sizeof *s->values);
    s->rest = kfi_alloc(job->alloc, n_weights * sizeof *s->rest);
    if (s->starts == NULL || s->columns == NULL || s->values == NULL || s->rest == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu single weights", s->n);
    }
    for (size_t r = 0; r < job->rows; r++) {
        s->starts[r + 1] =
            s->starts[r] + (uint32_t)count_marks(s->marks + r * job->cols, job->cols);
        kfi_sparse_move(job, r);
    }
    for (size_t i = 0; i < n_weights; i++) {
        s->rest[i] = s->marks[i] != 0 ? 0.0f : job->weights[i];
    }
    s->whole = job->weights;
    job->weights = s->rest;
    job->is_fitted = false;
    job->has_table = false;
    return KF_OK;
}

static bool wants_any(const kfi_round_job *job, const kfi_sparse_rule *rules, size_t n_rules)
{
    bool any = false;
    for (size_t i = 0; i < n_rules; i++) {
        any = any || kfi_sparse_count(rules[i].fraction, job->rows, job->cols) > 0;
    }
    return any && job->takes_sparse;
}

kf_status kfi_sparse_begin(kfi_round_job *job, const kfi_sparse_rule *rules, size_t n_rules,
                           kf_error *err)
{
    kfi_sparse_clear(job);
    if (!wants_any(job, rules, n_rules)) {
        return KF_OK;
    }
    if (job->cols > KFI_SPARSE_COLS_MOST) {
        return kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                        "single weights beside a matrix of %zu columns, at most %u", job->cols,
                        KFI_SPARSE_COLS_MOST);
    }
    kf_status st = choose_all(job, rules, n_rules, err);
    if (st == KF_OK) {
        st = make_part(job, err);
    }
    if (st != KF_OK || job->sparse.n == 0) {
        kfi_sparse_clear(job);
    }
    return st;
}

void kfi_sparse_close(kfi_round_job *job)
{
    kfi_sparse_part *s = &job->sparse;
    const size_t n_weights = job->rows * job->cols;
    job->weights = s->whole != NULL ? s->whole : job->weights;
    kfi_free(job->alloc, s->rest, n_weights * sizeof *s->rest);
    kfi_free(job->alloc, s->marks, n_weights);
    s->whole = NULL;
    s->rest = NULL;
    s->marks = NULL;
}

void kfi_sparse_clear(kfi_round_job *job)
{
    kfi_sparse_part *s = &job->sparse;
    kfi_sparse_close(job);
    kfi_free(job->alloc, s->starts, (job->rows + 1) * sizeof *s->starts);
    kfi_free(job->alloc, s->columns, s->n * sizeof *s->columns);
    kfi_free(job->alloc, s->values, s->n * sizeof *s->values);
    *s = (kfi_sparse_part){0};
}

/* ---- values ---- */

uint16_t kfi_sparse_half(float value)
{
    return kfi_half_from_float(fminf(fmaxf(value, -HALF_MOST), HALF_MOST));
}

float kfi_sparse_set(kfi_round_job *job, size_t row, size_t col, float value)
{
    const kfi_sparse_part *s = &job->sparse;
    size_t low = s->starts[row];
    size_t high = s->starts[row + 1];
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        low = s->columns[middle] <= col ? middle : low;
        high = s->columns[middle] <= col ? high : middle;
    }
    s->values[low] = kfi_sparse_half(value);
    return kfi_half_to_float(s->values[low]);
}

float kfi_sparse_move_to(kfi_round_job *job, size_t row, size_t col, float read, float more)
{
    const float whole = job->sparse.whole[row * job->cols + col];
    return read + kfi_sparse_set(job, row, col, whole + more - read) - whole;
}

void kfi_sparse_subtract_row(float *e, const kfi_round_job *job, size_t row)
{
    const kfi_sparse_part *s = &job->sparse;
    for (size_t i = s->n == 0 ? 0 : s->starts[row]; s->n > 0 && i < s->starts[row + 1]; i++) {
        e[s->columns[i]] -= kfi_half_to_float(s->values[i]);
    }
}

void kfi_sparse_fill(kfi_round_job *job)
{
    const kfi_sparse_part *s = &job->sparse;
    const float *weights = s->whole;
    const kfi_levels levels = kfi_round_levels(job);
    const size_t group = kfi_format_group(job->format, job->cols);
    const size_t n_groups = kfi_format_groups(job->format, job->cols);
    for (size_t r = 0; s->n > 0 && r < job->rows; r++) {
        for (size_t i = s->starts[r]; i < s->starts[r + 1]; i++) {
            const size_t c = s->columns[i];
            const kfi_grid *grid = &job->grids[r * n_groups + c / group];
            const float w = weights[r * job->cols + c];
            const uint8_t code = job->codes[r * job->cols + c];
            s->values[i] = kfi_sparse_half(w - kfi_grid_decode(grid, levels, code));
        }
    }
}

void kfi_sparse_end(kfi_round_job *job)
{
    kfi_sparse_fill(job);
    kfi_sparse_close(job);
}
