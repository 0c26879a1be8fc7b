/* tasks.c - asking a model questions with a choice of answers.
 *
 * One session holds the question; for each choice it is cut back to where the choices' tokens
 * differ, so that the context is computed once:
 *
 *     in front | question | choice 0        scored: the tokens of the choice
 *     in front | question | choice 1        cut back to the question's last token but one,
 *                                           whose successor's logits score the first token
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kerf/tasks.h"

#include <math.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/report.h"
#include "eval/questions.h"
#include "eval/score.h"
#include "eval/windows.h"

#define HEAD_TOKENS  ((size_t)32)
#define BATCH_TOKENS ((size_t)512)
/* Room for a question: few are longer, and those lose their beginning. */
#define CONTEXT_TOKENS ((size_t)4096)

/* Token ids of one choice behind its question, what stands in front included. */
typedef struct sequence {
    uint32_t *ids; /* [capacity] */
    size_t n, capacity;
    size_t n_context; /* the rest are the choice's: at least one */
} sequence;

typedef struct asking {
    const kf_task_options *options;
    const kf_allocator *alloc;
    kf_model *model;
    const kf_tokenizer *tokenizer;
    kf_session *session;
    size_t vocabulary, context;
    kfi_front front;
    float *logits;      /* [HEAD_TOKENS][vocabulary] */
    sequence sequences; /* of the choice that is asked */
    uint32_t *held;     /* [context]: what the session holds */
    size_t n_held;
    size_t n_tokens; /* computed */
    kfi_questions questions;
    double *right, *right_norm; /* [questions], 1 or 0 */
    double chance;              /* summed */
    kfi_report report;
} asking;

/* ---- tokens ---- */

/* Appends the ids of a text and a space and another text (NULL: neither) to dst[*n …]. */
static kf_status encode(const asking *a, uint32_t *dst, size_t room, size_t *n, const char *text,
                        const char *choice, kf_error *err)
{
    kfi_buf both;
    kfi_buf_init(&both, a->alloc, SIZE_MAX);
    (void)kfi_buf_append_text(&both, text);
    if (choice != NULL) {
        (void)kfi_buf_append_byte(&both, ' ');
        (void)kfi_buf_append_text(&both, choice);
    }
    const kf_status st =
        both.failed ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a question")
                    : kf_tokenizer_encode(dst, room, n, a->tokenizer, both.data, both.n, 0, err);
    kfi_buf_deinit(&both);
    return st;
}

static kf_status reserve(const asking *a, sequence *s, size_t n, kf_error *err)
{
    if (n <= s->capacity) {
        return KF_OK;
    }
    kfi_free(a->alloc, s->ids, s->capacity * sizeof *s->ids);
    s->capacity = 0;
    s->ids = kfi_calloc(a->alloc, n, sizeof *s->ids);
    if (s->ids == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "%zu token ids", n);
    }
    s->capacity = n;
    return KF_OK;
}

/* Those of a choice's end are only targets, which no session looks at. */
static kf_status check_ids(const asking *a, const sequence *s, kf_error *err)
{
    for (size_t t = 0; t < s->n; t++) {
        if (s->ids[t] >= a->vocabulary) {
            return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                            "token id %" PRIu32 " is outside the vocabulary of %zu", s->ids[t],
                            a->vocabulary);
        }
    }
    return KF_OK;
}

/* Takes tokens from the question's beginning until the sequence fits the context. */
static kf_status shorten(const asking *a, sequence *s, kf_error *err)
{
    const size_t n_choice = s->n - s->n_context;
    if (n_choice == 0) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "a choice has no tokens of its own");
    }
    if (s->n <= a->context) {
        return KF_OK;
    }
    const size_t n_away = s->n - a->context;
    if (n_away >= s->n_context - a->front.n) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                        "a choice of %zu tokens does not fit the context of %zu", n_choice,
                        a->context);
    }
    memmove(s->ids + a->front.n, s->ids + a->front.n + n_away,
            (s->n - a->front.n - n_away) * sizeof *s->ids);
    s->n -= n_away;
    s->n_context -= n_away;
    return KF_OK;
}

/* The tokens of choice i. The question keeps those that it has alone, also where its last one and
 * the choice's first would become one; what the whole has more is the choice. */
