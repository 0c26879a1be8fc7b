/* cmd_quantize.c - kerf quantize.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize_job.h"
#include "report_json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct quantize_options {
    common_options common;
    const char *out, *recipe, *calib, *spill;
    text_list set;
    bool resume, force, dry_run;
} quantize_options;

static void print_line(json_t *line)
{
    json_print(line, 9);
    (void)output_flush();
}

static void layer_json(void *ctx, const kf_layer_report *r)
{
    (void)ctx;
    json_t *line = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:b, s:o}", "tensor", r->tensor,
        "format", r->format, "method", r->method, "activations", r->activations, "rows",
        (json_int_t)r->rows, "cols", (json_int_t)r->cols, "bits_per_weight",
        json_number(r->bits_per_weight), "weight_error", json_number(r->weight_error),
        "output_error", json_number(r->output_error), "nearest_error",
        json_number(r->nearest_error), "exact", (int)r->exact, "seconds", json_number(r->seconds));
    if (r->repair != NULL) {
        json_t *pair =
            json_pack("{s:s, s:I, s:o}", "repair", r->repair, "rank", (json_int_t)r->rank,
                      "unrepaired_error", json_number(r->unrepaired_error));
        (void)json_object_update(line, pair);
        json_decref(pair);
    }
    print_line(line);
}

static void print_error(double error)
{
    if (isfinite(error)) {
        (void)printf("  %9.2e", error);
    } else {
        (void)printf("  %9s", "-");
    }
}

static void layer_text(void *ctx, const kf_layer_report *r)
{
    bool *header = ctx;
    terminal_clear();
    if (!*header) {
        (void)printf("%-42s %-12s %6s  %9s  %9s  %9s\n", "tensor", "format", "bits", "weights",
                     "output", "nearest");
        *header = true;
    }
    (void)printf("%-42s %-12s %6.3f", r->tensor, r->format, r->bits_per_weight);
    print_error(r->weight_error);
    print_error(r->output_error);
    print_error(r->nearest_error);
    if (r->repair != NULL) {
        (void)printf("  %s, rank %" PRIu64, r->repair, r->rank);
        if (isfinite(r->unrepaired_error)) {
            (void)printf(": output was %.2e", r->unrepaired_error);
        }
    }
    (void)printf("%s\n", strcmp(r->method, "keep") == 0 ? "  kept"
                         : r->exact                     ? "  exact: already on this grid"
                                                        : "");
    (void)output_flush();
}

static void summary_json(const quantize_options *options, const kf_model_info *source,
                         const kf_recipe *recipe, const kf_quantize_result *r, double seconds)
{
    json_t *line = json_pack(
        "{s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:o, s:o, s:s, s:I, s:o, s:I, s:I, s:I, s:I}", "out",
        json_text(options->out), "source", json_text(source->source), "recipe",
        json_text(kf_recipe_name(recipe)), "dry_run", (int)options->dry_run, "parameters",
        (json_int_t)r->parameters, "source_bytes", (json_int_t)r->source_bytes, "bytes",
        (json_int_t)r->bytes, "bits_per_weight", json_number(r->bits_per_weight),
        "bits_per_weight_linear", json_number(r->bits_per_weight_linear), "prefix", r->prefix,
        "prefix_tokens", (json_int_t)r->n_prefix, "seconds",
        json_number(options->dry_run ? r->seconds : seconds), "peak_rss_bytes",
        (json_int_t)kf_memory_peak(), "memory_bytes", (json_int_t)r->memory_bytes, "disk_bytes",
        (json_int_t)r->disk_bytes, "layers_resumed", (json_int_t)r->n_layers_resumed);
    if (isfinite(r->prefix_loss[0])) {
        (void)json_object_set_new(line, "prefix_loss",
                                  json_pack("[f, f]", r->prefix_loss[0], r->prefix_loss[1]));
    }
    print_line(line);
}

static void summary_text(const quantize_options *options, const kf_model_info *source,
                         const kf_quantize_result *r, double seconds)
{
    char shown[256];
    char a[32];
    char b[32];
    char c[32];
    if (isfinite(r->prefix_loss[0])) {
        (void)printf("prefix: %s (held-back loss %.4f without the start token, %.4f with it)\n",
                     r->prefix, r->prefix_loss[0], r->prefix_loss[1]);
    }
    (void)printf("%s%s: %s (%s) -> %s, %.3f bits per weight (linear layers %.3f)\n",
                 options->dry_run ? "would write " : "", options->out,
                 format_bytes(a, r->source_bytes), show_text(shown, sizeof shown, source->source),
                 format_bytes(b, r->bytes), r->bits_per_weight, r->bits_per_weight_linear);
    if (options->dry_run) {
        (void)printf("about %s, %s of memory, %s of disk; nothing was written\n",
                     format_seconds(a, r->seconds), format_bytes(b, r->memory_bytes),
                     format_bytes(c, r->disk_bytes));
    } else {
        (void)printf("%s, peak memory %s\n", format_seconds(a, seconds),
                     format_bytes(b, kf_memory_peak()));
    }
}

/* One word as a shell reads it back. */
static void print_word(const char *word)
{
    if (strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%") ==
            strlen(word) &&
        word[0] != '\0') {
        (void)fprintf(stderr, " %s", word);
        return;
    }
    (void)fputs(" '", stderr);
    for (; *word != '\0'; word++) {
        (void)fputs(*word == '\'' ? "'\\''" : (char[2]){*word}, stderr);
    }
    (void)fputc('\'', stderr);
}

/* Whether something is left on disk to go on from; what comes before the first block leaves none.
 */
static bool is_begun(const char *out)
{
    char path[PATH_BYTES];
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') {
        n--;
    }
    const int length = snprintf(path, sizeof path, "%.*s.partial", (int)n, out);
    return length > 0 && (size_t)length < sizeof path && access(path, F_OK) == 0;
}

