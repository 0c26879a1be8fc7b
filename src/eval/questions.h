/* questions.h - tasks and the files of their questions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_EVAL_QUESTIONS_H
#define KFI_EVAL_QUESTIONS_H

#include "base/alloc.h"
#include "kerf/tasks.h"

/* A question: a choice is scored behind its context. Contexts are one text, or one a choice where
 * the choices are. Texts are UTF-8 and NUL-terminated, kept by the arena of their set. */
typedef struct kfi_question {
    size_t n_choices, gold;
    const char *contexts[KF_TASK_CHOICES];
    const char *choices[KF_TASK_CHOICES];
} kfi_question;

typedef struct kfi_questions {
    kfi_arena arena;
    kfi_question *items;
    size_t n, capacity;
} kfi_questions;

/* Reads the first questions of a task's file, all where limit is 0. KF_INPUT, KF_FORMAT, KF_RANGE
 * (none there, too large), KF_NOMEM; kfi_questions_free() in any case. */
KF_NODISCARD kf_status kfi_questions_read(kfi_questions *questions, const kf_task *task,
                                          const char *path, size_t limit, const kf_allocator *alloc,
                                          kf_error *err);
/* The same of bytes that are read already; the texts are copied. */
KF_NODISCARD kf_status kfi_questions_parse(kfi_questions *questions, const kf_task *task,
                                           const char *text, size_t n, size_t limit,
                                           const kf_allocator *alloc, kf_error *err);
void kfi_questions_free(kfi_questions *questions);

#endif /* KFI_EVAL_QUESTIONS_H */
