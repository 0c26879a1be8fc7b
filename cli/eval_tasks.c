/* eval_tasks.c - kerf eval --tasks: questions with a choice of answers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "eval_tasks.h"
#include "report_json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *or_nothing(const char *text, const char *fallback)
{
    return text != NULL && text[0] != '\0' ? text : fallback;
}

/* KF_INVALID for a task that there is not, and the names of those that there are. */
static kf_status refuse_task(const char *name, kf_error *err)
{
    char known[128] = "";
    size_t n = 0;
    for (size_t i = 0; kf_task_at(i) != NULL; i++) {
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i > 0 ? ", " : "",
                              kf_task_at(i)->name);
    }
    return set_error(err, KF_INVALID, "no task '%.40s': expected some of %s", name, known);
}

static kf_status add_task(task_list *list, const char *name, kf_error *err)
{
    const kf_task *task = kf_task_find(name);
    if (task == NULL) {
        return refuse_task(name, err);
    }
    if (list->n == TASKS_MOST) {
        return set_error(err, KF_INVALID, "more than %d tasks", TASKS_MOST);
    }
    list->tasks[list->n++] = task;
    return KF_OK;
}

kf_status task_list_parse(task_list *list, const char *names, const char *directory, kf_error *err)
{
    kf_status st = KF_OK;
    char *rest = NULL;
    const int n = directory != NULL
                      ? snprintf(list->directory, sizeof list->directory, "%s", directory)
                      : snprintf(list->directory, sizeof list->directory, "%s/tasks",
                                 or_nothing(getenv("KERF_DATA"), "../shared/data"));
    if (n < 0 || (size_t)n >= sizeof list->directory) {
        return set_error(err, KF_RANGE, "the name of the directory of tasks is too long");
    }
    char *copy = strdup(names);
    if (copy == NULL) {
        return set_error(err, KF_NOMEM, "names of tasks");
    }
    for (char *name = strtok_r(copy, ",", &rest); st == KF_OK && name != NULL;
         name = strtok_r(NULL, ",", &rest)) {
        st = add_task(list, name, err);
    }
    free(copy);
    return st == KF_OK && list->n == 0
               ? set_error(err, KF_INVALID, "--tasks '%s' names none", names)
               : st;
}

/* ---- printing ---- */

typedef struct answer_printer {
    const kf_task *task;
    bool json;
} answer_printer;

static void print_answer_json(const answer_printer *printer, const kf_task_answer *answer)
{
    json_t *loglik = json_array();
    for (size_t i = 0; i < answer->n_choices; i++) {
        (void)json_array_append_new(loglik, json_number(answer->loglik[i]));
    }
    json_print(json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "task", printer->task->name, "question",
                         (json_int_t)answer->i, "gold", (json_int_t)answer->gold, "chosen",
                         (json_int_t)answer->chosen, "chosen_norm", (json_int_t)answer->chosen_norm,
                         "loglik", loglik),
               9);
}

static void print_answer(void *ctx, const kf_task_answer *answer)
{
    const answer_printer *printer = ctx;
    terminal_clear();
    if (printer->json) {
        print_answer_json(printer, answer);
        return;
    }
    (void)printf("%-12s %6zu  %s, chosen %zu of 0-%zu, right %zu:", printer->task->name, answer->i,
                 answer->chosen == answer->gold ? "right" : "wrong", answer->chosen,
                 answer->n_choices - 1, answer->gold);
    for (size_t i = 0; i < answer->n_choices; i++) {
        (void)printf(" %.4f", answer->loglik[i]);
    }
    (void)printf("\n");
}

static void print_percent(double part, double error)
{
    char text[32];
    (void)snprintf(text, sizeof text, isfinite(error) ? "%.2f +- %.2f" : "%.2f", 100 * part,
                   100 * error);
    (void)printf(" %15s", text);
}

