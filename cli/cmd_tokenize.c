/* cmd_tokenize.c - kerf tokenize.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "report_json.h"
#include "subject.h"

#include <stdlib.h>
#include <string.h>

typedef struct tokenize_options {
    common_options common;
    const char *text;
    bool decode, bos, special;
} tokenize_options;

static int print_ids(const kf_tokenizer *tokenizer, const cli_document *document,
                     const tokenize_options *options)
{
    kf_error err = {0};
    uint32_t *ids = NULL;
    size_t n = 0;
    const uint32_t flags =
        (options->bos ? KF_ENCODE_ADD_BOS : 0u) | (options->special ? KF_ENCODE_SPECIAL : 0u);
    if (encode_text(&ids, &n, tokenizer, document->text, document->n_text, flags, &err) != KF_OK) {
        free(ids);
        return fail_status(&err);
    }
    if (options->common.json) {
        (void)fputs("[", stdout);
    }
    for (size_t i = 0; i < n; i++) {
        (void)printf(options->common.json ? "%s%u" : "%s%u\n",
                     options->common.json && i > 0 ? "," : "", ids[i]);
    }
    if (options->common.json) {
        (void)fputs("]\n", stdout);
    }
    free(ids);
    return EXIT_DONE;
}

/* Writes one id's text; the buffer grows to the longest piece. */
static bool push_id(FILE *out, kf_detokenizer *detokenizer, uint32_t id, char **text,
                    size_t *capacity)
{
    size_t n_piece = 0;
    (void)kf_tokenizer_piece(detokenizer->tokenizer, id, &n_piece);
    if (3 * n_piece + 16 > *capacity) {
        char *grown = realloc(*text, 3 * n_piece + 16);
        if (grown == NULL) {
            return false;
        }
        *text = grown;
        *capacity = 3 * n_piece + 16;
    }
    const size_t n = kf_detokenizer_push(detokenizer, id, *text, *capacity);
    (void)fwrite(*text, 1, n, out);
    return true;
}

static int write_text(FILE *out, const kf_tokenizer *tokenizer, char *input, size_t n_input)
{
    kf_detokenizer detokenizer;
    char *text = NULL;
    size_t capacity = 0;
    int exit_code = EXIT_DONE;
    char last[16];
    kf_detokenizer_init(&detokenizer, tokenizer);
    for (size_t i = 0, line = 1; i < n_input && exit_code == EXIT_DONE; line++) {
        char *end = memchr(input + i, '\n', n_input - i);
        const size_t n = end != NULL ? (size_t)(end - input) - i : n_input - i;
        char digits[16] = "";
        char *rest = digits;
        if (n < sizeof digits) {
            memcpy(digits, input + i, n);
        }
        const unsigned long id = strtoul(digits, &rest, 10);
        if (n == 0 || n >= sizeof digits || *rest != '\0' || digits[0] < '0' || digits[0] > '9' ||
            id >= kf_tokenizer_count(tokenizer)) {
            exit_code =
                fail_input("line %zu: '%.*s' is not an id below %zu", line, (int)(n < 40 ? n : 40),
                           input + i, kf_tokenizer_count(tokenizer));
        } else if (!push_id(out, &detokenizer, (uint32_t)id, &text, &capacity)) {
            kf_error err = {.code = KF_NOMEM};
            exit_code = fail_status(&err);
        }
        i += n + 1;
    }
    (void)fwrite(last, 1, kf_detokenizer_finish(&detokenizer, last, sizeof last), out);
    free(text);
    return exit_code;
}

/* Prints the text as one string of JSON. */
static int print_text_json(const kf_tokenizer *tokenizer, char *input, size_t n_input)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    int exit_code = out != NULL ? write_text(out, tokenizer, input, n_input) : EXIT_WORK_FAILED;
    if (out == NULL || fclose(out) != 0) {
        kf_error err = {.code = KF_NOMEM};
        exit_code = fail_status(&err);
    } else if (exit_code == EXIT_DONE) {
        json_print(json_bytes(text, n), 17);
    }
    free(text);
    return exit_code;
}

static int run(const cli_command *command, int argc, char **argv)
{
    tokenize_options options = {.text = "-"};
    int exit_code = EXIT_DONE;
    cli_subject subject = {0};
    cli_document document = {0};
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    if (subject_open(&subject, options.common.positional[0], &options.common, SUBJECT_TOKENIZER,
                     &err) != KF_OK ||
        document_read(&document, options.text, &err) != KF_OK) {
        exit_code = fail_status(&err);
    } else if (options.decode) {
        exit_code = options.common.json
                        ? print_text_json(subject.tokenizer, document.text, document.n_text)
                        : write_text(stdout, subject.tokenizer, document.text, document.n_text);
    } else {
        exit_code = print_ids(subject.tokenizer, &document, &options);
    }
    document_free(&document);
    subject_close(&subject);
    return exit_code;
}

static const cli_option options_table[] = {
    {"text", 0, OPTION_TEXT, "FILE", "read this file (default: standard input)",
     offsetof(tokenize_options, text), 0, 0},
    {"decode", 'd', OPTION_FLAG, NULL, "read ids, one a line, and print their text",
     offsetof(tokenize_options, decode), 0, 0},
    {"bos", 0, OPTION_FLAG, NULL, "put the BOS in front where the model's tokenizer would",
     offsetof(tokenize_options, bos), 0, 0},
    {"special", 0, OPTION_FLAG, NULL, "special tokens written in the text become their id",
     offsetof(tokenize_options, special), 0, 0},
};

const cli_command command_tokenize = {
    .name = "tokenize",
    .summary = "turn text into token ids, or back",
    .usage = "MODEL [--text FILE] [--decode] [options]",
    .description =
        "Prints the ids of a text, one a line, as the model's own tokenizer makes them. With --decode it "
        "reads ids and prints their text. --json prints one list, or one string.",
    .examples = "  kerf tokenize smol-w4 --text README.md | wc -l          # how many tokens\n"
                "  echo -n 'Hello' | kerf tokenize smol-w4 | kerf tokenize smol-w4 --decode\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
