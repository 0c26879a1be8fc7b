/* questions.c - tasks and the files of their questions.
 *
 * Three forms of files: a JSON object a line that has a query and choices; one that has contexts
 * and a continuation; and six plain lines a question. The prompts are those of
 * lm-evaluation-harness, see kf_task_run(); where a file brings a part of the prompt in another
 * form, it is taken off first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "eval/questions.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "base/utf8.h"
#include "io/bzip2.h"
#include "io/json.h"

#define FILE_MOST  ((size_t)256 << 20)
#define TEXTS_MOST ((size_t)1 << 30)

/* ---- the tasks ---- */

typedef enum question_form {
    FORM_QUERY,    /* {"query": …, "choices": […], "gold": 0} */
    FORM_CONTEXTS, /* {"context_options": […], "continuation": …, "gold": 0} */
    FORM_LINES     /* context, gold, four endings */
} question_form;

typedef struct task_entry {
    kf_task task;
    question_form form;
    const char *dropped; /* from the beginning of a query */
    const char *added;   /* to its end */
} task_entry;

#define LINE_ENDINGS 4u

static const task_entry entries[] = {
    {{"piqa", "piqa.jsonl", "which of two ways reaches a goal of everyday life",
      "Question: …\nAnswer: [solution]",
      "Bisk et al., \"PIQA: Reasoning about Physical Commonsense in Natural Language\", 2020, "
      "arXiv:1911.11641"},
     FORM_QUERY,
     "",
     "\nAnswer:"},
    {{"arc_easy", "arc_easy.jsonl", "questions of school science, the easy ones",
      "Question: …\nAnswer: [answer]",
      "Clark et al., \"Think you have Solved Question Answering? Try ARC, the AI2 Reasoning "
      "Challenge\", 2018, arXiv:1803.05457"},
     FORM_QUERY,
     "",
     "\nAnswer:"},
    {{"boolq", "boolq.jsonl", "yes or no, by a passage to read",
      "[passage]\nQuestion: …?\nAnswer: [yes or no]",
      "Clark et al., \"BoolQ: Exploring the Surprising Difficulty of Natural Yes/No Questions\", "
      "2019, arXiv:1905.10044"},
     FORM_QUERY,
     "Passage: ",
     "\nAnswer:"},
    {{"hellaswag", "hellaswag_val_full.txt.bz2", "which of four endings a story has",
      "[topic]: [story] [ending]",
      "Zellers et al., \"HellaSwag: Can a Machine Really Finish Your Sentence?\", 2019, "
      "arXiv:1905.07830"},
     FORM_LINES,
     "",
     ""},
    {{"winogrande", "winogrande.jsonl", "which of two names a pronoun stands for",
      "[sentence up to the name, with one of the two] [rest of the sentence]",
      "Sakaguchi et al., \"WinoGrande: An Adversarial Winograd Schema Challenge at Scale\", 2019, "
      "arXiv:1907.10641"},
     FORM_CONTEXTS,
     "",
     ""},
};

#define N_ENTRIES (sizeof entries / sizeof entries[0])

const kf_task *kf_task_at(size_t i)
{
    return i < N_ENTRIES ? &entries[i].task : NULL;
}

const kf_task *kf_task_find(const char *name)
{
    for (size_t i = 0; i < N_ENTRIES; i++) {
        if (strcmp(entries[i].task.name, name) == 0) {
            return &entries[i].task;
        }
    }
    return NULL;
}

/* Every kf_task is the first member of an entry. */
static const task_entry *entry_of(const kf_task *task)
{
    return (const task_entry *)(const void *)task;
}

/* ---- one question ---- */

typedef struct question_reader {
    kfi_questions *questions;
    const task_entry *entry;
    const char *text; /* what is left of the file */
    size_t n;
    size_t line; /* the last one taken, from 1 */
    kf_error *err;
} question_reader;

static kf_status wrong(const question_reader *r, const char *what)
{
    return kfi_fail(r->err, KF_FORMAT, KF_NO_OFFSET, "line %zu: %s", r->line, what);
}

/* The next line without its end; false behind the last. */
static bool take_line(question_reader *r, const char **line, size_t *n)
{
    if (r->n == 0) {
        return false;
    }
    const char *end = memchr(r->text, '\n', r->n);
    const size_t n_whole = end != NULL ? (size_t)(end + 1 - r->text) : r->n;
    *line = r->text;
    *n = end != NULL ? n_whole - 1 : n_whole;
    *n -= *n > 0 && r->text[*n - 1] == '\r';
    r->text += n_whole;
    r->n -= n_whole;
    r->line++;
    return true;
}