static kf_status make_sequence(const asking *a, sequence *s, const kfi_question *q, size_t i,
                               kf_error *err)
{
    size_t n_whole = 0;
    size_t n_alone = 0;
    KFI_TRY(encode(a, NULL, 0, &n_whole, q->contexts[i], q->choices[i], err));
    KFI_TRY(encode(a, NULL, 0, &n_alone, q->contexts[i], NULL, err));
    const size_t n_most = n_whole > n_alone ? n_whole : n_alone;
    KFI_TRY(reserve(a, s, a->front.n + n_most, err));
    for (size_t t = 0; t < a->front.n; t++) {
        s->ids[t] = a->front.ids[t];
    }
    uint32_t *ids = s->ids + a->front.n;
    KFI_TRY(encode(a, ids, n_most, &n_whole, q->contexts[i], q->choices[i], err));
    KFI_TRY(encode(a, ids, n_most, &n_alone, q->contexts[i], NULL, err));
    s->n_context = a->front.n + n_alone;
    s->n = a->front.n + n_most;
    KFI_TRY(check_ids(a, s, err));
    return shorten(a, s, err);
}

/* ---- one choice ---- */

/* Cuts the session back to what it shares with the sequence, but for the last token of the context
 * at most, and begins anew where that is nothing. */
static kf_status share(asking *a, const sequence *s, kf_error *err)
{
    size_t n = 0;
    while (n < a->n_held && n + 1 < s->n_context && a->held[n] == s->ids[n]) {
        n++;
    }
    if (n > a->front.n) {
        kf_session_truncate(a->session, n);
        a->n_held = n;
        return KF_OK;
    }
    KFI_TRY(kf_session_begin(a->session, s->ids, s->n, &a->n_held, err));
    memcpy(a->held, s->ids, a->n_held * sizeof *a->held);
    return KF_OK;
}

/* Computes the tokens up to n. */
static kf_status compute(asking *a, const sequence *s, size_t n, kf_error *err)
{
    const size_t n_new = n - a->n_held;
    KFI_TRY(kf_session_eval(a->session, s->ids + a->n_held, n_new, err));
    memcpy(a->held + a->n_held, s->ids + a->n_held, n_new * sizeof *a->held);
    a->n_held = n;
    a->n_tokens += n_new;
    return KF_OK;
}

/* The log-likelihood of the tokens behind the context. */
static kf_status score(double *loglik, asking *a, const sequence *s, kf_error *err)
{
    *loglik = 0;
    KFI_TRY(share(a, s, err));
    KFI_TRY(compute(a, s, s->n_context - 1, err));
    while (a->n_held + 1 < s->n) {
        const size_t begin = a->n_held;
        const size_t n_left = s->n - 1 - begin;
        const size_t n = n_left < HEAD_TOKENS ? n_left : HEAD_TOKENS;
        size_t n_got = 0;
        KFI_TRY(compute(a, s, begin + n, err));
        const float *hidden = kf_session_hidden(a->session, &n_got);
        if (n_got != n) {
            return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET, "a session lost hidden states");
        }
        KFI_TRY(kf_session_head(a->session, a->logits, hidden, n, err));
        for (size_t i = 0; i < n; i++) {
            *loglik -= kfi_score_token(a->logits + i * a->vocabulary, NULL, a->vocabulary,
                                       s->ids[begin + i + 1])
                           .loss;
        }
    }
    return KF_OK;
}

/* ---- one question ---- */

/* The first of the largest; one that cannot be computed is never it. */
static size_t arg_max(const double *values, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = values[i] > values[best] ? i : best;
    }
    return best;
}

static kf_status ask(asking *a, size_t i_question, kf_error *err)
{
    const kfi_question *q = &a->questions.items[i_question];
    double loglik[KF_TASK_CHOICES];
    double by_byte[KF_TASK_CHOICES];
    a->n_held = 0; /* so that a question's figures do not depend on the one before */
    for (size_t i = 0; i < q->n_choices; i++) {
        kf_status st = make_sequence(a, &a->sequences, q, i, err);
        st = st == KF_OK ? score(&loglik[i], a, &a->sequences, err) : st;
        if (st != KF_OK) {
            kfi_fail_prefix(err, "question %zu: ", i_question);
            return st;
        }
        by_byte[i] = loglik[i] / (double)strlen(q->choices[i]);
    }
    const kf_task_answer answer = {.i = i_question,
                                   .n_choices = q->n_choices,
                                   .gold = q->gold,
                                   .chosen = arg_max(loglik, q->n_choices),
                                   .chosen_norm = arg_max(by_byte, q->n_choices),
                                   .loglik = loglik};
    a->right[i_question] = answer.chosen == q->gold ? 1 : 0;
    a->right_norm[i_question] = answer.chosen_norm == q->gold ? 1 : 0;
    a->chance += 1 / (double)q->n_choices;
    if (a->options->answer != NULL) {
        a->options->answer(a->options->ctx, &answer);
    }
    return KF_OK;
}

