/* options.c - parsing a command line by a command's table of options.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kerf/model.h"

const cli_option common_option_table[] = {
    {"threads", 't', OPTION_COUNT, "N", "threads to use (default: the CPUs this process may use)",
     offsetof(common_options, threads), 0, 1024},
    {"seed", 0, OPTION_COUNT, "S", "seed of everything random (default 0)",
     offsetof(common_options, seed), 0, 9007199254740992.0},
    {"json", 0, OPTION_FLAG, NULL, "print JSON, for machines", offsetof(common_options, json), 0,
     0},
    {"quiet", 'q', OPTION_FLAG, NULL, "no progress, no warnings", offsetof(common_options, quiet),
     0, 0},
    {"help", 'h', OPTION_FLAG, NULL, "print this help", offsetof(common_options, help), 0, 0},
};
const size_t common_option_count = sizeof common_option_table / sizeof common_option_table[0];

/* Finds an option by long name (n bytes) or letter in the command's table, then in the common one.
 */
static const cli_option *find_option(const cli_command *command, const char *name, size_t n,
                                     char letter)
{
    const cli_option *tables[] = {command->options, common_option_table};
    const size_t counts[] = {command->n_options, common_option_count};
    for (size_t i_table = 0; i_table < 2; i_table++) {
        for (size_t i = 0; i < counts[i_table]; i++) {
            const cli_option *candidate = &tables[i_table][i];
            if (name != NULL ? strlen(candidate->name) == n && memcmp(candidate->name, name, n) == 0
                             : candidate->letter == letter) {
                return candidate;
            }
        }
    }
    return NULL;
}

/* True for a whole number, of any size and sign: what a count may be is told by its range. */
static bool is_whole(const char *text)
{
    const char *digits = text + (text[0] == '-');
    return digits[0] != '\0' && digits[strspn(digits, "0123456789")] == '\0';
}

static bool parse_number(double *value, const char *text)
{
    char *end = NULL;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value);
}

/* Checks the range of a number that was read; EXIT_DONE or the exit code. */
static int check_range(const cli_option *option, const char *text, double value)
{
    if (value >= option->minimum && value <= option->maximum) {
        return EXIT_DONE;
    }
    return fail_input("--%s %s: expected %.17g to %.17g", option->name, text, option->minimum,
                      option->maximum);
}

bool is_choice(const char *choices, const char *word)
{
    const size_t n = strlen(word);
    for (const char *choice = choices; choice != NULL; choice = strchr(choice, '|')) {
        choice += *choice == '|';
        if (n > 0 && strcspn(choice, "|") == n && memcmp(choice, word, n) == 0) {
            return true;
        }
    }
    return false;
}

static int store_count(uint64_t *slot, const cli_command *command, const cli_option *option,
                       const char *text)
{
    if (!is_whole(text)) {
        return fail_usage(command, "--%s: '%s' is not a whole number", option->name, text);
    }
    *slot = strtoull(text, NULL, 10); /* exact in every range */
    return check_range(option, text, strtod(text, NULL));
}

static int store_counts(count_list *list, const cli_command *command, const cli_option *option,
                        const char *text)
{
    const bool may_be_full = strstr(option->argument, "full") != NULL;
    list->n = 0;
    for (const char *item = text;; item++) {
        char word[32];
        const size_t n = strcspn(item, ",");
        if (list->n == COUNT_LIST_MAX) {
            return fail_input("--%s: more than %d numbers", option->name, COUNT_LIST_MAX);
        }
        if (n >= sizeof word) {
            return fail_usage(command, "--%s: '%.*s' is too long for a number", option->name,
                              (int)n, item);
        }
        (void)snprintf(word, sizeof word, "%.*s", (int)n, item);
        uint64_t *slot = &list->items[list->n++];
        if (may_be_full && strcmp(word, "full") == 0) {
            *slot = COUNT_FULL;
        } else {
            const int exit_code = store_count(slot, command, option, word);
            if (exit_code != EXIT_DONE) {
                return exit_code;
            }
        }
        item += n;
        if (*item == '\0') {
            return EXIT_DONE;
        }
    }
}

/* Stores an option's value; EXIT_DONE or the exit code. */
static int store_value(void *values, const cli_command *command, const cli_option *option,
                       const char *text)
{
    void *slot = (char *)values + option->offset;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)slot = true;
        return EXIT_DONE;
    case OPTION_TEXT:
        *(const char **)slot = text;
        return EXIT_DONE;
    case OPTION_WORD:
        if (!is_choice(option->argument, text)) {
            return fail_usage(command, "--%s: '%s' is not one of %s", option->name, text,
                              option->argument);
        }
        *(const char **)slot = text;
        return EXIT_DONE;
    case OPTION_COUNT:
        return store_count(slot, command, option, text);
    case OPTION_COUNTS:
        return store_counts(slot, command, option, text);
    case OPTION_NUMBER:
        if (!parse_number((double *)slot, text)) {
            return fail_usage(command, "--%s: '%s' is not a number", option->name, text);
        }
        return check_range(option, text, *(double *)slot);
    case OPTION_LIST: {
        text_list *list = slot;
        if (list->n == TEXT_LIST_MAX) {
            return fail_input("--%s: given more than %d times", option->name, TEXT_LIST_MAX);
        }
        list->items[list->n++] = text;
        return EXIT_DONE;
    }
    case OPTION_CACHE: {
        kf_error err = {0};
        return kf_kv_parse(slot, text, &err) == KF_OK
                   ? EXIT_DONE
                   : fail_usage(command, "--%s: %s", option->name, err.msg);
    }
    }
    return EXIT_WORK_FAILED;
}

/* Handles the option at argv[*i], moving *i over its value. */
static int parse_option(void *values, const cli_command *command, int argc, char **argv, int *i)
{
    const char *word = argv[*i];
    const char *value = NULL;
    const cli_option *option = NULL;
    if (word[1] == '-') {
        const char *name = word + 2;
        const char *equals = strchr(name, '=');
        option = find_option(command, name, equals ? (size_t)(equals - name) : strlen(name), 0);
        value = equals != NULL ? equals + 1 : NULL;
    } else {
        option = find_option(command, NULL, 0, word[1]);
        value = word[2] != '\0' ? word + 2 : NULL;
    }
    if (option == NULL) {
        return fail_usage(command, "unknown option '%s'", word);
    }
    if (option->kind == OPTION_FLAG) {
        return value == NULL ? store_value(values, command, option, NULL)
                             : fail_usage(command, "--%s takes no value", option->name);
    }
    if (value == NULL) {
        if (*i + 1 >= argc) {
            return fail_usage(command, "--%s needs a value: %s", option->name, option->argument);
        }
        value = argv[++*i];
    }
    return store_value(values, command, option, value);
}

bool options_parse(void *values, int *exit_code, const cli_command *command, int argc, char **argv)
{
    common_options *common = values;
    bool only_arguments = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (!only_arguments && strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && word[0] == '-' && word[1] != '\0') {
            *exit_code = parse_option(values, command, argc, argv, &i);
            if (*exit_code != EXIT_DONE) {
                return false;
            }
        } else if (common->n_positional == command->arguments_max) {
            *exit_code = fail_usage(command, "unexpected argument '%s'", word);
            return false;
        } else {
            common->positional[common->n_positional++] = word;
        }
    }
    if (common->help) {
        help_command(stdout, command);
        *exit_code = EXIT_DONE;
        return false;
    }
    if (common->n_positional < command->arguments_min) {
        *exit_code =
            fail_usage(command, "missing argument: kerf %s %s", command->name, command->usage);
        return false;
    }
    return true;
}
