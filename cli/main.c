/* main.c - the program: finds the command and runs it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli.h"

#include <string.h>

#define COMMAND(name) extern const cli_command command_##name;
#include "commands.def"
#undef COMMAND

static const cli_command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "commands.def"
#undef COMMAND
};

const cli_command *command_at(size_t i)
{
    return i < sizeof commands / sizeof commands[0] ? commands[i] : NULL;
}

const cli_command *command_find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

/* kerf help [COMMAND | --man | --bash] */
static int run_help(int argc, char **argv)
{
    if (argc == 0) {
        help_program(stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[0], "--man") == 0) {
        help_manual(stdout);
        return EXIT_DONE;
    }
    if (strcmp(argv[0], "--bash") == 0) {
        help_completion(stdout);
        return EXIT_DONE;
    }
    const cli_command *command = command_find(argv[0]);
    if (command == NULL && strcmp(argv[0], "help") == 0) {
        help_program(stdout);
        return EXIT_DONE;
    }
    if (command == NULL) {
        return fail_usage(NULL, "unknown command '%s'", argv[0]);
    }
    help_command(stdout, command);
    return EXIT_DONE;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        help_program(stderr);
        return EXIT_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        return run_help(argc - 2, argv + 2);
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-v") == 0 || strcmp(word, "version") == 0) {
        return run_version(argc - 2, argv + 2);
    }
    const cli_command *command = command_find(word);
    if (command == NULL) {
        return fail_usage(NULL, "unknown command '%s'", word);
    }
    return command->run(command, argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    terminal_catch_signals();
    return finish_output(dispatch(argc, argv));
}
