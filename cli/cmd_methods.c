/* cmd_methods.c - kerf methods.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli.h"
#include "report_json.h"

#include <string.h>

#include "kerf/quantize.h"

typedef struct methods_options {
    common_options common;
} methods_options;

static json_t *knobs_json(const kf_method *method)
{
    json_t *list = json_array();
    for (size_t i = 0; i < method->n_knobs; i++) {
        const kf_knob *knob = &method->knobs[i];
        json_t *entry = json_pack("{s:s, s:s, s:s}", "name", knob->name, "default", knob->fallback,
                                  "help", knob->help);
        if (knob->choices != NULL) {
            (void)json_object_set_new(entry, "choices", json_string(knob->choices));
        } else {
            (void)json_object_set_new(entry, "minimum", json_real(knob->minimum));
            (void)json_object_set_new(entry, "maximum", json_real(knob->maximum));
        }
        (void)json_array_append_new(list, entry);
    }
    return list;
}

static void print_json(const char *only)
{
    json_t *list = json_array();
    for (size_t i = 0; kf_method_at(i) != NULL; i++) {
        const kf_method *method = kf_method_at(i);
        if (only == NULL || strcmp(only, method->name) == 0) {
            (void)json_array_append_new(
                list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "name", method->name, "stage",
                                method->stage, "summary", method->summary, "paper", method->paper,
                                "statistics", method->statistics, "knobs", knobs_json(method)));
        }
    }
    json_print(list, 9);
}

static void print_method(const kf_method *method)
{
    (void)printf("%s - %s\n\nstage       %s\nstatistics  %s\npaper       %s\n\nknobs:\n",
                 method->name, method->summary, method->stage, method->statistics, method->paper);
    for (size_t i = 0; i < method->n_knobs; i++) {
        const kf_knob *knob = &method->knobs[i];
        (void)printf("  %-20s %s\n  %-20s default %s, ", knob->name, knob->help, "",
                     knob->fallback);
        if (knob->choices != NULL) {
            (void)printf("one of %s\n", knob->choices);
        } else {
            (void)printf("%g to %g\n", knob->minimum, knob->maximum);
        }
    }
}

/* Prints the recipe of this name, or in this file, as a file of one's own begins. */
static int print_recipe(const cli_command *command, const char *name, bool json)
{
    kf_recipe *recipe = NULL;
    kf_error err = {0};
    if (kf_recipe_open(&recipe, name, NULL, &err) != KF_OK) {
        return err.code == KF_INVALID && strchr(name, '/') == NULL
                   ? fail_usage(command, "unknown method or recipe '%s'", name)
                   : fail_status(&err);
    }
    json_t *content = json_loads(kf_recipe_json(recipe), 0, NULL);
    (void)json_dumpf(content, stdout,
                     JSON_REAL_PRECISION(9) | (json ? JSON_COMPACT : JSON_INDENT(2)));
    (void)putchar('\n');
    json_decref(content);
    kf_recipe_free(recipe);
    return EXIT_DONE;
}

static void print_lists(void)
{
    const char *name = NULL;
    const char *description = NULL;
    (void)puts("methods:");
    for (size_t i = 0; kf_method_at(i) != NULL; i++) {
        const kf_method *method = kf_method_at(i);
        (void)printf("  %-12s %-10s %s\n", method->name, method->stage, method->summary);
    }
    (void)puts("\nrecipes:");
    for (size_t i = 0; kf_recipe_at(i, &name, &description); i++) {
        (void)printf("  %-22s %s\n", name, description);
    }
}

static int run(const cli_command *command, int argc, char **argv)
{
    methods_options options = {0};
    int exit_code = EXIT_DONE;
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    const char *name = options.common.n_positional > 0 ? options.common.positional[0] : NULL;
    const kf_method *method = NULL;
    for (size_t i = 0; name != NULL && kf_method_at(i) != NULL; i++) {
        if (strcmp(kf_method_at(i)->name, name) == 0) {
            method = kf_method_at(i);
        }
    }
    if (name != NULL && method == NULL) {
        return print_recipe(command, name, options.common.json);
    }
    if (options.common.json) {
        print_json(name);
    } else if (method != NULL) {
        print_method(method);
    } else {
        print_lists();
    }
    return EXIT_DONE;
}

const cli_command command_methods = {
    .name = "methods",
    .summary = "list the methods and recipes, or explain one",
    .usage = "[NAME] [options]",
    .description =
        "A recipe names the number formats and an ordered list of methods; a method is one published algorithm, with "
        "knobs that --set changes (kerf quantize … --set gptq.damping=0.05). NAME is a method, a recipe, or a recipe's file.",
    .examples = "  kerf methods\n"
                "  kerf methods gptq\n"
                "  kerf methods gptq-w4 > my.json                # a recipe to edit\n",
    .options = NULL,
    .n_options = 0,
    .arguments_min = 0,
    .arguments_max = 1,
    .run = run,
};
