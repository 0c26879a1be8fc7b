/* cli.h - what the commands share: the table of commands, options, output, and the way a command
 * ends.
 *
 * The program sees include/kerf/ only. A command is one file cmd_<name>.c and one line in
 * commands.def.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_CLI_H
#define KERF_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "kerf/callbacks.h"
#include "kerf/error.h"

/* Exit codes, as the manual lists them. */
enum {
    EXIT_DONE = 0,
    EXIT_WORK_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_BAD_INPUT = 3
};

/* ---- options ---- */

typedef enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char * */
    OPTION_WORD,   /* const char *, one of those in argument: "none|bos" */
    OPTION_COUNT,  /* uint64_t in minimum … maximum */
    OPTION_COUNTS, /* count_list: several of them between commas; replaces what was there */
    OPTION_NUMBER, /* double in minimum … maximum */
    OPTION_LIST,   /* text_list: may be given several times */
    OPTION_CACHE   /* kf_kv, by its name */
} option_kind;

#define TEXT_LIST_MAX 64
typedef struct text_list {
    const char *items[TEXT_LIST_MAX];
    size_t n;
} text_list;

/* "full" stands for COUNT_FULL in options whose argument names it. */
#define COUNT_LIST_MAX 16
#define COUNT_FULL     UINT64_MAX
typedef struct count_list {
    uint64_t items[COUNT_LIST_MAX];
    size_t n;
} count_list;

/* One option of a command; its value is stored `offset` bytes into the command's own struct. */
typedef struct cli_option {
    const char *name; /* without dashes */
    char letter;      /* short form, or 0 */
    option_kind kind;
    const char *argument; /* "FILE", NULL for a flag */
    const char *help;
    size_t offset;
    double minimum, maximum;
} cli_option;

/* One command: --help, the manual page and the completion are made from this. */
typedef struct cli_command {
    const char *name;
    const char *summary;     /* one line */
    const char *usage;       /* "MODEL --text FILE [options]" */
    const char *description; /* paragraphs, wrapped at 78 columns */
    const char *examples;    /* lines "command   # what it does" */
    const cli_option *options;
    size_t n_options;
    size_t arguments_min, arguments_max; /* positional ones */
    int (*run)(const struct cli_command *command, int argc, char **argv);
} cli_command;

/* The commands in the order of the manual; NULL past the end. */
const cli_command *command_at(size_t i);
const cli_command *command_find(const char *name);

/* Options that every command has; a command's struct begins with this. */
typedef struct common_options {
    bool help;
    bool json;
    bool quiet;
    uint64_t threads;
    uint64_t seed;
    const char *positional[2];
    size_t n_positional;
} common_options;

/* True for one of the words between the bars of choices. */
bool is_choice(const char *choices, const char *word);

extern const cli_option common_option_table[];
extern const size_t common_option_count;

/* Parses argv into the command's struct (which begins with common_options, and holds the defaults).
 * Returns true to go on; false when the command is to end with *exit_code: help was printed, or an
 * error. */
bool options_parse(void *values, int *exit_code, const cli_command *command, int argc, char **argv);

/* ---- version ---- */

/* kerf --version [-v] [--json] */
int run_version(int argc, char **argv);

/* ---- help ---- */

void help_program(FILE *out);
void help_command(FILE *out, const cli_command *command);
void help_manual(FILE *out);     /* troff */
void help_completion(FILE *out); /* bash */

/* ---- ending, output
 * -------------------------------------------------------------------------------------------- */

/* Prints "kerf: error: …" in one line and returns the exit code for a status. */
int fail_status(const kf_error *err);
/* A mistake in the command line: the line, and where help is. Returns EXIT_USAGE. */
int fail_usage(const cli_command *command, const char *format, ...) KF_PRINTF(2, 3);
/* Understood but impossible: returns EXIT_BAD_INPUT. */
int fail_input(const char *format, ...) KF_PRINTF(1, 2);

/* Callbacks that draw a progress bar on a terminal's standard error (nothing in a pipe), print
 * warnings, and are cancelled by the first SIGINT or SIGTERM. One per process. */
const kf_callbacks *terminal_callbacks(bool quiet);
/* What no command has to think of: signals of failed reads and writes become errors. */
void terminal_catch_signals(void);
/* Removes the bar, so that something else can be printed. */
void terminal_clear(void);
/* Says what the program waits for, where a person sits in front of it; nothing with --quiet. */
void terminal_hint(const char *message);
/* Waits until a file (a terminal, a pipe) has something to read, or its end; false when a signal
 * came first, or before. */
bool terminal_wait_input(int file);
/* Ctrl-C or SIGTERM came. */
bool terminal_interrupted(void);
/* SIGTERM came: the program is to end, not only what it does now. */
bool terminal_terminated(void);
/* Forgets a Ctrl-C: a conversation stops the answer, not the program. */
void terminal_rearm(void);

/* Seconds since an arbitrary start. */
double clock_seconds(void);

/* Number forms for people: "98.4 MB", "1 min 23 s". dst of 32 bytes. */
const char *format_bytes(char dst[32], uint64_t bytes);
const char *format_seconds(char dst[32], double seconds);

/* A text out of a file for people: one line that cannot drive a terminal, control characters as
 * '?', cut to n - 1 bytes. */
const char *show_text(char *dst, size_t n, const char *text);

/* Flushes standard output, and keeps errno of the first time that this failed; false once anything
 * could not be written: there is no use in computing more of it. */
bool output_flush(void);
/* Something to print could not be made, for this errno: as if it could not be written. */
void output_fail(int reason);
/* The last flush; EXIT_WORK_FAILED when something could not be written, with the reason in a line
 * (a full disk) or silently (a closed pipe: the reader wants no more). */
int finish_output(int exit_code);

#endif /* KERF_CLI_CLI_H */