static kf_status ask_all(asking *a, const char *name, kf_error *err)
{
    const size_t n = a->questions.n;
    for (size_t i = 0; i < n; i++) {
        if (kfi_report_cancelled(a->options->callbacks)) {
            return kfi_fail(err, KF_CANCELLED, KF_NO_OFFSET, "cancelled after %zu of %zu questions",
                            i, n);
        }
        kfi_report_progress(&a->report, name, "questions", i, n);
        KFI_TRY(ask(a, i, err));
    }
    kfi_report_progress(&a->report, name, "questions", n, n);
    return KF_OK;
}

/* ---- all ---- */

static kf_status allocate(asking *a, kf_error *err)
{
    const size_t n = a->questions.n;
    a->logits = kfi_calloc(a->alloc, HEAD_TOKENS * a->vocabulary, sizeof *a->logits);
    a->held = kfi_calloc(a->alloc, a->context, sizeof *a->held);
    a->right = kfi_calloc(a->alloc, n, sizeof *a->right);
    a->right_norm = kfi_calloc(a->alloc, n, sizeof *a->right_norm);
    if (a->logits == NULL || a->held == NULL || a->right == NULL || a->right_norm == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "logits and answers");
    }
    return KF_OK;
}

static kf_status open_session(asking *a, kf_error *err)
{
    const kfi_config *config = kfi_model_config(a->model);
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    a->vocabulary = config->vocabulary;
    a->context = config->context < CONTEXT_TOKENS ? config->context : CONTEXT_TOKENS;
    options.context = a->context;
    options.batch = BATCH_TOKENS;
    options.no_prefix = a->front.no_prefix;
    options.kv = a->options->kv;
    options.kv_exact = a->options->kv_exact;
    KFI_TRY(allocate(a, err));
    return kf_session_new(&a->session, a->model, &options, err);
}

static void asking_close(asking *a)
{
    const size_t n = a->questions.n;
    kf_session_free(a->session);
    kfi_free(a->alloc, a->sequences.ids, a->sequences.capacity * sizeof *a->sequences.ids);
    kfi_free(a->alloc, a->logits, HEAD_TOKENS * a->vocabulary * sizeof *a->logits);
    kfi_free(a->alloc, a->held, a->context * sizeof *a->held);
    kfi_free(a->alloc, a->right, n * sizeof *a->right);
    kfi_free(a->alloc, a->right_norm, n * sizeof *a->right_norm);
    kfi_questions_free(&a->questions);
}

static void fill_result(kf_task_result *result, const asking *a, double seconds)
{
    const size_t n = a->questions.n;
    *result = (kf_task_result){.questions = n,
                               .chance = a->chance / (double)n,
                               .tokens = a->n_tokens,
                               .seconds = seconds,
                               .n_prefix = kfi_front_prefix(&a->front),
                               .kv = kf_session_kv(a->session)};
    kfi_mean_and_error(&result->acc, &result->acc_se, a->right, n);
    kfi_mean_and_error(&result->acc_norm, &result->acc_norm_se, a->right_norm, n);
}

kf_status kf_task_run(kf_task_result *result, kf_model *model, const kf_tokenizer *tokenizer,
                      const kf_task *task, const char *path, const kf_task_options *options,
                      kf_error *err)
{
    const kf_task_options fallback = KF_TASK_OPTIONS_INIT;
    const kf_task_options *o = options != NULL ? options : &fallback;
    asking a = {.options = o, .alloc = o->alloc, .model = model, .tokenizer = tokenizer};
    if (o->size != sizeof *o) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "options of another version of this library");
    }
    a.front = kfi_front_of_model(model, o->start, o->n_start, o->no_prefix);
    kfi_report_init(&a.report, o->callbacks);
    kf_status st = kfi_questions_read(&a.questions, task, path, o->limit, o->alloc, err);
    if (st == KF_OK) {
        st = open_session(&a, err);
    }
    const double started = kfi_clock_seconds();
    if (st == KF_OK) {
        st = ask_all(&a, task->name, err);
    }
    if (st == KF_OK) {
        fill_result(result, &a, kfi_clock_seconds() - started);
    }
    asking_close(&a);
    return st;
}
