/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "eval/questions.h"
#include "fixtures.h"
#include "oracle_forward.h"
#include "tiny_kerf.h"
#include "tiny_model.h"

/* Questions of our own, in the forms of the tasks' files. */
#define QUERIES                                                                                     \
    "{\"query\": \"Question: How does a saw cut?\\n\", \"choices\": [\"by teeth\", \"by light\"], " \
    "\"gold\": 0}\n"                                                                                \
    "{\"query\": \"Question: Oak is\", \"choices\": [\"a hard wood\", \"soft\", \"a saw\"], \"gold\": 2}"

#define CONTEXTS                                                                                     \
    "{\"context_options\": [\"Ann gave Eve her plane, since Ann\", \"Ann gave Eve her plane, since " \
    "Eve\"], \"continuation\": \"had two.\", \"gold\": 0}\n"

#define LINES                                                                                      \
    "Joinery: He marks the tenon. he\n1\nfalls.\nsaws beside the line.\nswims.\nsings.\n"          \
    "Joinery: She planes the board. she\r\n0\r\na\r\nb\r\nc\r\nd\r\n"

typedef struct fixture {
    char *directory;
    tiny_model *tiny;
    kf_model *model;
    kf_tokenizer *tokenizer;
    char *path; /* where a test writes its questions */
} fixture;

