/* eval.c - perplexity over windows of a text, and divergence from a reference.
 *
 * For each window the hidden states of the model (and of the reference) are computed once; then
 * their heads run over pieces of HEAD_TOKENS tokens, since the logits of a whole window would take
 * hundreds of megabytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kerf/eval.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/file.h"
#include "base/quantile.h"
#include "base/report.h"
#include "base/threads.h"
#include "eval/reference.h"
#include "eval/score.h"
#include "eval/windows.h"
#include "io/npy.h"
#include "model/model.h"

#define HEAD_TOKENS  ((size_t)64)
#define BATCH_TOKENS ((size_t)1024)

/* One of the two models: where its hidden states of a window go, and its logits of a piece. */
typedef struct side {
    kf_model *model;
    kf_session *session;
    kfi_front front;
    kf_kv kv;
    size_t kv_exact;
    size_t n_hidden;
    uint32_t *ids; /* front, then the window */
    float *hidden; /* [window][n_hidden] */
    float *logits; /* [HEAD_TOKENS][vocabulary] */
} side;

typedef struct evaluation {
    const kf_eval_options *options;
    const kf_allocator *alloc;
    const uint32_t *ids;
    size_t window, windows, vocabulary;
    side model, reference; /* reference.model NULL: none */
    kfi_reference file;    /* hidden states saved before; .file NULL: none */
    kfi_reference_writer save;
    bool saving;
    kfi_npy_writer logits;
    bool writing_logits;
    kfi_score scores[HEAD_TOKENS];
    double *loss, *difference; /* window means */
    double *divergence;        /* all tokens */
    size_t agreements;
    kf_eval_band bands[KF_EVAL_BANDS];
    double seconds;
    kfi_report report;
} evaluation;

static size_t side_ids_bytes(const evaluation *e, const side *s)
{
    return (s->front.n + e->window) * sizeof *s->ids;
}

static size_t side_hidden_bytes(const evaluation *e, const side *s)
{
    return e->window * s->n_hidden * sizeof *s->hidden;
}

static size_t side_logits_bytes(const evaluation *e)
{
    return HEAD_TOKENS * e->vocabulary * sizeof(float);
}

static kf_status side_open(evaluation *e, side *s, kf_error *err)
{
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    s->n_hidden = kfi_model_config(s->model)->hidden;
    KFI_TRY(kfi_windows_fit(s->model, &s->front, e->window, err));
    options.context = e->window + s->front.n;
    options.batch = options.context < BATCH_TOKENS ? options.context : BATCH_TOKENS;
    options.no_prefix = s->front.no_prefix;
    options.kv = s->kv;
    options.kv_exact = s->kv_exact;
    KFI_TRY(kf_session_new(&s->session, s->model, &options, err));
    s->ids = kfi_alloc(e->alloc, side_ids_bytes(e, s));
    s->hidden = kfi_alloc(e->alloc, side_hidden_bytes(e, s));
    s->logits = kfi_alloc(e->alloc, side_logits_bytes(e));
    if (s->ids == NULL || s->hidden == NULL || s->logits == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "hidden states and logits of a window");
    }
    for (size_t i = 0; i < s->front.n; i++) {
        s->ids[i] = s->front.ids[i];
    }
    return KF_OK;
}

static void side_close(const evaluation *e, side *s)
{
    kf_session_free(s->session);
    kfi_free(e->alloc, s->ids, side_ids_bytes(e, s));
    kfi_free(e->alloc, s->hidden, side_hidden_bytes(e, s));
    kfi_free(e->alloc, s->logits, side_logits_bytes(e));
}

/* Hidden states of a window's tokens into s->hidden; those of what stands in front are dropped. */
static kf_status side_forward(const evaluation *e, side *s, size_t i_window, kf_error *err)
{
    const size_t n = s->front.n + e->window;
    size_t used = 0;
    memcpy(s->ids + s->front.n, e->ids + i_window * e->window, e->window * sizeof *s->ids);
    KFI_TRY(kf_session_begin(s->session, s->ids, n, &used, err));
    for (size_t i = used; i < n;) {
        const size_t n_piece = n - i < BATCH_TOKENS ? n - i : BATCH_TOKENS;
        size_t n_got = 0;
        KFI_TRY(kf_session_eval(s->session, s->ids + i, n_piece, err));
        const float *hidden = kf_session_hidden(s->session, &n_got);
        const size_t skip = i < s->front.n ? s->front.n - i : 0;
        if (n_got != n_piece) {
            return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET, "a session lost hidden states");
        }
        if (skip < n_piece) {
            memcpy(s->hidden + (i + skip - s->front.n) * s->n_hidden, hidden + skip * s->n_hidden,
                   (n_piece - skip) * s->n_hidden * sizeof *hidden);
        }
        i += n_piece;
    }
    return KF_OK;
}

