/* cmd_run.c - kerf run: a completion, an answer, or a conversation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "generate.h"
#include "report_json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct run_options {
    common_options common;
    const char *prompt, *file, *system, *weights, *activations;
    kf_kv kv;
    uint64_t kv_exact;
    text_list stop;
    bool chat, no_prefix;
    uint64_t tokens, context, top_k;
    double temperature, top_p, min_p, repetition_penalty;
} run_options;

/* The conversation so far: messages that own their text. */
typedef struct cli_conversation {
    kf_chat_message *messages;
    size_t n;
} cli_conversation;

static kf_status conversation_add(cli_conversation *c, const char *role, const char *content,
                                  kf_error *err)
{
    kf_chat_message *grown = realloc(c->messages, (c->n + 1) * sizeof *grown);
    if (grown == NULL) {
        return set_error(err, KF_NOMEM, "conversation of %zu messages", c->n + 1);
    }
    c->messages = grown;
    char *copy = strdup(content);
    if (copy == NULL) {
        return set_error(err, KF_NOMEM, "message of %zu bytes", strlen(content));
    }
    grown[c->n++] = (kf_chat_message){role, copy};
    return KF_OK;
}

/* Forgets the last message. */
static void conversation_drop(cli_conversation *c)
{
    free((void *)(uintptr_t)c->messages[--c->n].content);
}

static void conversation_free(cli_conversation *c)
{
    while (c->n > 0) {
        conversation_drop(c);
    }
    free(c->messages);
}

static void report(const run_options *options, const cli_generator *g, const cli_answer *a)
{
    const double prompt_rate = a->prompt_seconds > 0 ? (double)a->n_prompt / a->prompt_seconds : 0;
    const double rate = a->seconds > 0 ? (double)a->n_tokens / a->seconds : 0;
    if (options->common.json) {
        json_t *line = json_pack(
            "{s:o, s:I, s:I, s:f, s:f, s:s, s:s}", "text", json_bytes(g->text, g->n_text),
            "prompt_tokens", (json_int_t)a->n_prompt, "tokens", (json_int_t)a->n_tokens,
            "prompt_tokens_per_second", prompt_rate, "tokens_per_second", rate, "stopped_by",
            stop_reason_name(a->reason), "kv", kf_kv_name(kf_session_kv(g->session)));
        json_print(line, 6);
        return;
    }
    (void)putchar('\n');
    (void)output_flush();
    if (a->reason == STOP_CONTEXT) {
        (void)fprintf(stderr, "kerf: the context of %zu tokens is full%s\n",
                      kf_session_context(g->session), generator_advice(g));
    }
    if (!options->common.quiet && isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "[%zu + %zu tokens, prompt %.0f, answer %.1f tokens/s]\n",
                      a->n_prompt, a->n_tokens, prompt_rate, rate);
    }
}

/* Ids of a rendered conversation, with the BOS that the tokenizer adds unless the template wrote
 * it. */
static kf_status encode_chat(uint32_t **ids, size_t *n, const kf_tokenizer *tokenizer,
                             const cli_conversation *c, kf_error *err)
{
    char *text = NULL;
    *n = 0;
    kf_status st = kf_tokenizer_render_chat(&text, tokenizer, c->messages, c->n, true, err);
    if (st == KF_OK) {
        st = encode_text(ids, n, tokenizer, text, strlen(text), KF_ENCODE_SPECIAL, err);
    }
    const uint32_t bos = kf_tokenizer_bos(tokenizer);
    if (st == KF_OK && kf_tokenizer_adds_bos(tokenizer) && (*n == 0 || (*ids)[0] != bos)) {
        memmove(*ids + 1, *ids, *n * sizeof **ids); /* encode_text leaves room */
        (*ids)[0] = bos;
        ++*n;
    }
    kf_tokenizer_free_text(tokenizer, text);
    return st;
}

