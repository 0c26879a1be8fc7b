/* subject.c - opening a model and reading a text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "subject.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kerf/machine.h"
#include "kerf/pull.h"

kf_status set_error(kf_error *err, kf_status status, const char *format, ...)
{
    va_list arguments;
    *err = (kf_error){.code = status, .offset = KF_NO_OFFSET};
    va_start(arguments, format);
    (void)vsnprintf(err->msg, sizeof err->msg, format, arguments);
    va_end(arguments);
    return status;
}

void subject_warn(const cli_subject *subject, const char *message)
{
    if (message != NULL) {
        subject->callbacks->warn(subject->callbacks->ctx, message);
    }
}

static bool is_word(const char *word, const char *wanted)
{
    return word != NULL && strcmp(word, wanted) == 0;
}

/* What --activations names, NULL for the recipe's. */
static kf_status parse_activations(const kf_activation **found, kf_activation *memory,
                                   const char *name, kf_error *err)
{
    *found = NULL;
    if (name == NULL || is_word(name, "recipe")) {
        return KF_OK;
    }
    *found = memory;
    return kf_activation_parse(memory, name, err);
}

kf_status subject_check_activations(const char *name, kf_error *err)
{
    const kf_activation *found = NULL;
    kf_activation memory;
    return parse_activations(&found, &memory, name, err);
}

static kf_status open_model(cli_subject *subject, const kf_activation *activation, kf_error *err)
{
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.callbacks = subject->callbacks;
    options.pool = subject->pool;
    options.activation = activation;
    options.weights = is_word(subject->weights, "auto")     ? KF_WEIGHTS_AUTO
                      : is_word(subject->weights, "packed") ? KF_WEIGHTS_PACKED
                                                            : KF_WEIGHTS_FLOAT;
    if (subject->n_beside > 0) {
        options.float_cache_bytes = kf_memory_available() / (2 * (subject->n_beside + 1));
    }
    return kf_model_open(&subject->model, subject->path, &options, err);
}

kf_status subject_start(cli_subject *subject, const common_options *common, kf_error *err)
{
    subject->callbacks = terminal_callbacks(common->quiet);
    if (subject->pool != NULL) {
        return KF_OK;
    }
    subject_warn(subject, kf_kernel_warning()); /* where threads are started, so once */
    const kf_status st = kf_pool_new(&subject->pool, (size_t)common->threads, NULL, err);
    subject->owns_pool = st == KF_OK;
    return st;
}

kf_status subject_open(cli_subject *subject, const char *name, const common_options *common,
                       int parts, kf_error *err)
{
    kf_pull_options pull = KF_PULL_OPTIONS_INIT;
    kf_activation memory;
    const kf_activation *activation = NULL;
    kf_status st = parse_activations(&activation, &memory, subject->activations, err);
    if (st != KF_OK) {
        return st;
    }
    subject->callbacks = terminal_callbacks(common->quiet);
    pull.callbacks = subject->callbacks;
    st = kf_pull(subject->path, sizeof subject->path, name, &pull, err);
    if (st == KF_OK) {
        st = subject_start(subject, common, err);
    }
    if (st == KF_OK && (parts & SUBJECT_MODEL) != 0) {
        st = open_model(subject, activation, err);
    }
    if (st == KF_OK && (parts & SUBJECT_TOKENIZER) != 0) {
        st = kf_tokenizer_open(&subject->tokenizer, subject->path, NULL, err);
        if (st == KF_OK) {
            subject_warn(subject, kf_tokenizer_warning(subject->tokenizer));
        }
    }
    terminal_clear();
    return st;
}

void subject_close(cli_subject *subject)
{
    kf_tokenizer_free(subject->tokenizer);
    kf_model_close(subject->model);
    if (subject->owns_pool) {
        kf_pool_free(subject->pool);
    }
    terminal_clear();
}

/* Reads what there is, up to n bytes; 0 at the end. KF_CANCELLED when a signal came instead. */
static kf_status read_some(size_t *n_read, int file, char *dst, size_t n, const char *name,
                           kf_error *err)
{
    ssize_t got = -1;
    *n_read = 0;
    do {
        if (!terminal_wait_input(file)) {
            return set_error(err, KF_CANCELLED, "cancelled while reading %s", name);
        }
        got = read(file, dst, n);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return set_error(err, KF_INPUT, "cannot read %s: %s", name, strerror(errno));
    }
    *n_read = (size_t)got;
    return KF_OK;
}

/* Appends what there is to the text; n_read is 0 at the end. Not by stdio, which cannot be waited
 * for together with a signal, and would ask a terminal again behind its end. */