/* Copies a text into the arena, with another behind it. */
static kf_status keep(const question_reader *r, const char **kept, const char *text, size_t n,
                      const char *added)
{
    const size_t n_added = strlen(added);
    char *copy = NULL;
    if (!kfi_utf8_is_valid(text, n) || memchr(text, '\0', n) != NULL) {
        return wrong(r, "a text that is not UTF-8, or holds a NUL");
    }
    copy = kfi_arena_alloc(&r->questions->arena, 1, n + n_added + 1);
    if (copy == NULL) {
        return kfi_fail(r->err, KF_NOMEM, KF_NO_OFFSET, "questions");
    }
    memcpy(copy, text, n);
    memcpy(copy + n, added, n_added + 1);
    *kept = copy;
    return KF_OK;
}

static size_t trimmed(const char *text, size_t n)
{
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL) {
        n--;
    }
    return n;
}

/* The texts of a member that is an array of n_choices strings, each once or all the same. */
static kf_status read_texts(const question_reader *r, kfi_question *q, const char **texts,
                            const kfi_json *array)
{
    q->n_choices = kfi_json_is_array(array) ? kfi_json_size(array) : 0;
    if (q->n_choices < 2 || q->n_choices > KF_TASK_CHOICES) {
        return wrong(r, "expected 2 to 8 choices");
    }
    for (size_t i = 0; i < q->n_choices; i++) {
        const kfi_json *item = kfi_json_at(array, i);
        size_t n = 0;
        if (!kfi_json_is_string(item)) {
            return wrong(r, "a choice that is not a text");
        }
        const char *text = kfi_json_string(item, &n);
        KFI_TRY(keep(r, &texts[i], text, n, ""));
    }
    return KF_OK;
}

static kf_status read_gold(const question_reader *r, kfi_question *q, const kfi_json *gold)
{
    if (!kfi_json_is_integer(gold) || kfi_json_integer(gold) < 0 ||
        (uint64_t)kfi_json_integer(gold) >= q->n_choices) {
        return wrong(r, "\"gold\" is not the number of a choice");
    }
    q->gold = (size_t)kfi_json_integer(gold);
    return KF_OK;
}

static kf_status read_query(const question_reader *r, kfi_question *q, const kfi_json *object)
{
    const char *query = kfi_json_get_text(object, "query");
    const char *dropped = r->entry->dropped;
    const char *context = NULL;
    if (query == NULL) {
        return wrong(r, "expected a text \"query\"");
    }
    query += strncmp(query, dropped, strlen(dropped)) == 0 ? strlen(dropped) : 0;
    KFI_TRY(read_texts(r, q, q->choices, kfi_json_get(object, "choices")));
    KFI_TRY(keep(r, &context, query, trimmed(query, strlen(query)), r->entry->added));
    for (size_t i = 0; i < q->n_choices; i++) {
        q->contexts[i] = context;
    }
    return read_gold(r, q, kfi_json_get(object, "gold"));
}

static kf_status read_contexts(const question_reader *r, kfi_question *q, const kfi_json *object)
{
    const char *continuation = kfi_json_get_text(object, "continuation");
    const char *choice = NULL;
    if (continuation == NULL) {
        return wrong(r, "expected a text \"continuation\"");
    }
    KFI_TRY(read_texts(r, q, q->contexts, kfi_json_get(object, "context_options")));
    KFI_TRY(keep(r, &choice, continuation, strlen(continuation), ""));
    for (size_t i = 0; i < q->n_choices; i++) {
        q->choices[i] = choice;
    }
    return read_gold(r, q, kfi_json_get(object, "gold"));
}

static kf_status read_object(const question_reader *r, kfi_question *q, const char *line, size_t n)
{
    kfi_json *object = NULL;
    kf_status st = kfi_json_parse(&object, line, n, r->err);
    if (st != KF_OK) {
        kfi_fail_prefix(r->err, "line %zu: ", r->line);
        return st;
    }
    st = r->entry->form == FORM_QUERY ? read_query(r, q, object) : read_contexts(r, q, object);
    kfi_json_free(object);
    return st;
}

