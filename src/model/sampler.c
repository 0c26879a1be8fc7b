/* sampler.c - choosing the next token.
 *
 * The vocabulary is never sorted: top-k holds the k likeliest so far in a heap, least first, which
 * most ids do not enter; what it leaves stands in a heap, greatest first, and the other filters
 * only decide how many are taken off it.
 *
 * Source: top-p: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020,
 * arXiv:1904.09751; min-p: Nguyen et al., 2024, arXiv:2407.01082; repetition penalty: Keskar et
 * al., "CTRL", 2019, arXiv:1909.05858.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kerf/sampler.h"

#include <math.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/rng.h"

#define MAX_WINDOW 65536u

typedef struct candidate {
    float logit;
    uint32_t id;
    double weight; /* exp((logit - greatest) / temperature) */
} candidate;

struct kf_sampler {
    kf_sampler_options options;
    size_t n;
    kfi_rng rng;
    candidate *candidates; /* [n], of which top-k uses k */
    bool *seen;            /* [n], all false between calls */
    uint32_t *recent;      /* a ring of repetition_window ids */
    size_t n_recent, i_recent;
};

/* ---- new and free ---- */

static kf_status check(double value, double least, double most, const char *name, kf_error *err)
{
    if (!(value >= least && value <= most)) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%s is %g, expected %g to %g", name, value,
                        least, most);
    }
    return KF_OK;
}

static kf_status check_options(const kf_sampler_options *options, size_t n, kf_error *err)
{
    if (options->size != sizeof *options) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "options of %zu bytes, expected %zu",
                        options->size, sizeof *options);
    }
    KFI_TRY(check((double)n, 1, (double)UINT32_MAX, "the vocabulary", err));
    KFI_TRY(check((double)options->temperature, 0, 100, "temperature", err));
    KFI_TRY(check((double)options->top_p, 0, 1, "top_p", err));
    KFI_TRY(check((double)options->min_p, 0, 1, "min_p", err));
    KFI_TRY(check((double)options->repetition_penalty, 0.01, 100, "repetition_penalty", err));
    return check(options->repetition_window, 0, MAX_WINDOW, "repetition_window", err);
}

kf_status kf_sampler_new(kf_sampler **sampler, size_t n, const kf_sampler_options *options,
                         kf_error *err)
{
    const kf_sampler_options defaults = KF_SAMPLER_OPTIONS_INIT;
    options = options == NULL ? &defaults : options;
    *sampler = NULL;
    KFI_TRY(check_options(options, n, err));
    kf_sampler *s = kfi_calloc(options->alloc, 1, sizeof *s);
    if (s == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a sampler");
    }
    s->options = *options;
    s->n = n;
    kfi_rng_init(&s->rng, options->seed);
    s->candidates = kfi_calloc(options->alloc, n, sizeof *s->candidates);
    s->seen = kfi_calloc(options->alloc, n, sizeof *s->seen);
    s->recent = kfi_calloc(options->alloc, options->repetition_window, sizeof *s->recent);
    if (s->candidates == NULL || s->seen == NULL || s->recent == NULL) {
        kf_sampler_free(s);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a sampler of %zu ids", n);
    }
    *sampler = s;
    return KF_OK;
}

void kf_sampler_free(kf_sampler *sampler)
{
    if (sampler == NULL) {
        return;
    }
    const kf_allocator *alloc = sampler->options.alloc;
    kfi_free(alloc, sampler->candidates, sampler->n * sizeof *sampler->candidates);
    kfi_free(alloc, sampler->seen, sampler->n * sizeof *sampler->seen);
    kfi_free(alloc, sampler->recent, sampler->options.repetition_window * sizeof *sampler->recent);
    kfi_free(alloc, sampler, sizeof *sampler);
}

/* ---- repetition ---- */

void kf_sampler_accept(kf_sampler *sampler, uint32_t id)
{
    const size_t window = sampler->options.repetition_window;
    if (window == 0 || id >= sampler->n) {
        return;
    }
    sampler->recent[sampler->i_recent] = id;
    sampler->i_recent = (sampler->i_recent + 1) % window;
    sampler->n_recent += sampler->n_recent < window ? 1 : 0;
}

/* Each id of the window once, however often it occurred. */
static void penalize(kf_sampler *s, float *logits)
{
    const float penalty = s->options.repetition_penalty;
    if (penalty == 1.0f) { /* exactly: the value that turns it off */
        return;
    }
    for (size_t i = 0; i < s->n_recent; i++) {
        const uint32_t id = s->recent[i];
        if (!s->seen[id]) {
            s->seen[id] = true;
            logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
        }
    }
    for (size_t i = 0; i < s->n_recent; i++) {
        s->seen[s->recent[i]] = false;
    }
}