typedef struct score_task {
    evaluation *e;
    const uint32_t *targets;
} score_task;

static void score_one(void *ctx, size_t i, size_t i_thread)
{
    const score_task *task = ctx;
    evaluation *e = task->e;
    const float *reference =
        e->reference.model != NULL ? e->reference.logits + i * e->vocabulary : NULL;
    (void)i_thread;
    e->scores[i] = kfi_score_token(e->model.logits + i * e->vocabulary, reference, e->vocabulary,
                                   task->targets[i]);
}

/* Scores tokens begin … begin + n - 1 of a window (each predicts its successor) into e->scores. */
static kf_status score_piece(evaluation *e, size_t i_window, size_t begin, size_t n, kf_error *err)
{
    const double started = kfi_clock_seconds();
    KFI_TRY(kf_session_head(e->model.session, e->model.logits,
                            e->model.hidden + begin * e->model.n_hidden, n, err));
    e->seconds += kfi_clock_seconds() - started;
    if (e->reference.model != NULL) {
        KFI_TRY(kf_session_head(e->reference.session, e->reference.logits,
                                e->reference.hidden + begin * e->reference.n_hidden, n, err));
    }
    const score_task task = {e, e->ids + i_window * e->window + begin + 1};
    kfi_pool_run(kfi_model_pool(e->model.model), score_one, (void *)(uintptr_t)&task, n);
    if (e->writing_logits) {
        KFI_TRY(kfi_npy_writer_rows(&e->logits, e->model.logits, n, err));
    }
    return KF_OK;
}

/* The window's last token predicts nothing that is known; its logits are still written. */
static kf_status write_last_logits(evaluation *e, kf_error *err)
{
    if (!e->writing_logits) {
        return KF_OK;
    }
    KFI_TRY(kf_session_head(e->model.session, e->model.logits,
                            e->model.hidden + (e->window - 1) * e->model.n_hidden, 1, err));
    return kfi_npy_writer_rows(&e->logits, e->model.logits, 1, err);
}

static kf_status reference_forward(evaluation *e, size_t i_window, kf_error *err)
{
    if (e->reference.model == NULL) {
        return KF_OK;
    }
    if (e->file.file != NULL) {
        return kfi_reference_read(&e->file, e->reference.hidden, i_window, 0, e->window - 1, err);
    }
    return side_forward(e, &e->reference, i_window, err);
}

static kf_status evaluate_window(evaluation *e, size_t i_window, kf_error *err)
{
    const size_t n_scored = e->window - 1;
    double loss = 0;
    double reference_loss = 0;
    KFI_TRY(reference_forward(e, i_window, err));
    const double started = kfi_clock_seconds();
    KFI_TRY(side_forward(e, &e->model, i_window, err));
    e->seconds += kfi_clock_seconds() - started;
    if (e->saving) {
        KFI_TRY(kfi_reference_append(&e->save, e->model.hidden, n_scored, err));
    }
    for (size_t begin = 0; begin < n_scored; begin += HEAD_TOKENS) {
        const size_t n = n_scored - begin < HEAD_TOKENS ? n_scored - begin : HEAD_TOKENS;
        KFI_TRY(score_piece(e, i_window, begin, n, err));
        for (size_t i = 0; i < n; i++) {
            const kfi_score *score = &e->scores[i];
            const size_t i_token = i_window * n_scored + begin + i;
            loss += score->loss;
            reference_loss += score->reference_loss;
            e->divergence[i_token] = score->divergence;
            e->agreements += score->agrees;
            kfi_bands_add(e->bands, begin + i + 1, score);
        }
    }
    KFI_TRY(write_last_logits(e, err));
    e->loss[i_window] = loss / (double)n_scored;
    e->difference[i_window] = (loss - reference_loss) / (double)n_scored;
    return KF_OK;
}

