/* generate.h - a sequence that grows by sampling: one session, one sampler, the text so far.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_GENERATE_H
#define KERF_CLI_GENERATE_H

#include "kerf/model.h"
#include "kerf/sampler.h"
#include "kerf/tokenizer.h"
#include "subject.h"

typedef enum stop_reason {
    STOP_END,         /* an end token of the model */
    STOP_TEXT,        /* one of the --stop texts */
    STOP_LENGTH,      /* as many tokens as asked for */
    STOP_CONTEXT,     /* the context is full */
    STOP_INTERRUPTED, /* Ctrl-C, SIGTERM */
    STOP_OUTPUT       /* standard output takes no more: a closed pipe, a full disk */
} stop_reason;

const char *stop_reason_name(stop_reason reason);

typedef struct cli_generator {
    const kf_tokenizer *tokenizer;
    kf_session *session;
    kf_sampler *sampler;
    size_t hidden;
    size_t model_context; /* what the model was made for; the session's may be less */
    uint32_t *ids; /* what the sequence consists of, without what the stored prefix put in front */
    size_t n_ids, ids_capacity;
    size_t n_front;  /* cached tokens that are not in ids */
    size_t n_cached; /* of ids */
    float *logits;
    const text_list *stops;
    bool prints;    /* the text, as it comes, to standard output */
    bool continues; /* the answer goes on in the prompt's text: its first space counts */
    char *text;     /* the last answer, NUL-terminated */
    size_t n_text, text_capacity;
    size_t n_printed; /* bytes of text already out: the rest may be the start of a stop text */
} cli_generator;

/* A measured answer. */
typedef struct cli_answer {
    stop_reason reason;
    size_t n_prompt, n_tokens; /* computed */
    double prompt_seconds, seconds;
} cli_answer;

kf_status generator_open(cli_generator *generator, const cli_subject *subject,
                         const kf_session_options *session, const kf_sampler_options *sampler,
                         const text_list *stops, bool prints, kf_error *err);
void generator_close(cli_generator *generator);

/* What to add to a message about a full context: how it becomes larger, or "" at the model's limit.
 */
const char *generator_advice(const cli_generator *generator);

/* Makes the sequence these ids, keeping what the cache has of them, and answers with at most n_max
 * tokens (0: what the context holds). */
kf_status generator_answer(cli_answer *answer, cli_generator *generator, const uint32_t *ids,
                           size_t n, size_t n_max, kf_error *err);

#endif /* KERF_CLI_GENERATE_H */