/* ---- heaps ---- */

typedef bool order_fn(const candidate *a, const candidate *b);

static inline bool likelier(const candidate *a, const candidate *b)
{
    /* A greater logit, or exactly the same and a lower id. */
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static inline bool unlikelier(const candidate *a, const candidate *b)
{
    return likelier(b, a);
}

static inline void sift_down(candidate *heap, size_t n, size_t i, order_fn *before)
{
    const candidate moved = heap[i];
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!before(&heap[child], &moved)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static inline void make_heap(candidate *heap, size_t n, order_fn *before)
{
    for (size_t i = n / 2; i-- > 0;) {
        sift_down(heap, n, i, before);
    }
}

/* Takes the likeliest of n off the heap; it then stands at heap[n - 1]. */
static void take_first(candidate *heap, size_t n)
{
    const candidate first = heap[0];
    heap[0] = heap[n - 1];
    sift_down(heap, n - 1, 0, likelier);
    heap[n - 1] = first;
}

/* ---- choosing ---- */

static size_t first_maximum(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

/* Makes candidates of the top_k likeliest ids, or of all; returns how many. */
static size_t select_top_k(kf_sampler *s, const float *logits)
{
    candidate *heap = s->candidates;
    const uint32_t top_k = s->options.top_k;
    const size_t k = top_k == 0 || top_k > s->n ? s->n : top_k;
    for (size_t i = 0; i < k; i++) {
        heap[i] = (candidate){.logit = logits[i], .id = (uint32_t)i};
    }
    if (k < s->n) {
        make_heap(heap, k, unlikelier);
    }
    for (size_t i = k; i < s->n; i++) {
        if (logits[i] > heap[0].logit) { /* ids ascend: an equal one comes behind */
            heap[0] = (candidate){.logit = logits[i], .id = (uint32_t)i};
            sift_down(heap, k, 0, unlikelier);
        }
    }
    return k;
}

/* Weighs n candidates; returns the sum. */
static double weigh(kf_sampler *s, size_t n, float greatest)
{
    const double scale = 1.0 / (double)s->options.temperature;
    double total = 0;
    for (size_t i = 0; i < n; i++) {
        candidate *c = &s->candidates[i];
        c->weight = exp(((double)c->logit - (double)greatest) * scale);
        total += c->weight;
    }
    return total;
}

/* Moves those of n candidates that pass top-p and min-p to the end, the most likely last, and
 * returns where they begin. total: the sum of all weights. */
static size_t filter(kf_sampler *s, size_t n, double total)
{
    candidate *heap = s->candidates;
    const double top_p = (double)s->options.top_p;
    const double min_p = (double)s->options.min_p;
    if (top_p >= 1.0 && min_p <= 0.0) {
        return 0; /* nothing to filter: any order does */
    }
    double sum = 0;
    size_t begin = n;
    make_heap(heap, n, likelier);
    for (; begin > 0; begin--) {
        take_first(heap, begin);
        const double weight = heap[begin - 1].weight; /* the greatest weight is 1 */
        if (begin < n && (sum >= top_p * total || weight < min_p)) {
            break;
        }
        sum += weight;
    }
    return begin;
}

/* 53 random bits in [0, 1). */
static double uniform(kfi_rng *rng)
{
    return (double)(kfi_rng_next(rng) >> 11) * 0x1p-53;
}

/* One of the candidates begin … n-1. */
static uint32_t draw(kf_sampler *s, size_t begin, size_t n)
{
    double total = 0;
    for (size_t i = begin; i < n; i++) {
        total += s->candidates[i].weight;
    }
    double left = uniform(&s->rng) * total;
    uint32_t last = s->candidates[n - 1].id;
    for (size_t i = n; i-- > begin;) {
        if (s->candidates[i].weight > 0) {
            last = s->candidates[i].id; /* rounding may leave something over at the end */
            if (left < s->candidates[i].weight) {
                break;
            }
        }
        left -= s->candidates[i].weight;
    }
    return last;
}

uint32_t kf_sampler_next(kf_sampler *sampler, float *logits)
{
    for (size_t i = 0; i < sampler->n; i++) {
        logits[i] = isnan(logits[i]) ? -INFINITY : logits[i];
    }
    penalize(sampler, logits);
    const size_t best = first_maximum(logits, sampler->n);
    if (sampler->options.temperature <= 0.0f || !isfinite(logits[best])) {
        return (uint32_t)best;
    }
    const size_t n = select_top_k(sampler, logits);
    const double total = weigh(sampler, n, logits[best]);
    return draw(sampler, filter(sampler, n, total), n);
}