static void fill_result(kf_eval_result *result, const evaluation *e)
{
    const size_t n = e->windows * (e->window - 1);
    *result = (kf_eval_result){.tokens = n, .windows = e->windows, .seconds = e->seconds};
    kfi_mean_and_error(&result->loss, &result->loss_se, e->loss, e->windows);
    result->perplexity = exp(result->loss);
    result->perplexity_se = result->perplexity * result->loss_se;
    result->tokens_per_second = (double)n / e->seconds;
    result->kv = kf_session_kv(e->model.session);
    result->kv_bits = kf_session_kv_bits(e->model.session, kf_session_position(e->model.session));
    result->n_prefix = kfi_front_prefix(&e->model.front);
    memcpy(result->bands, e->bands, sizeof result->bands);
    result->n_bands = kfi_bands_finish(result->bands, e->window);
    kfi_mean_and_error(&result->loss_difference, &result->loss_difference_se, e->difference,
                       e->windows);
    result->reference_perplexity = exp(result->loss - result->loss_difference);
    double unused = 0;
    kfi_mean_and_error(&result->kl_mean, &unused, e->divergence, n);
    if (e->reference.model == NULL) {
        result->kl_median = result->kl_99 = result->kl_max = result->top1 = (double)NAN;
        return;
    }
    result->kl_median = kfi_quantile(e->divergence, n, 0.5);
    result->kl_99 = kfi_quantile(e->divergence, n, 0.99);
    result->kl_max = e->divergence[n - 1];
    result->top1 = (double)e->agreements / (double)n;
}

static kf_status make_key(kfi_reference_key *key, const evaluation *e, const side *s, kf_error *err)
{
    *key =
        (kfi_reference_key){.n_prefix = s->front.no_prefix ? 0 : kfi_model_get_prefix(s->model)->n,
                            .window = e->window,
                            .windows = e->windows,
                            .hidden = kfi_model_config(s->model)->hidden};
    KFI_TRY(kfi_sha256_bytes(key->front, s->front.ids, s->front.n * sizeof *s->front.ids, err));
    kf_model_info info;
    kf_model_get_info(s->model, &info);
    (void)snprintf(key->activations, sizeof key->activations, "%s", info.activations);
    key->kv = kf_kv_name(kf_session_kv(s->session));
    KFI_TRY(kfi_model_source_hash(s->model, key->model, err));
    return kfi_sha256_bytes(key->text, e->ids, e->windows * e->window * sizeof *e->ids, err);
}

/* What is read is not written: its bytes are still wanted, here and by its owner. */
static kf_status check_written(const kf_eval_options *o, const kf_model *model, const char *path,
                               kf_error *err)
{
    const bool is_read =
        path != NULL && (kfi_model_reads(model, path) ||
                         (o->reference != NULL && kfi_model_reads(o->reference, path)) ||
                         (o->reference_file != NULL && kfi_file_is_same(o->reference_file, path)));
    return is_read ? kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "'%s' is read here: it is not replaced",
                              path)
                   : KF_OK;
}

static kf_status check_outputs(const kf_eval_options *o, const kf_model *model, kf_error *err)
{
    KFI_TRY(check_written(o, model, o->save_reference, err));
    KFI_TRY(check_written(o, model, o->logits, err));
    const bool is_one = o->save_reference != NULL && o->logits != NULL &&
                        kfi_file_is_same(o->save_reference, o->logits);
    return is_one ? kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                             "'%s' is to hold both the logits and the reference", o->logits)
                  : KF_OK;
}

/* Opens the files that the options name. */
static kf_status open_files(evaluation *e, kf_error *err)
{
    kfi_reference_key key;
    KFI_TRY(check_outputs(e->options, e->model.model, err));
    if (e->options->reference_file != NULL) {
        KFI_TRY(make_key(&key, e, &e->reference, err));
        KFI_TRY(kfi_reference_open(&e->file, e->options->reference_file, &key, e->alloc, err));
    }
    if (e->options->save_reference != NULL) {
        KFI_TRY(make_key(&key, e, &e->model, err));
        KFI_TRY(kfi_reference_create(&e->save, e->options->save_reference, &key, e->alloc, err));
        e->saving = true;
    }
    if (e->options->logits != NULL) {
        KFI_TRY(kfi_npy_writer_open(&e->logits, e->options->logits, e->windows * e->window,
                                    e->vocabulary, e->alloc, err));
        e->writing_logits = true;
    }
    return KF_OK;
}