/* One turn: the user's words are in the conversation already; the answer is added. */
static kf_status answer_turn(const run_options *options, cli_generator *g, cli_conversation *c,
                             cli_answer *a, kf_error *err)
{
    uint32_t *ids = NULL;
    size_t n = 0;
    kf_status st = encode_chat(&ids, &n, g->tokenizer, c, err);
    if (st == KF_OK) {
        st = generator_answer(a, g, ids, n, (size_t)options->tokens, err);
    }
    if (st == KF_OK) {
        st = conversation_add(c, "assistant", g->text, err);
        report(options, g, a);
    }
    free(ids);
    return st;
}

/* A turn of a conversation. A message that has no room is said to be too long, and the conversation
 * goes on without it. */
static kf_status take_turn(const run_options *options, cli_generator *g, cli_conversation *c,
                           const char *line, kf_error *err)
{
    cli_answer a;
    kf_status st = conversation_add(c, "user", line, err);
    if (st == KF_OK) {
        st = answer_turn(options, g, c, &a, err);
    }
    if (st == KF_RANGE) {
        (void)fail_status(err);
        conversation_drop(c);
        *err = (kf_error){0};
        st = KF_OK;
    }
    terminal_rearm();
    return st;
}

/* Lines of standard input are the user's turns until it ends, or nobody reads the answers. */
static kf_status converse(const run_options *options, cli_generator *g, cli_conversation *c,
                          kf_error *err)
{
    const bool on_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    cli_lines lines = {0};
    char *line = NULL;
    kf_status st = KF_OK;
    if (on_terminal) {
        (void)puts("Type your message. Ctrl-C stops an answer, Ctrl-D ends the conversation.");
    }
    while (st == KF_OK && output_flush() && !terminal_terminated()) {
        if (on_terminal) {
            (void)fputs("> ", stdout);
            (void)output_flush();
        }
        st = lines_next(&line, &lines, err);
        if (st == KF_CANCELLED) { /* Ctrl-C at the prompt: a fresh prompt */
            terminal_rearm();
            (void)fputs(on_terminal ? "\n" : "", stdout);
            st = KF_OK;
        } else if (line == NULL) {
            break;
        } else if (line[0] != '\0') {
            st = take_turn(options, g, c, line, err);
        }
    }
    if (on_terminal) {
        (void)putchar('\n');
    }
    document_free(&lines.text);
    return st;
}

static kf_status run_chat(const run_options *options, cli_generator *g, const cli_document *prompt,
                          bool has_prompt, stop_reason *reason, kf_error *err)
{
    cli_conversation c = {0};
    cli_answer a = {.reason = STOP_END};
    kf_status st = KF_OK;
    if (!kf_tokenizer_has_chat(g->tokenizer)) {
        return set_error(err, KF_UNSUPPORTED,
                         "this model has no chat template that is understood; leave out --chat");
    }
    if (options->system != NULL) {
        st = conversation_add(&c, "system", options->system, err);
    }
    if (st == KF_OK && has_prompt) {
        st = conversation_add(&c, "user", prompt->text, err);
        if (st == KF_OK) {
            st = answer_turn(options, g, &c, &a, err);
        }
        *reason = a.reason;
    } else if (st == KF_OK) {
        st = converse(options, g, &c, err);
        *reason = terminal_terminated() ? STOP_INTERRUPTED : STOP_END;
    }
    conversation_free(&c);
    return st;
}

static kf_status run_completion(const run_options *options, cli_generator *g,
                                const cli_document *prompt, stop_reason *reason, kf_error *err)
{
    uint32_t *ids = NULL;
    size_t n = 0;
    cli_answer a = {.reason = STOP_END};
    kf_status st = encode_text(&ids, &n, g->tokenizer, prompt->text, prompt->n_text,
                               KF_ENCODE_ADD_BOS | KF_ENCODE_SPECIAL, err);
    g->continues = prompt->n_text > 0;
    if (st == KF_OK && n == 0) { /* an empty prompt: the model begins by itself */
        const uint32_t start = kf_tokenizer_start(g->tokenizer);
        if (start == KF_NO_TOKEN) {
            st = set_error(err, KF_RANGE,
                           "the prompt is empty, and this model names no start token");
        } else {
            ids[n++] = start;
        }
    }
    if (st == KF_OK) {
        st = generator_answer(&a, g, ids, n, (size_t)options->tokens, err);
    }
    if (st == KF_OK) {
        report(options, g, &a);
        *reason = a.reason;
    }
    free(ids);
    return st;
}