static int setup(void **state)
{
    kf_error err = {0};
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    const tiny_options options = tiny_options_of("qwen2");
    f->directory = fixture_directory_new();
    f->tiny = tiny_model_new(f->directory, &options);
    f->path = kfi_path_join(NULL, f->directory, "questions");
    CHECK_OK(kf_model_open(&f->model, f->tiny->path, NULL, &err), &err);
    CHECK_OK(kf_tokenizer_open(&f->tokenizer, f->tiny->path, NULL, &err), &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    kf_tokenizer_free(f->tokenizer);
    kf_model_close(f->model);
    kfi_free_text(NULL, f->path);
    tiny_model_free(f->tiny);
    fixture_directory_free(f->directory);
    free(f);
    return 0;
}

/* ---- questions ---- */

static kfi_questions parse(const char *task, const char *text, size_t limit)
{
    kf_error err = {0};
    kfi_questions questions;
    assert_non_null(kf_task_find(task));
    CHECK_OK(
        kfi_questions_parse(&questions, kf_task_find(task), text, strlen(text), limit, NULL, &err),
        &err);
    return questions;
}

static void puts_a_query_as_question_and_answer(void **state)
{
    (void)state;
    kfi_questions questions = parse("piqa", QUERIES, 0);
    assert_int_equal(questions.n, 2);
    const kfi_question *q = &questions.items[0];
    assert_int_equal(q->n_choices, 2);
    assert_int_equal(q->gold, 0);
    assert_string_equal(q->contexts[1], "Question: How does a saw cut?\nAnswer:");
    assert_string_equal(q->choices[1], "by light");
    assert_int_equal(questions.items[1].n_choices, 3);
    assert_int_equal(questions.items[1].gold, 2);
    kfi_questions_free(&questions);
}

static void puts_a_passage_without_its_name(void **state)
{
    (void)state;
    kfi_questions questions =
        parse("boolq",
              "{\"query\": \"Passage: Ash burns.\\nQuestion: does ash burn?\","
              " \"choices\": [\"no\", \"yes\"], \"gold\": 1}",
              0);
    assert_string_equal(questions.items[0].contexts[0],
                        "Ash burns.\nQuestion: does ash burn?\nAnswer:");
    kfi_questions_free(&questions);
}

static void puts_one_continuation_behind_each_context(void **state)
{
    (void)state;
    kfi_questions questions = parse("winogrande", CONTEXTS, 0);
    const kfi_question *q = &questions.items[0];
    assert_string_equal(q->contexts[0], "Ann gave Eve her plane, since Ann");
    assert_string_equal(q->contexts[1], "Ann gave Eve her plane, since Eve");
    assert_string_equal(q->choices[0], "had two.");
    assert_ptr_equal(q->choices[0], q->choices[1]);
    kfi_questions_free(&questions);
}

static void puts_endings_behind_a_story(void **state)
{
    (void)state;
    kfi_questions questions = parse("hellaswag", LINES, 0);
    assert_int_equal(questions.n, 2);
    assert_string_equal(questions.items[0].contexts[3], "Joinery: He marks the tenon. he");
    assert_string_equal(questions.items[0].choices[1], "saws beside the line.");
    assert_int_equal(questions.items[0].gold, 1);
    assert_string_equal(questions.items[1].contexts[0], "Joinery: She planes the board. she");
    assert_string_equal(questions.items[1].choices[3], "d");
    kfi_questions_free(&questions);
}

static void takes_only_the_first_questions(void **state)
{
    (void)state;
    kfi_questions questions = parse("piqa", QUERIES, 1);
    assert_int_equal(questions.n, 1);
    kfi_questions_free(&questions);
}

static void refuses_questions_of_another_form(void **state)
{
    static const struct {
        const char *task, *text, *message;
    } cases[] = {
        {"piqa", "", "no question"},
        {"piqa", "\n\n", "no question"},
        {"piqa", "{\"query\": \"a\"", "line 1: "},
        {"piqa", "[]", "line 1: expected a text \"query\""},
        {"piqa", "{\"query\": \"a\", \"gold\": 0}", "2 to 8 choices"},
        {"piqa", "{\"query\": \"a\", \"choices\": [\"b\"], \"gold\": 0}", "2 to 8 choices"},
        {"piqa", "{\"query\": \"a\", \"choices\": [1, 2], \"gold\": 0}", "not a text"},
        {"piqa", "{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": 2}", "\"gold\""},
        {"piqa", "{\"query\": \"a\", \"choices\": [\"b\", \"c\"], \"gold\": \"0\"}", "\"gold\""},
        {"piqa", "{\"query\": \"a\", \"choices\": [\"b\", \"\"], \"gold\": 0}", "empty"},
        {"piqa", QUERIES "\n{}", "line 3: "},
        {"winogrande", "{\"context_options\": [\"a\", \"b\"], \"gold\": 0}", "\"continuation\""},
        {"winogrande", "{\"continuation\": \"a\", \"gold\": 0}", "2 to 8 choices"},
        {"hellaswag", "a\n4\nb\nc\nd\ne\n", "0 to 3"},
        {"hellaswag", "a\n0\nb\nc\nd\n", "within a question"},
        {"hellaswag", "a", "0 to 3"},
        {"hellaswag", "\xff\n0\nb\nc\nd\ne\n", "UTF-8"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        kfi_questions questions;
        kf_error err = {0};
        const kf_status st =
            kfi_questions_parse(&questions, kf_task_find(cases[i].task), cases[i].text,
                                strlen(cases[i].text), 0, NULL, &err);
        assert_true(st == KF_FORMAT || st == KF_RANGE);
        if (strstr(err.msg, cases[i].message) == NULL) {
            fail_msg("case %zu: '%s' says nothing of '%s'", i, err.msg, cases[i].message);
        }
        kfi_questions_free(&questions);
    }
}

static void every_task_has_a_name_of_its_own(void **state)
{
    size_t n = 0;
    (void)state;
    for (const kf_task *task = NULL; (task = kf_task_at(n)) != NULL; n++) {
        assert_ptr_equal(kf_task_find(task->name), task);
    }
    assert_int_equal(n, 5);
    assert_null(kf_task_find("mmlu"));
}

/* ---- answers ---- */

#define ANSWERS_MOST 4

typedef struct answers {
    kf_task_answer items[ANSWERS_MOST];
    double loglik[ANSWERS_MOST][KF_TASK_CHOICES];
    size_t n;
} answers;

static void keep_answer(void *ctx, const kf_task_answer *answer)
{
    answers *a = ctx;
    assert_true(a->n < ANSWERS_MOST);
    a->items[a->n] = *answer;
    memcpy(a->loglik[a->n], answer->loglik, answer->n_choices * sizeof *answer->loglik);
    a->n++;
}

static kf_status ask(kf_task_result *result, answers *a, const fixture *f, const char *task,
                     const char *text, const kf_task_options *changed, kf_error *err)
{
    kf_task_options options = *changed;
    memset(a, 0, sizeof *a);
    options.answer = keep_answer;
    options.ctx = a;
    CHECK_OK(kfi_file_write(f->path, text, strlen(text), err), err);
    return kf_task_run(result, f->model, f->tokenizer, kf_task_find(task), f->path, &options, err);
}

/* ln p of a choice behind front and context by a forward pass in double over the whole; an id is a
 * character. */
static double oracle_loglik(const fixture *f, const char *front, const char *context,
                            const char *choice)
{
    char text[300];
    uint32_t ids[256];
    const int n = snprintf(text, sizeof text, "%s%s %s", front, context, choice);
    assert_true(n > 0 && (size_t)n < sizeof text);
    const size_t n_context = strlen(front) + strlen(context);
    double *logits = calloc((size_t)n * TINY_VOCABULARY, sizeof *logits);
    assert_non_null(logits);
    for (int t = 0; t < n; t++) {
        ids[t] = TINY_ID(text[t]);
    }
    oracle_logits(logits, f->tiny, ids, (size_t)n);
    double loglik = 0;
    for (size_t t = n_context; t < (size_t)n; t++) {
        const double *row = logits + (t - 1) * TINY_VOCABULARY;
        double sum = 0;
        for (size_t i = 0; i < TINY_VOCABULARY; i++) {
            sum += exp(row[i]);
        }
        loglik += row[ids[t]] - log(sum);
    }
    free(logits);
    return loglik;
}

static void scores_each_choice_as_a_whole_forward_pass_does(void **state)
{
    const fixture *f = *state;
    static const struct {
        const char *task, *text;
    } cases[] = {{"piqa", QUERIES}, {"winogrande", CONTEXTS}, {"hellaswag", LINES}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const kf_task_options options = KF_TASK_OPTIONS_INIT;
        kf_task_result result;
        kf_error err = {0};
        answers a;
        CHECK_OK(ask(&result, &a, f, cases[c].task, cases[c].text, &options, &err), &err);
        kfi_questions questions = parse(cases[c].task, cases[c].text, 0);
        assert_int_equal(a.n, questions.n);
        for (size_t i = 0; i < a.n; i++) {
            const kfi_question *q = &questions.items[i];
            assert_int_equal(a.items[i].n_choices, q->n_choices);
            assert_int_equal(a.items[i].gold, q->gold);
            for (size_t k = 0; k < q->n_choices; k++) {
                const double expected = oracle_loglik(f, "", q->contexts[k], q->choices[k]);
                assert_true(fabs(a.loglik[i][k] - expected) < 1e-4);
            }
        }
        kfi_questions_free(&questions);
    }
}

static void counts_the_right_answers(void **state)
{
    const fixture *f = *state;
    const kf_task_options options = KF_TASK_OPTIONS_INIT;
    kf_task_result result;
    kf_error err = {0};
    answers a;
    CHECK_OK(ask(&result, &a, f, "hellaswag", LINES, &options, &err), &err);
    double right = 0;
    double right_norm = 0;
    static const size_t lengths[2][4] = {{6, 21, 6, 6}, {1, 1, 1, 1}};
    for (size_t i = 0; i < 2; i++) {
        size_t best = 0;
        size_t best_norm = 0;
        for (size_t k = 1; k < 4; k++) {
            const double *loglik = a.loglik[i];
            best = loglik[k] > loglik[best] ? k : best;
            best_norm = loglik[k] / (double)lengths[i][k] >
                                loglik[best_norm] / (double)lengths[i][best_norm]
                            ? k
                            : best_norm;
        }
        assert_int_equal(a.items[i].chosen, best);
        assert_int_equal(a.items[i].chosen_norm, best_norm);
        right += best == a.items[i].gold ? 0.5 : 0;
        right_norm += best_norm == a.items[i].gold ? 0.5 : 0;
    }
    assert_int_equal(result.questions, 2);
    assert_true(fabs(result.acc - right) < 1e-12);
    assert_true(fabs(result.acc_norm - right_norm) < 1e-12);
    assert_true(fabs(result.chance - 0.25) < 1e-12);
    /* Of two questions the one right: sqrt(1/2 / 2); both or none: 0. */
    assert_true(fabs(result.acc_se - (right > 0.4 && right < 0.6 ? 0.5 : 0)) < 1e-12);
}

static void computes_what_choices_share_once(void **state)
{
    const fixture *f = *state;
    const kf_task_options options = KF_TASK_OPTIONS_INIT;
    kf_task_result result;
    kf_error err = {0};
    answers a;
    CHECK_OK(ask(&result, &a, f, "boolq",
                 "{\"query\": \"0123456789\", \"choices\": [\"no\", \"yes\"], \"gold\": 1}",
                 &options, &err),
             &err);
    /* "0123456789\nAnswer:" and " n" (its "o" is only a target); then ":" again and " ye". */
    assert_int_equal(result.tokens, 18 + 2 + 1 + 3);
}

static void puts_a_start_token_in_front(void **state)
{
    const fixture *f = *state;
    static const uint32_t start[] = {TINY_ID('A')};
    kf_task_options options = KF_TASK_OPTIONS_INIT;
    kf_task_result result;
    kf_error err = {0};
    answers a;
    options.start = start;
    options.n_start = 1;
    CHECK_OK(ask(&result, &a, f, "winogrande", CONTEXTS, &options, &err), &err);
    const double expected = oracle_loglik(f, "A", "Ann gave Eve her plane, since Eve", "had two.");
    assert_true(fabs(a.loglik[0][1] - expected) < 1e-4);
}

/* The tiny model's context is 256: of 300 characters of a question the last ones are kept. */
static void a_long_question_loses_its_beginning(void **state)
{
    const fixture *f = *state;
    const kf_task_options options = KF_TASK_OPTIONS_INIT;
    kf_task_result result;
    kf_error err = {0};
    answers a;
    char story[301];
    char text[400];
    for (size_t i = 0; i < 300; i++) {
        story[i] = (char)('a' + i % 23);
    }
    story[300] = '\0';
    (void)snprintf(text, sizeof text, "%s\n0\nab\nc\nd\ne\n", story);
    CHECK_OK(ask(&result, &a, f, "hellaswag", text, &options, &err), &err);
    const double expected = oracle_loglik(f, "", story + 300 - (256 - 3), "ab");
    assert_true(fabs(a.loglik[0][0] - expected) < 1e-4);
    (void)snprintf(text, sizeof text, "x\n0\nab\nc\nd\n%s\n", story);
    assert_int_equal(ask(&result, &a, f, "hellaswag", text, &options, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "question 0: "));
}

static void reads_a_packed_file_and_reports_one_that_is_not_there(void **state)
{
    const fixture *f = *state;
    kf_task_result result;
    kf_error err = {0};
    const kf_task *task = kf_task_find("hellaswag");
    char *packed = kfi_path_join(NULL, f->directory, "questions.bz2");
    assert_int_equal(kf_task_run(&result, f->model, f->tokenizer, task, packed, NULL, &err),
                     KF_INPUT);
    CHECK_OK(kfi_file_write(packed, "BZh9", 4, &err), &err);
    assert_int_equal(kf_task_run(&result, f->model, f->tokenizer, task, packed, NULL, &err),
                     KF_FORMAT);
    assert_non_null(strstr(err.msg, "bzip2"));
    kfi_free_text(NULL, packed);
}

static void a_checkpoint_answers_behind_its_prefix(void **state)
{
    const fixture *f = *state;
    static const uint32_t prefix[] = {TINY_ID('B'), TINY_ID('e')};
    enum {
        n_floats = 2 * 2 * 32
    }; /* layers, tokens, heads of keys times their size */
    float keys[n_floats];
    float values[n_floats];
    kf_error err = {0};
    fixture packed = *f;
    tiny_kerf_options written = tiny_kerf_defaults();
    kf_task_options options = KF_TASK_OPTIONS_INIT;
    kf_task_result result;
    answers a;
    answers bare;
    for (size_t i = 0; i < n_floats; i++) {
        keys[i] = (float)(i % 7) * 0.1f;
        values[i] = (float)(i % 5) * 0.1f - 0.2f;
    }
    written.n_prefix = 2;
    written.prefix_ids = prefix;
    written.prefix_keys = keys;
    written.prefix_values = values;
    char *path = kfi_path_join(NULL, f->directory, "kerf");
    tiny_kerf_write(path, f->tiny, &written);
    CHECK_OK(kf_model_open(&packed.model, path, NULL, &err), &err);
    CHECK_OK(ask(&result, &a, &packed, "piqa", QUERIES, &options, &err), &err);
    assert_int_equal(result.n_prefix, 2);
    options.no_prefix = true;
    CHECK_OK(ask(&result, &bare, &packed, "piqa", QUERIES, &options, &err), &err);
    assert_int_equal(result.n_prefix, 0);
    assert_true(fabs(a.loglik[0][0] - bare.loglik[0][0]) > 1e-6);
    kf_model_close(packed.model);
    kfi_free_text(NULL, path);
}

static void survives_every_allocation(void **state)
{
    const fixture *f = *state;
    kf_status st = KF_NOMEM;
    for (size_t i = 1; st != KF_OK; i++) {
        fixture_allocator allocator;
        kf_task_options options = KF_TASK_OPTIONS_INIT;
        kf_task_result result;
        kf_error err = {0};
        answers a;
        fixture_allocator_init(&allocator, i);
        options.alloc = &allocator.allocator;
        st = ask(&result, &a, f, "piqa", QUERIES, &options, &err);
        assert_true(st == KF_OK || st == KF_NOMEM);
        assert_true(fixture_allocator_is_clean(&allocator));
        assert_true(i < 1000);
    }
}

/* ---- the real files ---- */

static void reads_every_question_of_the_real_files(void **state)
{
    static const size_t counts[] = {1838, 2376, 3270, 10042, 1267};
    (void)state;
    for (size_t i = 0; kf_task_at(i) != NULL; i++) {
        kfi_questions questions;
        kf_error err = {0};
        char relative[64];
        (void)snprintf(relative, sizeof relative, "tasks/%s", kf_task_at(i)->file);
        const char *path = fixture_data(relative);
        SKIP_WITHOUT(path, "tasks of the evaluation data");
        CHECK_OK(kfi_questions_read(&questions, kf_task_at(i), path, 0, NULL, &err), &err);
        assert_int_equal(questions.n, counts[i]);
        kfi_questions_free(&questions);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_a_query_as_question_and_answer),
        cmocka_unit_test(puts_a_passage_without_its_name),
        cmocka_unit_test(puts_one_continuation_behind_each_context),
        cmocka_unit_test(puts_endings_behind_a_story),
        cmocka_unit_test(takes_only_the_first_questions),
        cmocka_unit_test(refuses_questions_of_another_form),
        cmocka_unit_test(every_task_has_a_name_of_its_own),
        cmocka_unit_test(scores_each_choice_as_a_whole_forward_pass_does),
        cmocka_unit_test(counts_the_right_answers),
        cmocka_unit_test(computes_what_choices_share_once),
        cmocka_unit_test(puts_a_start_token_in_front),
        cmocka_unit_test(a_long_question_loses_its_beginning),
        cmocka_unit_test(reads_a_packed_file_and_reports_one_that_is_not_there),
        cmocka_unit_test(a_checkpoint_answers_behind_its_prefix),
        cmocka_unit_test(survives_every_allocation),
        cmocka_unit_test(reads_every_question_of_the_real_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