/* Shows how to go on after an interrupt: the same words, with --resume. */
static void print_resume(int argc, char **argv)
{
    (void)fputs("kerf: what was finished is kept; go on with:\n  kerf quantize", stderr);
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--force") != 0 && strcmp(argv[i], "--resume") != 0) {
            print_word(argv[i]);
        }
    }
    (void)fputs(" --resume\n", stderr);
}

static int quantize(const quantize_options *options, cli_subject *source, cli_document *calibration,
                    kf_recipe **recipe, kf_error *err)
{
    const double started = clock_seconds();
    kf_quantize_result result;
    bool header = false;
    kf_status st = quantize_job_recipe(recipe, options->recipe, &options->set, err);
    if (st == KF_OK) {
        st = subject_open(source, options->common.positional[0], &options->common,
                          SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    }
    if (st == KF_OK) {
        quantize_job_warn(source, &options->set);
    }
    if (st == KF_OK && options->calib != NULL) {
        st = document_tokenize(calibration, options->calib, source->tokenizer, err);
    }
    if (st == KF_OK) {
        const quantize_job job = {.source = source,
                                  .recipe = *recipe,
                                  .out = options->out,
                                  .calibration = calibration->ids,
                                  .n_calibration = calibration->n_ids,
                                  .spill = options->spill,
                                  .seed = options->common.seed,
                                  .resume = options->resume,
                                  .force = options->force,
                                  .dry_run = options->dry_run,
                                  .layer = options->common.json ? layer_json : layer_text,
                                  .ctx = &header};
        st = quantize_job_run(&result, &job, err);
    }
    if (st != KF_OK) {
        return fail_status(err);
    }
    kf_model_info info;
    kf_model_get_info(source->model, &info);
    if (options->common.json) {
        summary_json(options, &info, *recipe, &result, clock_seconds() - started);
    } else {
        summary_text(options, &info, &result, clock_seconds() - started);
    }
    return EXIT_DONE;
}

static int run(const cli_command *command, int argc, char **argv)
{
    quantize_options options = {0};
    int exit_code = EXIT_DONE;
    cli_subject source = {0};
    cli_document calibration = {0};
    kf_recipe *recipe = NULL;
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    if (options.out == NULL) {
        return fail_usage(command, "missing -o OUT: the directory to make");
    }
    if (options.recipe == NULL) {
        return fail_usage(command, "missing --recipe NAME; 'kerf methods' lists them");
    }
    exit_code = quantize(&options, &source, &calibration, &recipe, &err);
    if (err.code == KF_CANCELLED && is_begun(options.out)) {
        print_resume(argc, argv);
    }
    kf_recipe_free(recipe);
    document_free(&calibration);
    subject_close(&source);
    return exit_code;
}

static const cli_option options_table[] = {
    {"out", 'o', OPTION_TEXT, "DIR", "directory to make", offsetof(quantize_options, out), 0, 0},
    {"recipe", 'r', OPTION_TEXT, "NAME", "a recipe that comes with Kerf, or a JSON file",
     offsetof(quantize_options, recipe), 0, 0},
    {"calib", 0, OPTION_TEXT, "FILE", "text to measure the layers' inputs on",
     offsetof(quantize_options, calib), 0, 0},
    {"set", 's', OPTION_LIST, "KEY=VALUE", "change a knob of the recipe; may be repeated",
     offsetof(quantize_options, set), 0, 0},
    {"resume", 0, OPTION_FLAG, NULL, "go on where an interrupted run stopped",
     offsetof(quantize_options, resume), 0, 0},
    {"force", 0, OPTION_FLAG, NULL, "replace an existing DIR, start over",
     offsetof(quantize_options, force), 0, 0},
    {"dry-run", 0, OPTION_FLAG, NULL, "print size, time, memory and disk; write nothing",
     offsetof(quantize_options, dry_run), 0, 0},
    {"spill", 0, OPTION_TEXT, "DIR", "keep the calibration stream in a file there",
     offsetof(quantize_options, spill), 0, 0},
};

const cli_command command_quantize = {
    .name = "quantize",
    .summary = "quantize a model by a recipe",
    .usage = "MODEL -o DIR --recipe NAME [--calib FILE] [options]",
    .description =
        "Works block by block, with one block of weights in memory, and keeps every finished block: an interrupted run goes on "
        "with --resume. DIR appears only when it is complete.\n"
        "The table shows, for every tensor, the relative squared error of the weights, of the layer's output "
        "on the calibration text, and what rounding to the nearest would have given.\n"
        "Knobs: weights=int3g128a, activations=int4tg64a, act_clip=0.50 to 1.00|published|search (the part of their range that "
        "activations keep; published is Atom's and QuaRot's 0.9, search tries it on calibration text for every input), "
        "act_kept=true|false (also inputs of kept layers), head=int4g64, embedding=int8g64, prefix=none|start|auto|TEXT, "
        "calib.samples=128, calib.length=2048, METHOD.KNOB=… as 'kerf methods METHOD' lists them, and "
        "tensors.PATTERN=FORMAT or keep, for tensors by name: tensors.*down_proj=int4g64a, tensors.blk.0.*=keep. "
        "A recipe of your own is a JSON file with the same keys: docs/RECIPES.md.",
    .examples =
        "  kerf quantize model.gguf -o out --recipe gptq-w4 --calib text.txt\n"
        "  kerf quantize model.gguf -o out --recipe rtn-w8                # needs no text\n"
        "  kerf quantize hf-dir -o out --recipe gptq-w3 --calib text.txt --set head=int4g64\n"
        "  kerf quantize model.gguf -o out --recipe my.json --calib text.txt --dry-run\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