static kf_status read_more(size_t *n_read, cli_document *document, int file, const char *name,
                           kf_error *err)
{
    if (document->n_text + 1 >= document->text_capacity) {
        const size_t grown = document->text_capacity == 0 ? 65536 : 2 * document->text_capacity;
        /* The system would grant more than there is, and kill the program when it is used. */
        char *text = grown <= kf_memory_available() ? realloc(document->text, grown) : NULL;
        if (text == NULL) {
            return set_error(err, KF_NOMEM, "%s: text of more than %zu bytes", name,
                             document->text_capacity);
        }
        document->text = text;
        document->text_capacity = grown;
    }
    const kf_status st = read_some(n_read, file, document->text + document->n_text,
                                   document->text_capacity - document->n_text - 1, name, err);
    document->n_text += *n_read;
    document->text[document->n_text] = '\0';
    return st;
}

static kf_status read_all(cli_document *document, int file, const char *name, kf_error *err)
{
    size_t n = 0;
    kf_status st = KF_OK;
    do {
        st = read_more(&n, document, file, name, err);
    } while (st == KF_OK && n > 0);
    return st;
}

/* The end of the line that the text begins with, reading until it is there; NULL when the input
 * ends before. */
static kf_status find_line_end(char **end, cli_lines *lines, kf_error *err)
{
    cli_document *text = &lines->text;
    size_t searched = 0;
    kf_status st = KF_OK;
    *end = NULL;
    for (;;) {
        if (text->n_text > searched) {
            *end = memchr(text->text + searched, '\n', text->n_text - searched);
        }
        if (*end != NULL || lines->at_end || st != KF_OK) {
            return st;
        }
        size_t n = 0;
        searched = text->n_text;
        st = read_more(&n, text, STDIN_FILENO, "standard input", err);
        lines->at_end = st == KF_OK && n == 0;
    }
}

kf_status lines_next(char **line, cli_lines *lines, kf_error *err)
{
    cli_document *text = &lines->text;
    char *end = NULL;
    *line = NULL;
    if (lines->n_line > 0) {
        text->n_text -= lines->n_line;
        memmove(text->text, text->text + lines->n_line, text->n_text);
        lines->n_line = 0;
    }
    const kf_status st = find_line_end(&end, lines, err);
    if (st != KF_OK || text->n_text == 0) {
        return st;
    }
    lines->n_line = end != NULL ? (size_t)(end + 1 - text->text) : text->n_text;
    size_t n = end != NULL ? lines->n_line - 1 : text->n_text;
    while (n > 0 && text->text[n - 1] == '\r') {
        n--;
    }
    text->text[n] = '\0';
    *line = text->text;
    return KF_OK;
}

kf_status document_read(cli_document *document, const char *path, kf_error *err)
{
    const bool standard = strcmp(path, "-") == 0;
    const int file = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return set_error(err, KF_INPUT, "cannot open '%s': %s", path, strerror(errno));
    }
    if (standard && isatty(STDIN_FILENO)) {
        terminal_hint("reading the text from the terminal; Ctrl-D at the start of a line ends it");
    }
    const kf_status st = read_all(document, file, standard ? "standard input" : path, err);
    if (!standard) {
        (void)close(file);
    }
    return st;
}

kf_status encode_text(uint32_t **ids, size_t *n, const kf_tokenizer *tokenizer, const char *text,
                      size_t text_n, uint32_t flags, kf_error *err)
{
    /* Nearly always enough. A text may still have more tokens than bytes: normalization makes
     * twelve bytes of some four, and of each byte that is not UTF-8 three. */
    size_t room = text_n + 8;
    for (;;) {
        uint32_t *grown = realloc(*ids, (*n + room + 1) * sizeof *grown); /* one for callers */
        if (grown == NULL) {
            return set_error(err, KF_NOMEM, "%zu token ids", *n + room);
        }
        *ids = grown;
        size_t n_new = 0;
        const kf_status st =
            kf_tokenizer_encode(grown + *n, room, &n_new, tokenizer, text, text_n, flags, err);
        if (st == KF_OK) {
            *n += n_new;
        }
        if (st != KF_RANGE || n_new <= room) {
            return st;
        }
        room = n_new;
    }
}

kf_status document_encode(cli_document *document, const kf_tokenizer *tokenizer, size_t begin,
                          size_t n, kf_error *err)
{
    document->n_ids = 0;
    return encode_text(&document->ids, &document->n_ids, tokenizer, document->text + begin, n, 0,
                       err);
}

kf_status document_tokenize(cli_document *document, const char *path, const kf_tokenizer *tokenizer,
                            kf_error *err)
{
    const kf_status st = document_read(document, path, err);
    return st == KF_OK ? document_encode(document, tokenizer, 0, document->n_text, err) : st;
}

void document_free(cli_document *document)
{
    free(document->text);
    free(document->ids);
    *document = (struct cli_document){0};
}