/* The prompt from -p, -f or standard input. */
static kf_status read_prompt(cli_document *document, const run_options *options, bool *has_prompt,
                             kf_error *err)
{
    kf_status st = KF_OK;
    const bool standard = options->common.n_positional > 1;
    *has_prompt = true;
    if (options->prompt != NULL) {
        document->text = strdup(options->prompt);
        document->n_text = strlen(options->prompt);
        if (document->text == NULL) {
            st = set_error(err, KF_NOMEM, "prompt of %zu bytes", document->n_text);
        }
    } else if (options->file != NULL || standard || !options->chat) {
        st = document_read(document, standard || options->file == NULL ? "-" : options->file, err);
    } else {
        *has_prompt = false;
        return KF_OK;
    }
    return st;
}

static kf_status open_generator(cli_generator *g, const run_options *options,
                                const cli_subject *subject, kf_error *err)
{
    kf_session_options session = KF_SESSION_OPTIONS_INIT;
    kf_sampler_options sampler = KF_SAMPLER_OPTIONS_INIT;
    session.context = (size_t)options->context;
    session.no_prefix = options->no_prefix;
    session.kv = options->kv;
    session.kv_exact = (size_t)options->kv_exact;
    sampler.temperature = (float)options->temperature;
    sampler.top_k = (uint32_t)options->top_k;
    sampler.top_p = (float)options->top_p;
    sampler.min_p = (float)options->min_p;
    sampler.repetition_penalty = (float)options->repetition_penalty;
    sampler.seed = options->common.seed;
    return generator_open(g, subject, &session, &sampler, &options->stop, !options->common.json,
                          err);
}