/* The context is taken already. */
static kf_status read_lines(question_reader *r, kfi_question *q, const char *line, size_t n)
{
    const char *context = NULL;
    KFI_TRY(keep(r, &context, line, n, ""));
    if (!take_line(r, &line, &n) || n != 1 || *line < '0' || *line >= '0' + (int)LINE_ENDINGS) {
        return wrong(r, "expected the number of the right ending, 0 to 3");
    }
    q->gold = (size_t)(*line - '0');
    q->n_choices = LINE_ENDINGS;
    for (size_t i = 0; i < LINE_ENDINGS; i++) {
        if (!take_line(r, &line, &n)) {
            return wrong(r, "the file ends within a question");
        }
        q->contexts[i] = context;
        KFI_TRY(keep(r, &q->choices[i], line, n, ""));
    }
    return KF_OK;
}

static kf_status check_texts(const question_reader *r, const kfi_question *q)
{
    for (size_t i = 0; i < q->n_choices; i++) {
        if (q->contexts[i][0] == '\0' || q->choices[i][0] == '\0') {
            return wrong(r, "an empty question or choice");
        }
    }
    return KF_OK;
}

/* ---- a file ---- */

/* The next question's place; room doubles, so that its memory is within twice what is needed. */
static kf_status grow(question_reader *r)
{
    kfi_questions *s = r->questions;
    const size_t capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
    if (s->n < s->capacity) {
        return KF_OK;
    }
    kfi_question *items = kfi_calloc(s->arena.alloc, capacity, sizeof *items);
    if (items == NULL) {
        return kfi_fail(r->err, KF_NOMEM, KF_NO_OFFSET, "%zu questions", capacity);
    }
    if (s->n > 0) {
        memcpy(items, s->items, s->n * sizeof *items);
    }
    kfi_free(s->arena.alloc, s->items, s->capacity * sizeof *items);
    s->items = items;
    s->capacity = capacity;
    return KF_OK;
}

kf_status kfi_questions_parse(kfi_questions *questions, const kf_task *task, const char *text,
                              size_t n, size_t limit, const kf_allocator *alloc, kf_error *err)
{
    question_reader r = {
        .questions = questions, .entry = entry_of(task), .text = text, .n = n, .err = err};
    const char *line = NULL;
    size_t n_line = 0;
    *questions = (kfi_questions){.n = 0};
    kfi_arena_init(&questions->arena, alloc, TEXTS_MOST);
    while ((limit == 0 || questions->n < limit) && take_line(&r, &line, &n_line)) {
        if (n_line == 0) {
            continue;
        }
        KFI_TRY(grow(&r));
        kfi_question *q = &questions->items[questions->n];
        KFI_TRY(r.entry->form == FORM_LINES ? read_lines(&r, q, line, n_line)
                                            : read_object(&r, q, line, n_line));
        KFI_TRY(check_texts(&r, q));
        questions->n++;
    }
    return questions->n > 0 ? KF_OK : kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "no question in it");
}

/* The file's bytes, unpacked where its name says that they are packed. */
static kf_status read_file(kfi_buf *text, const char *path, kf_error *err)
{
    const size_t n = strlen(path);
    if (n < 4 || strcmp(path + n - 4, ".bz2") != 0) {
        return kfi_file_read(text, path, err);
    }
    kfi_buf packed;
    kfi_buf_init(&packed, text->alloc, FILE_MOST);
    kf_status st = kfi_file_read(&packed, path, err);
    if (st == KF_OK) {
        st = kfi_bzip2_unpack(text, (const uint8_t *)packed.data, packed.n, err);
        if (st != KF_OK) {
            kfi_fail_prefix(err, "'%s': ", path);
        }
    }
    kfi_buf_deinit(&packed);
    return st;
}

kf_status kfi_questions_read(kfi_questions *questions, const kf_task *task, const char *path,
                             size_t limit, const kf_allocator *alloc, kf_error *err)
{
    kfi_buf text;
    *questions = (kfi_questions){.n = 0};
    kfi_buf_init(&text, alloc, FILE_MOST);
    kf_status st = read_file(&text, path, err);
    if (st == KF_OK) {
        st = kfi_questions_parse(questions, task, text.data, text.n, limit, alloc, err);
        if (st != KF_OK) {
            kfi_fail_prefix(err, "'%s': ", path);
        }
    }
    kfi_buf_deinit(&text);
    return st;
}

void kfi_questions_free(kfi_questions *questions)
{
    kfi_free(questions->arena.alloc, questions->items,
             questions->capacity * sizeof *questions->items);
    kfi_arena_deinit(&questions->arena);
    *questions = (kfi_questions){.n = 0};
}
