/* cmd_verify.c - kerf verify.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli.h"

#include "kerf/quantize.h"

typedef struct verify_options {
    common_options common;
} verify_options;

static int run(const cli_command *command, int argc, char **argv)
{
    verify_options options = {0};
    int exit_code = EXIT_DONE;
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    const char *path = options.common.positional[0];
    if (kf_verify(path, terminal_callbacks(options.common.quiet), &err) != KF_OK) {
        return fail_status(&err);
    }
    terminal_clear();
    if (options.common.json) {
        (void)puts("{\"valid\":true}");
    } else {
        (void)printf("%s: every file, checksum, shape, scale and code is as it should be\n", path);
    }
    return EXIT_DONE;
}

const cli_command command_verify = {
    .name = "verify",
    .summary = "check every byte of a Kerf checkpoint",
    .usage = "DIR [options]",
    .description =
        "Reads the whole checkpoint and checks the checksum of every file and the shape, scales and codes of every "
        "tensor. Exit code 3 and one line name the first thing that is wrong.",
    .examples = "  kerf verify smol-w4\n",
    .options = NULL,
    .n_options = 0,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