static kf_status run_model(const run_options *options, cli_subject *subject, cli_generator *g,
                           cli_document *prompt, stop_reason *reason, kf_error *err)
{
    bool has_prompt = false;
    subject->weights = options->weights;
    subject->activations = options->activations;
    kf_status st = subject_open(subject, options->common.positional[0], &options->common,
                                SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    if (st == KF_OK) {
        st = read_prompt(prompt, options, &has_prompt, err);
    }
    if (st == KF_OK) {
        st = open_generator(g, options, subject, err);
    }
    if (st != KF_OK) {
        return st;
    }
    return options->chat ? run_chat(options, g, prompt, has_prompt, reason, err)
                         : run_completion(options, g, prompt, reason, err);
}

static int run(const cli_command *command, int argc, char **argv)
{
    run_options options = {.weights = "auto",
                           .activations = "recipe",
                           .kv = KF_KV_AUTO,
                           .temperature = 0.8,
                           .top_k = 40,
                           .top_p = 0.95,
                           .min_p = 0.05,
                           .repetition_penalty = 1.0};
    int exit_code = EXIT_DONE;
    cli_subject subject = {0};
    cli_generator generator = {0};
    cli_document prompt = {0};
    stop_reason reason = STOP_END;
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    if (options.common.n_positional > 1 && strcmp(options.common.positional[1], "-") != 0) {
        return fail_usage(command, "unexpected argument '%s'; a prompt is given with -p",
                          options.common.positional[1]);
    }
    if ((options.prompt != NULL) + (options.file != NULL) + (options.common.n_positional > 1) > 1) {
        return fail_usage(command, "give one prompt: -p TEXT, -f FILE or -");
    }
    if (options.system != NULL && !options.chat) {
        return fail_usage(command, "--system is a message of a chat: it needs --chat");
    }
    for (size_t i = 0; i < options.stop.n; i++) {
        if (options.stop.items[i][0] == '\0') {
            return fail_usage(command, "--stop needs a text that is not empty");
        }
    }
    if (run_model(&options, &subject, &generator, &prompt, &reason, &err) != KF_OK) {
        exit_code = fail_status(&err);
    } else if (reason == STOP_INTERRUPTED) {
        exit_code = EXIT_WORK_FAILED;
    }
    generator_close(&generator);
    document_free(&prompt);
    subject_close(&subject);
    return exit_code;
}

static const cli_option options_table[] = {
    {"prompt", 'p', OPTION_TEXT, "TEXT", "go on from this text", offsetof(run_options, prompt), 0,
     0},
    {"file", 'f', OPTION_TEXT, "FILE", "go on from this file's text (- is standard input)",
     offsetof(run_options, file), 0, 0},
    {"chat", 'c', OPTION_FLAG, NULL, "answer, by the model's chat template",
     offsetof(run_options, chat), 0, 0},
    {"system", 0, OPTION_TEXT, "TEXT", "system message of a chat", offsetof(run_options, system), 0,
     0},
    {"tokens", 'n', OPTION_COUNT, "N", "at most N tokens (default: the rest of the context)",
     offsetof(run_options, tokens), 1, 1e9},
    {"temp", 0, OPTION_NUMBER, "T", "temperature, 0 = always the most likely (default 0.8)",
     offsetof(run_options, temperature), 0, 100},
    {"top-k", 0, OPTION_COUNT, "K", "only the K most likely, 0 = all (default 40)",
     offsetof(run_options, top_k), 0, 1e9},
    {"top-p", 0, OPTION_NUMBER, "P", "only the most likely that sum to P (default 0.95)",
     offsetof(run_options, top_p), 0, 1},
    {"min-p", 0, OPTION_NUMBER, "P", "only those P times as likely as the first (default 0.05)",
     offsetof(run_options, min_p), 0, 1},
    {"repeat-penalty", 0, OPTION_NUMBER, "R", "make recent tokens less likely (default 1 = off)",
     offsetof(run_options, repetition_penalty), 0.01, 100},
    {"stop", 0, OPTION_LIST, "TEXT", "stop in front of this text; may be repeated",
     offsetof(run_options, stop), 0, 0},
    {"context", 0, OPTION_COUNT, "N", "room for N tokens (default: the model's)",
     offsetof(run_options, context), 1, 1e9},
    OPTION_NO_PREFIX(run_options),
    {"weights", 0, OPTION_WORD, "auto|float|packed",
     "of a GGUF: packed runs Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 as they are; auto (the default) does so where all "
     "linear layers are of these",
     offsetof(run_options, weights), 0, 0},
    OPTION_ACTIVATIONS(run_options),
    OPTION_KV(run_options),
    OPTION_KV_EXACT(run_options),
};

const cli_command command_run = {
    .name = "run",
    .summary = "let a model go on from a text, answer, or converse",
    .usage = "MODEL [-p TEXT | -f FILE | -] [--chat] [options]",
    .description =
        "Prints what the model writes behind the prompt, as it comes. It ends at an end token of the model, at a --stop text, after -n "
        "tokens, or when the context is full.\n"
        "With --chat the prompt is a user's message in the model's own template; without a prompt, lines of standard input are "
        "turns of a conversation that keeps its cache: Ctrl-C stops an answer, Ctrl-D ends.\n"
        "The same seed gives the same text.",
    .examples = "  kerf run smol-w4 -p 'The history of saws begins' -n 100\n"
                "  kerf run smol-w4 --chat                         # a conversation\n"
                "  kerf run smol-w4 --chat -p 'What is a kerf?' --temp 0\n"
                "  kerf run smol-w4 -f story.txt --stop 'THE END'\n"
                "  git diff | kerf run smol-w4 - -n 64 --json\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 2,
    .run = run,
};
