/* generate.c - a sequence that grows by sampling.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "generate.h"

#include <stdlib.h>
#include <string.h>

#define BATCH ((size_t)512) /* tokens between two looks at the signals */

const char *stop_reason_name(stop_reason reason)
{
    switch (reason) {
    case STOP_END:
        return "end";
    case STOP_TEXT:
        return "stop";
    case STOP_LENGTH:
        return "length";
    case STOP_CONTEXT:
        return "context";
    case STOP_INTERRUPTED:
        return "interrupted";
    case STOP_OUTPUT:
        return "output";
    }
    return "unknown";
}

kf_status generator_open(cli_generator *generator, const cli_subject *subject,
                         const kf_session_options *session, const kf_sampler_options *sampler,
                         const text_list *stops, bool prints, kf_error *err)
{
    kf_model_info info;
    *generator =
        (struct cli_generator){.tokenizer = subject->tokenizer, .stops = stops, .prints = prints};
    kf_model_get_info(subject->model, &info);
    generator->hidden = info.hidden;
    generator->model_context = info.context;
    kf_status st = kf_session_new(&generator->session, subject->model, session, err);
    if (st == KF_OK) {
        st = kf_sampler_new(&generator->sampler, info.vocabulary, sampler, err);
    }
    if (st != KF_OK) {
        return st;
    }
    generator->ids_capacity = kf_session_context(generator->session) + 1;
    generator->ids = malloc(generator->ids_capacity * sizeof *generator->ids);
    generator->logits = malloc(info.vocabulary * sizeof *generator->logits);
    if (generator->ids == NULL || generator->logits == NULL) {
        return set_error(err, KF_NOMEM, "ids and logits of a sequence");
    }
    return KF_OK;
}

const char *generator_advice(const cli_generator *generator)
{
    return kf_session_context(generator->session) < generator->model_context
               ? "; --context N makes it larger"
               : "";
}

void generator_close(cli_generator *generator)
{
    kf_session_free(generator->session);
    kf_sampler_free(generator->sampler);
    free(generator->ids);
    free(generator->logits);
    free(generator->text);
}

/* Brings the cache in line with the new ids: keeps the common beginning. */
static kf_status begin_sequence(cli_generator *g, const uint32_t *ids, size_t n, kf_error *err)
{
    size_t common = 0;
    while (common < g->n_cached && common + 1 < n && g->ids[common] == ids[common]) {
        common++;
    }
    if (common == 0) {
        kf_status st = kf_session_begin(g->session, ids, n, &common, err);
        if (st != KF_OK) {
            return st;
        }
        g->n_front = kf_session_position(g->session) - common;
    } else {
        kf_session_truncate(g->session, g->n_front + common);
    }
    memcpy(g->ids, ids, common * sizeof *ids); /* the prefix may have brought them */
    g->n_ids = common;
    g->n_cached = common;
    if (g->n_front + n > kf_session_context(g->session)) {
        return set_error(err, KF_RANGE, "the prompt has %zu tokens, the context holds %zu%s", n,
                         kf_session_context(g->session) - g->n_front, generator_advice(g));
    }
    memcpy(g->ids, ids, n * sizeof *ids);
    g->n_ids = n;
    return KF_OK;
}

/* Computes what of ids is not cached yet, and the logits of the last. */
static kf_status evaluate(cli_generator *g, kf_error *err)
{
    while (g->n_cached < g->n_ids) {
        if (terminal_interrupted()) { /* a long prompt takes many batches */
            return set_error(err, KF_CANCELLED, "cancelled after %zu of %zu tokens", g->n_cached,
                             g->n_ids);
        }
        const size_t rest = g->n_ids - g->n_cached;
        const size_t n = rest < BATCH ? rest : BATCH;
        const kf_status st = kf_session_eval(g->session, g->ids + g->n_cached, n, err);
        if (st != KF_OK) {
            return st;
        }
        g->n_cached += n;
    }
    size_t n_hidden = 0;
    const float *hidden = kf_session_hidden(g->session, &n_hidden);
    if (n_hidden == 0) { /* no token at all, and no prefix that would stand for one */
        return set_error(err, KF_RANGE, "the prompt has no tokens: nothing to go on from");
    }
    return kf_session_head(g->session, g->logits, hidden + (n_hidden - 1) * g->hidden, 1, err);
}

/* How many bytes at the end of the text could be the start of a stop text. */
static size_t held_back(const cli_generator *g)
{
    size_t most = 0;
    for (size_t i = 0; i < g->stops->n; i++) {
        const char *stop = g->stops->items[i];
        size_t n = strlen(stop);
        n = n > 0 ? n - 1 : 0;
        n = n < g->n_text ? n : g->n_text;
        while (n > most && memcmp(g->text + g->n_text - n, stop, n) != 0) {
            n--;
        }
        most = n > most ? n : most;
    }
    return most;
}

