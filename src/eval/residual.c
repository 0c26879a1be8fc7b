/* residual.c - where a quantized model's error is born: its residual stream beside a reference's.
 *
 * Both run over the same pieces of a window in turns. What the reference's stream is behind each
 * block of a piece is kept, and compared while the model computes that piece:
 *
 *     states [layer][PIECE_TOKENS][hidden]
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fail.h"
#include "base/report.h"
#include "eval/windows.h"
#include "model/forward.h"

#define PIECE_TOKENS ((size_t)128)

typedef struct side {
    kf_model *model;
    kf_session *session;
    kfi_front front;
} side;

typedef struct residual {
    const kf_eval_options *options;
    side model, reference;
    size_t n_layers, hidden, window, windows;
    uint32_t *ids;             /* [front + window] */
    float *states;             /* [n_layers][PIECE_TOKENS][hidden], the reference's */
    size_t i_token;            /* of the window, where the piece begins */
    kf_residual_error *errors; /* sums, then means; [n_layers] */
} residual;

static size_t band_of(size_t i_token)
{
    size_t i = 0;
    while (i + 1 < KF_EVAL_BANDS && i_token >> (i + 1) > 0) {
        i++;
    }
    return i;
}

static void keep_states(void *ctx, size_t i_layer, const float *x, size_t n)
{
    residual *r = ctx;
    memcpy(r->states + i_layer * PIECE_TOKENS * r->hidden, x, n * r->hidden * sizeof *x);
}

/* ||x - y|| / ||y||; of two that are both 0 it is 0. */
static double relative_error(const float *x, const float *y, size_t n)
{
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - (double)y[i];
        difference += d * d;
        norm += (double)y[i] * (double)y[i];
    }
    return difference > 0 ? sqrt(difference / norm) : difference; /* NaN stays NaN */
}

static void add_errors(void *ctx, size_t i_layer, const float *x, size_t n)
{
    residual *r = ctx;
    kf_residual_error *e = &r->errors[i_layer];
    const float *states = r->states + i_layer * PIECE_TOKENS * r->hidden;
    for (size_t t = 0; t < n; t++) {
        const double error = relative_error(x + t * r->hidden, states + t * r->hidden, r->hidden);
        const size_t i_token = r->i_token + t;
        if (i_token == 0) {
            e->first += error;
        } else {
            e->others += error;
            e->bands[band_of(i_token)] += error;
        }
    }
}

static kf_status open_side(const residual *r, side *s, bool is_reference, kf_error *err)
{
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    KFI_TRY(kfi_windows_fit(s->model, &s->front, r->window, err));
    options.context = s->front.n + r->window;
    options.batch = PIECE_TOKENS;
    options.no_prefix = s->front.no_prefix;
    options.kv = is_reference ? KF_KV_F32 : r->options->kv;
    options.kv_exact = is_reference ? 0 : r->options->kv_exact;
    return kf_session_new(&s->session, s->model, &options, err);
}

/* Begins a window: what stands in front of it is in the cache, unwatched. */
static kf_status begin(const residual *r, const side *s, kf_error *err)
{
    const kfi_watch nobody = {NULL, NULL};
    size_t used = 0;
    kfi_session_watch(s->session, &nobody);
    KFI_TRY(kf_session_begin(s->session, r->ids, s->front.n + r->window, &used, err));
    return used < s->front.n ? kf_session_eval(s->session, r->ids + used, s->front.n - used, err)
                             : KF_OK;
}

static kf_status compare_window(residual *r, const uint32_t *ids, kf_error *err)
{
    const kfi_watch keep = {keep_states, r};
    const kfi_watch add = {add_errors, r};
    const uint32_t *window = r->ids + r->model.front.n;
    memcpy(r->ids + r->model.front.n, ids, r->window * sizeof *ids);
    KFI_TRY(begin(r, &r->reference, err));
    KFI_TRY(begin(r, &r->model, err));
    kfi_session_watch(r->reference.session, &keep);
    kfi_session_watch(r->model.session, &add);
    for (r->i_token = 0; r->i_token < r->window; r->i_token += PIECE_TOKENS) {
        const size_t n_left = r->window - r->i_token;
        const size_t n = n_left < PIECE_TOKENS ? n_left : PIECE_TOKENS;
        KFI_TRY(kf_session_eval(r->reference.session, window + r->i_token, n, err));
        KFI_TRY(kf_session_eval(r->model.session, window + r->i_token, n, err));
    }
    return KF_OK;
}

