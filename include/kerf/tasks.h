/* kerf/tasks.h - questions with a choice of answers: how often a model finds the right one most
 * likely.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TASKS_H
#define KERF_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/alloc.h"
#include "kerf/callbacks.h"
#include "kerf/error.h"
#include "kerf/export.h"
#include "kerf/model.h"
#include "kerf/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A task: a file of questions and the way they are put. Everything is static. */
typedef struct kf_task {
    const char *name;    /**< "arc_easy" */
    const char *file;    /**< Its usual name: "arc_easy.jsonl" */
    const char *summary; /**< One sentence. */
    const char *prompt; /**< How a question is put, for people: "Question: …\nAnswer: [choice]". */
    const char *paper;  /**< Where the questions come from. */
} kf_task;

/** The i-th task, or NULL past the end. */
KF_API const kf_task *kf_task_at(size_t i);
/** The task of this name, or NULL. */
KF_API const kf_task *kf_task_find(const char *name);

/** Most choices of a question. */
#define KF_TASK_CHOICES 8

/** How one question was answered; every pointer is borrowed for the call. */
typedef struct kf_task_answer {
    size_t i;             /**< The question's number in the file, from 0. */
    size_t n_choices;     /**< 2 … #KF_TASK_CHOICES. */
    size_t gold;          /**< The right choice. */
    size_t chosen;        /**< The most likely choice: what acc counts. */
    size_t chosen_norm;   /**< The most likely by the byte: what acc_norm counts. */
    const double *loglik; /**< Log-likelihood of each choice, nats. */
} kf_task_answer;

/** How to ask; start from #KF_TASK_OPTIONS_INIT. */
typedef struct kf_task_options {
    size_t size;                   /**< sizeof(kf_task_options), set by the initialiser. */
    const kf_allocator *alloc;     /**< Borrowed, or NULL. */
    const kf_callbacks *callbacks; /**< Borrowed, or NULL. */
    size_t limit;                  /**< Only the first so many questions; 0 = all. */
    const uint32_t *start; /**< As kf_eval_options.start: tokens in front of every question. */
    size_t n_start;        /**< Number of them. */
    bool no_prefix;        /**< Do not use the stored prefix of a checkpoint. */
    kf_kv kv;              /**< How keys and values are kept. */
    size_t kv_exact;       /**< Tokens from the first one on that stay in float32 anyway. */
    /** Called once a question, or NULL. */
    void (*answer)(void *ctx, const kf_task_answer *answer);
    void *ctx; /**< For answer. */
} kf_task_options;

/** The defaults. */
#define KF_TASK_OPTIONS_INIT                                                                       \
    {                                                                                              \
        sizeof(kf_task_options), NULL, NULL, 0, NULL, 0, false, KF_KV_F32, 0, NULL, NULL           \
    }

/** What was measured. */
typedef struct kf_task_result {
    size_t questions;   /**< Asked. */
    double acc;         /**< Part of them whose right choice is the most likely one. */
    double acc_se;      /**< Its standard error; NaN for one question. */
    double acc_norm;    /**< The same by log-likelihood over the choice's bytes, since a long choice
                           is less likely only for being long. */
    double acc_norm_se; /**< Its standard error. */
    double chance;      /**< What guessing gives: the mean of 1 / choices. */
    size_t tokens;      /**< Computed, those that stand in front of several choices once. */
    double seconds;     /**< Of that. */
    size_t n_prefix;    /**< Tokens of the stored prefix that stood in front of each question. */
    kf_kv kv;           /**< How keys and values were kept. */
} kf_task_result;

/**
 * Asks a model the questions of a file.
 *
 * Each choice is scored as sum_t ln p(choice_t | question, choice_<t) over its tokens. A question's
 * text and a choice, with a space between them, are tokenized together; what they have more than
 * the question alone are the choice's tokens. The first of equally likely choices counts as chosen.
 * The context that choices share is computed once. A question that does not fit the model's context
 * loses tokens from its beginning.
 *
 * Files of the tasks `piqa`, `arc_easy` and `boolq` have a JSON object a line with "query",
 * "choices" and "gold"; `winogrande` "context_options", "continuation" and "gold" (the contexts
 * differ there, and the likelihood of what follows is compared); `hellaswag` six lines a question:
 * context, number of the right ending, four endings. A name that ends in .bz2 is unpacked.
 *
 * Source: the protocol and the prompts are those of Gao et al., "A framework for few-shot language
 * model evaluation" (lm-evaluation-harness), without examples in front. Its acc_norm divides by
 * characters, here by bytes: the same for ASCII. Its HellaSwag begins the last sentence of a
 * context with a capital, ours is as the file has it.
 *
 * @param[out] result     the figures
 * @param      model      borrowed
 * @param[in]  tokenizer  of that model, borrowed
 * @param[in]  task       as kf_task_at() or kf_task_find() gave it
 * @param[in]  path       the file, borrowed
 * @param[in]  options    borrowed, or NULL
 * @param[out] err        failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_INPUT      the file is not there or not readable
 * @retval KF_FORMAT     a question is not of the task's form; the message names file and line
 * @retval KF_RANGE      no question in it, one whose choice alone is longer than the model's
 *                       context, or a file beyond 256 MB
 * @retval KF_INVALID    options of another size than this library's, or no such kv
 * @retval KF_UNSUPPORTED  what kf_session_new() says of kv
 * @retval KF_CANCELLED, KF_NOMEM
 *
 * Cost: one forward pass of each question, and one of each choice. Threads: the model's pool.
 * Numerics: sums in double in the order of tokens.
 */
KF_API KF_NODISCARD kf_status kf_task_run(kf_task_result *result, kf_model *model,
                                          const kf_tokenizer *tokenizer, const kf_task *task,
                                          const char *path, const kf_task_options *options,
                                          kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_TASKS_H */