/* Gives the finished files their names. */
static kf_status commit_files(evaluation *e, kf_error *err)
{
    if (e->saving) {
        e->saving = false;
        KFI_TRY(kfi_reference_commit(&e->save, err));
    }
    if (e->writing_logits) {
        e->writing_logits = false;
        KFI_TRY(kfi_npy_writer_commit(&e->logits, err));
    }
    return KF_OK;
}

static kf_status check_options(evaluation *e, size_t n, kf_error *err)
{
    const kf_eval_options *o = e->options;
    if (o->size != sizeof *o) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "options of another version of this library");
    }
    if (o->reference_file != NULL && o->reference == NULL) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "a reference file needs its reference model");
    }
    e->window = o->window;
    e->vocabulary = kfi_model_config(e->model.model)->vocabulary;
    KFI_TRY(kfi_windows_count(&e->windows, e->window, o->windows, e->ids, n, e->vocabulary, err));
    return o->reference != NULL ? kfi_windows_same_vocabulary(e->model.model, o->reference, err)
                                : KF_OK;
}

static kf_status run_windows(evaluation *e, kf_error *err)
{
    for (size_t i = 0; i < e->windows; i++) {
        if (kfi_report_cancelled(e->options->callbacks)) {
            return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled after %zu of %zu windows",
                            i, e->windows);
        }
        kfi_report_progress(&e->report, "evaluating", "tokens", i * e->window,
                            e->windows * e->window);
        KFI_TRY(evaluate_window(e, i, err));
    }
    kfi_report_progress(&e->report, "evaluating", "tokens", e->windows * e->window,
                        e->windows * e->window);
    return commit_files(e, err);
}

static kf_status allocate_sums(evaluation *e, kf_error *err)
{
    e->loss = kfi_calloc(e->alloc, e->windows, sizeof *e->loss);
    e->difference = kfi_calloc(e->alloc, e->windows, sizeof *e->difference);
    e->divergence = kfi_calloc(e->alloc, e->windows * (e->window - 1), sizeof *e->divergence);
    if (e->loss == NULL || e->difference == NULL || e->divergence == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "one figure a token");
    }
    return KF_OK;
}

static void evaluation_close(evaluation *e)
{
    if (e->saving) {
        kfi_reference_abort(&e->save);
    }
    if (e->writing_logits) {
        kfi_npy_writer_abort(&e->logits);
    }
    kfi_reference_close(&e->file);
    side_close(e, &e->model);
    side_close(e, &e->reference);
    kfi_free(e->alloc, e->loss, e->windows * sizeof *e->loss);
    kfi_free(e->alloc, e->difference, e->windows * sizeof *e->difference);
    kfi_free(e->alloc, e->divergence, e->windows * (e->window - 1) * sizeof *e->divergence);
    kfi_free(e->alloc, e, sizeof *e);
}

/* Both sides get the same tokens in front. */
static void set_sides(evaluation *e, kf_model *model)
{
    const kf_eval_options *o = e->options;
    e->model = (side){.model = model,
                      .front = kfi_front_of_model(model, o->start, o->n_start, o->no_prefix),
                      .kv = o->kv,
                      .kv_exact = o->kv_exact};
    if (o->reference != NULL) {
        e->reference = (side){.model = o->reference,
                              .front = kfi_front_of_reference(o->reference, &e->model.front),
                              .kv = KF_KV_F32};
    }
}

kf_status kf_eval(kf_eval_result *result, kf_model *model, const uint32_t *ids, size_t n,
                  const kf_eval_options *options, kf_error *err)
{
    const kf_eval_options fallback = KF_EVAL_OPTIONS_INIT;
    const kf_eval_options *o = options != NULL ? options : &fallback;
    evaluation *e = kfi_calloc(o->alloc, 1, sizeof *e);
    if (e == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "evaluation of %zu bytes", sizeof *e);
    }
    e->options = o;
    e->alloc = o->alloc;
    e->ids = ids;
    set_sides(e, model);
    kfi_report_init(&e->report, o->callbacks);
    kf_status st = check_options(e, n, err);
    if (st == KF_OK) {
        st = allocate_sums(e, err);
    }
    if (st == KF_OK) {
        st = side_open(e, &e->model, err);
    }
    if (st == KF_OK && o->reference != NULL) {
        st = side_open(e, &e->reference, err);
    }
    if (st == KF_OK) {
        st = open_files(e, err);
    }
    if (st == KF_OK) {
        st = run_windows(e, err);
    }
    if (st == KF_OK) {
        fill_result(result, e);
    }
    evaluation_close(e);
    return st;
}