static kf_status compare_windows(residual *r, const uint32_t *ids, kf_error *err)
{
    kfi_report report;
    kfi_report_init(&report, r->options->callbacks);
    for (size_t i = 0; i < r->windows; i++) {
        if (kfi_report_cancelled(r->options->callbacks)) {
            return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled after %zu of %zu windows",
                            i, r->windows);
        }
        kfi_report_progress(&report, "comparing blocks", "windows", i, r->windows);
        KFI_TRY(compare_window(r, ids + i * r->window, err));
    }
    kfi_report_progress(&report, "comparing blocks", "windows", r->windows, r->windows);
    return KF_OK;
}

/* Sums become means. */
static void finish(const residual *r)
{
    const size_t n_bands = band_of(r->window - 1) + 1;
    for (size_t l = 0; l < r->n_layers; l++) {
        kf_residual_error *e = &r->errors[l];
        e->first /= (double)r->windows;
        e->others /= (double)(r->windows * (r->window - 1));
        for (size_t i = 0; i < KF_EVAL_BANDS; i++) {
            const size_t end = i + 1 < n_bands ? (size_t)2 << i : r->window;
            const size_t n_tokens = i < n_bands ? end - ((size_t)1 << i) : 0;
            e->bands[i] =
                n_tokens > 0 ? e->bands[i] / (double)(r->windows * n_tokens) : (double)NAN;
        }
    }
}

static kf_status check(residual *r, size_t n_errors, const uint32_t *ids, size_t n, kf_error *err)
{
    const kf_eval_options *o = r->options;
    const kfi_config *config = kfi_model_config(r->model.model);
    const kfi_config *other = kfi_model_config(o->reference);
    r->n_layers = config->n_layers;
    r->hidden = config->hidden;
    r->window = o->window;
    if (n_errors != r->n_layers) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "room for %zu blocks, the model has %zu",
                        n_errors, r->n_layers);
    }
    KFI_TRY(kfi_windows_same_vocabulary(r->model.model, o->reference, err));
    if (other->n_layers != r->n_layers || other->hidden != r->hidden) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "the reference has %zu blocks of width %zu, the model %zu of %zu",
                        other->n_layers, other->hidden, r->n_layers, r->hidden);
    }
    return kfi_windows_count(&r->windows, r->window, o->windows, ids, n, config->vocabulary, err);
}

static kf_status open_both(residual *r, kf_error *err)
{
    const kf_allocator *alloc = r->options->alloc;
    r->ids = kfi_calloc(alloc, r->model.front.n + r->window, sizeof *r->ids);
    r->states = kfi_calloc(alloc, r->n_layers * PIECE_TOKENS * r->hidden, sizeof *r->states);
    if (r->ids == NULL || r->states == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "residual streams of %zu tokens",
                        PIECE_TOKENS);
    }
    for (size_t i = 0; i < r->model.front.n; i++) {
        r->ids[i] = r->model.front.ids[i];
    }
    KFI_TRY(open_side(r, &r->model, false, err));
    return open_side(r, &r->reference, true, err);
}

kf_status kf_eval_residual(kf_residual_error *errors, size_t n_layers, kf_model *model,
                           const uint32_t *ids, size_t n, const kf_eval_options *options,
                           kf_error *err)
{
    residual r = {.options = options, .errors = errors};
    if (options->size != sizeof *options || options->reference == NULL) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "expected options of this version of the library, with a reference");
    }
    r.model.model = model;
    r.model.front = kfi_front_of_model(model, options->start, options->n_start, options->no_prefix);
    r.reference.model = options->reference;
    r.reference.front = kfi_front_of_reference(options->reference, &r.model.front);
    KFI_TRY(check(&r, n_layers, ids, n, err));
    memset(errors, 0, n_layers * sizeof *errors);
    kf_status st = open_both(&r, err);
    if (st == KF_OK) {
        st = compare_windows(&r, ids, err);
    }
    if (st == KF_OK) {
        finish(&r);
    }
    kf_session_free(r.model.session);
    kf_session_free(r.reference.session);
    kfi_free(options->alloc, r.ids, (r.model.front.n + r.window) * sizeof *r.ids);
    kfi_free(options->alloc, r.states, r.n_layers * PIECE_TOKENS * r.hidden * sizeof *r.states);
    return st;
}