/* Cuts the text in front of the earliest stop text; true when there is one. */
static bool cut_at_stop(cli_generator *g, size_t search_from)
{
    size_t end = SIZE_MAX;
    for (size_t i = 0; i < g->stops->n; i++) {
        const char *stop = g->stops->items[i];
        const size_t n = strlen(stop);
        const size_t from = search_from > n ? search_from - n : 0;
        const char *found = strstr(g->text + from, stop);
        if (found != NULL && (size_t)(found - g->text) < end) {
            end = (size_t)(found - g->text);
        }
    }
    if (end == SIZE_MAX) {
        return false;
    }
    g->n_text = end;
    g->text[end] = '\0';
    return true;
}

/* False when nobody takes the text any more. */
static bool print_up_to(cli_generator *g, size_t end)
{
    const size_t begin = g->n_printed;
    g->n_printed = end > begin ? end : begin;
    if (!g->prints || end <= begin) {
        return true;
    }
    (void)fwrite(g->text + begin, 1, end - begin, stdout);
    return output_flush();
}

static kf_status reserve_text(cli_generator *g, size_t n_more, kf_error *err)
{
    if (g->n_text + n_more + 1 > g->text_capacity) {
        const size_t capacity = 2 * (g->n_text + n_more) + 256;
        char *text = realloc(g->text, capacity);
        if (text == NULL) {
            return set_error(err, KF_NOMEM, "answer of %zu bytes", capacity);
        }
        g->text = text;
        g->text_capacity = capacity;
    }
    return KF_OK;
}

/* Adds one id's text and prints what is safe; *done when a stop text came, or nobody reads on. */
static kf_status add_text(cli_generator *g, kf_detokenizer *detokenizer, uint32_t id, bool *done,
                          stop_reason *reason, kf_error *err)
{
    size_t n_piece = 0;
    (void)kf_tokenizer_piece(g->tokenizer, id, &n_piece);
    const kf_status st = reserve_text(g, 3 * n_piece + 16, err);
    if (st != KF_OK) {
        return st;
    }
    const size_t before = g->n_text;
    g->n_text += kf_detokenizer_push(detokenizer, id, g->text + g->n_text, 3 * n_piece + 16);
    g->text[g->n_text] = '\0';
    const bool stopped = cut_at_stop(g, before);
    const bool taken = print_up_to(g, stopped ? g->n_text : g->n_text - held_back(g));
    if (stopped || !taken) {
        *done = true;
        *reason = taken ? STOP_TEXT : STOP_OUTPUT;
    }
    return KF_OK;
}

/* One step: sample, add, compute. *reason is set when *done. */
static kf_status step(cli_generator *g, kf_detokenizer *detokenizer, bool *done,
                      stop_reason *reason, kf_error *err)
{
    const uint32_t id = kf_sampler_next(g->sampler, g->logits);
    if (kf_tokenizer_is_end(g->tokenizer, id)) {
        *done = true;
        *reason = STOP_END;
        return KF_OK;
    }
    kf_sampler_accept(g->sampler, id);
    kf_status st = add_text(g, detokenizer, id, done, reason, err);
    if (st != KF_OK) {
        return st;
    }
    g->ids[g->n_ids++] = id;
    if (*done) {
        return KF_OK;
    }
    if (g->n_front + g->n_ids > kf_session_context(g->session)) {
        g->n_ids--; /* it is said, but there is no room to go on from it */
        *done = true;
        *reason = STOP_CONTEXT;
        return KF_OK;
    }
    st = evaluate(g, err);
    if (st == KF_CANCELLED) {
        *done = true;
        *reason = STOP_INTERRUPTED;
        return KF_OK;
    }
    return st;
}

kf_status generator_answer(cli_answer *answer, cli_generator *g, const uint32_t *ids, size_t n,
                           size_t n_max, kf_error *err)
{
    kf_detokenizer detokenizer;
    bool done = false;
    *answer = (struct cli_answer){.reason = STOP_LENGTH};
    g->n_text = 0;
    g->n_printed = 0;
    kf_detokenizer_init(&detokenizer, g->tokenizer);
    detokenizer.first = !g->continues;
    const double started = clock_seconds();
    kf_status st = reserve_text(g, 0, err);
    if (st == KF_OK) {
        g->text[0] = '\0';
        st = begin_sequence(g, ids, n, err);
    }
    if (st == KF_OK) {
        answer->n_prompt = n - g->n_cached;
        for (size_t i = 0; i < n; i++) {
            kf_sampler_accept(g->sampler, ids[i]);
        }
        st = evaluate(g, err);
    }
    if (st == KF_CANCELLED) {
        answer->reason = STOP_INTERRUPTED;
        return KF_OK;
    }
    const double prompt_done = clock_seconds();
    answer->prompt_seconds = prompt_done - started;
    while (st == KF_OK && !done && (n_max == 0 || answer->n_tokens < n_max)) {
        st = step(g, &detokenizer, &done, &answer->reason, err);
        answer->n_tokens += answer->reason != STOP_END;
    }
    answer->seconds = clock_seconds() - prompt_done;
    if (st == KF_OK && answer->reason != STOP_TEXT) {
        st = reserve_text(g, 16, err);
        if (st == KF_OK) {
            g->n_text += kf_detokenizer_finish(&detokenizer, g->text + g->n_text, 16);
            g->text[g->n_text] = '\0';
        }
    }
    if (!print_up_to(g, g->n_text)) {
        answer->reason = STOP_OUTPUT;
    }
    return st;
}
