/* eval_tasks.h - kerf eval --tasks: questions with a choice of answers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_EVAL_TASKS_H
#define KERF_CLI_EVAL_TASKS_H

#include "kerf/tasks.h"
#include "subject.h"

#define TASKS_MOST 16

/* Names of tasks taken apart, and where their files are. */
typedef struct task_list {
    const kf_task *tasks[TASKS_MOST];
    size_t n;
    char directory[PATH_BYTES - 256];
} task_list;

/* Takes apart "piqa,boolq"; KF_INVALID names the one that there is not. directory NULL: tasks/ of
 * $KERF_DATA, of ../shared/data where that is not set. */
kf_status task_list_parse(task_list *list, const char *names, const char *directory, kf_error *err);

/* KF_INPUT where one of their files cannot be read: before any of them is asked. */
kf_status task_list_check(const task_list *list, kf_error *err);

/* How they are asked and told. */
typedef struct task_asking {
    const cli_subject *subject;
    kf_task_options options; /* but for answer and ctx */
    const char *start;       /* what --start says */
    bool answers;            /* print each question's answer, too */
    bool json;
} task_asking;

/* Asks them one after the other and prints a line each as soon as it is known. */
kf_status task_list_run(const task_list *list, const task_asking *asking, kf_error *err);

#endif /* KERF_CLI_EVAL_TASKS_H */