static void print_heading(const task_asking *asking)
{
    kf_model_info info;
    char source[256];
    kf_model_get_info(asking->subject->model, &info);
    (void)printf("model        %s (%s)\n", asking->subject->path,
                 show_text(source, sizeof source, info.source));
    (void)printf("weights      %.3f bits per weight; activations %s\n", info.bits_per_weight,
                 info.activations);
    (void)printf("in front     %s\n", info.n_prefix > 0 && !asking->options.no_prefix
                                          ? "the stored exact prefix"
                                      : strcmp(asking->start, "bos") == 0 ? "the start token"
                                                                          : "nothing");
    (void)printf("%-12s %9s %15s %15s %8s %9s  %s\n", "task", "questions", "acc %", "acc_norm %",
                 "chance %", "seconds", "kv");
    (void)output_flush();
}

static void print_result(const kf_task *task, const kf_task_result *r)
{
    terminal_clear();
    (void)printf("%-12s %9zu", task->name, r->questions);
    print_percent(r->acc, r->acc_se);
    print_percent(r->acc_norm, r->acc_norm_se);
    (void)printf(" %8.2f %9.1f  %s\n", 100 * r->chance, r->seconds, kf_kv_name(r->kv));
    (void)output_flush();
}

static void print_result_json(const task_asking *asking, const kf_task *task,
                              const kf_task_result *r)
{
    kf_model_info info;
    kf_model_get_info(asking->subject->model, &info);
    terminal_clear();
    json_print(
        json_pack("{s:o, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:s, s:s, s:o, s:s, s:I}",
                  "model", json_text(asking->subject->path), "task", task->name, "questions",
                  (json_int_t)r->questions, "acc", json_number(r->acc), "acc_se",
                  json_number(r->acc_se), "acc_norm", json_number(r->acc_norm), "acc_norm_se",
                  json_number(r->acc_norm_se), "chance", json_number(r->chance), "tokens",
                  (json_int_t)r->tokens, "seconds", json_number(r->seconds), "activations",
                  info.activations, "kv", kf_kv_name(r->kv), "source", json_text(info.source),
                  "start", r->n_prefix > 0 ? "prefix" : asking->start, "prefix_tokens",
                  (json_int_t)r->n_prefix),
        9);
    (void)output_flush();
}

/* ---- asking ---- */

static void file_of(char path[PATH_BYTES], const task_list *list, size_t i)
{
    (void)snprintf(path, PATH_BYTES, "%s/%s", list->directory, list->tasks[i]->file);
}

kf_status task_list_check(const task_list *list, kf_error *err)
{
    char path[PATH_BYTES];
    for (size_t i = 0; i < list->n; i++) {
        file_of(path, list, i);
        if (access(path, R_OK) != 0) {
            return set_error(err, KF_INPUT, "cannot read '%s': %s; --tasks-dir says where it is",
                             path, strerror(errno));
        }
    }
    return KF_OK;
}

static kf_status run_task(const task_list *list, size_t i, const task_asking *asking, kf_error *err)
{
    const kf_task *task = list->tasks[i];
    answer_printer printer = {task, asking->json};
    kf_task_options options = asking->options;
    kf_task_result result;
    char path[PATH_BYTES];
    file_of(path, list, i);
    options.answer = asking->answers ? print_answer : NULL;
    options.ctx = &printer;
    const kf_status st = kf_task_run(&result, asking->subject->model, asking->subject->tokenizer,
                                     task, path, &options, err);
    if (st == KF_OK && asking->json) {
        print_result_json(asking, task, &result);
    } else if (st == KF_OK) {
        print_result(task, &result);
    }
    return st;
}

kf_status task_list_run(const task_list *list, const task_asking *asking, kf_error *err)
{
    kf_status st = KF_OK;
    if (!asking->json) {
        print_heading(asking);
    }
    for (size_t i = 0; st == KF_OK && i < list->n && output_flush(); i++) {
        st = run_task(list, i, asking, err);
    }
    return st;
}
