/* cmd_compare.c - kerf compare: a table of recipes on one model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare.h"
#include "compare_page.h"
#include "compare_table.h"
#include "quantize_job.h"
#include "report_json.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Two ways of rounding at four widths: minutes on a small model, where all recipes take an hour. */
#define DEFAULT_RECIPES "rtn-w8,gptq-w8,rtn-w4,gptq-w4,rtn-w3,gptq-w3,rtn-w2,gptq-w2"

/* ---- directories ---- */

/* The directory for checkpoints: the user's, or a temporary one. */
static kf_status make_directory(cli_comparison *c, kf_error *err)
{
    if (c->options->dir != NULL) {
        if (strlen(c->options->dir) >= sizeof c->dir) {
            return set_error(err, KF_RANGE, "the name of directory '%.40s…' is too long",
                             c->options->dir);
        }
        (void)snprintf(c->dir, sizeof c->dir, "%s", c->options->dir);
        return mkdir(c->dir, 0777) == 0 || errno == EEXIST
                   ? KF_OK
                   : set_error(err, KF_IO, "cannot make directory '%s': %s", c->dir,
                               strerror(errno));
    }
    const char *base = getenv("TMPDIR");
    (void)snprintf(c->dir, sizeof c->dir, "%s/kerf-compare-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(c->dir) == NULL) {
        return set_error(err, KF_IO, "cannot make a directory like '%s': %s", c->dir,
                         strerror(errno));
    }
    c->own_dir = true;
    return KF_OK;
}

void compare_remove_directory(const char *path)
{
    DIR *directory = opendir(path);
    const struct dirent *entry = NULL;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char child[PATH_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (unlink(child) != 0 && strlen(child) + 2 < sizeof child) {
            compare_remove_directory(child);
        }
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    (void)rmdir(path);
}

/* ---- texts ---- */

static kf_status hash_ids(char hex[KF_HASH_BYTES], const cli_document *document, kf_error *err)
{
    return kf_hash_bytes(hex, document->ids, document->n_ids * sizeof *document->ids, err);
}

static kf_status name_text(cli_comparison *c, const char *path, kf_error *err)
{
    if (c->n_texts == TEXTS_MOST) {
        return set_error(err, KF_RANGE, "more than %d texts", TEXTS_MOST);
    }
    c->texts[c->n_texts].path = strdup(path);
    return c->texts[c->n_texts++].path != NULL ? KF_OK : set_error(err, KF_NOMEM, "names of texts");
}

/* Takes --texts apart. */
static kf_status name_texts(cli_comparison *c, kf_error *err)
{
    kf_status st = KF_OK;
    char *rest = NULL;
    char *list = strdup(c->options->texts);
    if (list == NULL) {
        return set_error(err, KF_NOMEM, "names of texts");
    }
    for (char *path = strtok_r(list, ",", &rest); st == KF_OK && path != NULL;
         path = strtok_r(NULL, ",", &rest)) {
        st = name_text(c, path, err);
    }
    free(list);
    if (st == KF_OK && c->n_texts == 0) {
        st = set_error(err, KF_INVALID, "--texts '%s' names none", c->options->texts);
    }
    if (st == KF_OK && c->n_texts > 1 && c->options->calib == NULL) {
        st = set_error(err, KF_INVALID, "several texts need --calib: a text to calibrate on");
    }
    return st;
}

/* Of one text the first half calibrates and the second is measured, cut at a line. */
static kf_status halve_text(cli_comparison *c, kf_error *err)
{
    cli_document *document = &c->texts[0].document;
    kf_status st = document_read(document, c->texts[0].path, err);
    if (st != KF_OK) {
        return st;
    }
    size_t half = document->n_text / 2;
    while (half < document->n_text && document->text[half] != '\n') {
        half++;
    }
    st = encode_text(&c->calibration.ids, &c->calibration.n_ids, c->source.tokenizer,
                     document->text, half, 0, err);
    return st == KF_OK
               ? document_encode(document, c->source.tokenizer, half, document->n_text - half, err)
               : st;
}

static kf_status read_texts(cli_comparison *c, kf_error *err)
{
    kf_status st = KF_OK;
    if (c->options->calib == NULL) {
        st = halve_text(c, err);
    } else {
        st = document_tokenize(&c->calibration, c->options->calib, c->source.tokenizer, err);
        for (size_t i = 0; st == KF_OK && i < c->n_texts; i++) {
            st = document_tokenize(&c->texts[i].document, c->texts[i].path, c->source.tokenizer,
                                   err);
        }
    }
    for (size_t i = 0; st == KF_OK && i < c->n_texts; i++) {
        st = hash_ids(c->texts[i].hash, &c->texts[i].document, err);
    }
    return st == KF_OK ? hash_ids(c->calibration_hash, &c->calibration, err) : st;
}

/* ---- the table ---- */

static compare_layout make_layout(const cli_comparison *c)
{
    compare_layout layout = {
        .name_width = 10, .seeds = c->options->seeds > 1, .texts = c->n_texts > 1};
    for (size_t i = 0; i < c->n_variants; i++) {
        const size_t n = strlen(c->variants[i].name) + (layout.seeds ? 3 : 0);
        const int width = n < 60 ? (int)n : 60;
        layout.name_width = width > layout.name_width ? width : layout.name_width;
    }
    return layout;
}

static void print_heading(const cli_comparison *c, const compare_layout *layout)
{
    kf_model_info info;
    char shown[256];
    kf_model_get_info(c->source.model, &info);
    (void)printf("float: %s (%s)\n", c->options->common.positional[0],
                 show_text(shown, sizeof shown, info.source));
    if (c->options->calib == NULL) {
        (void)printf("text: %s; calibrated on its first half, measured on its second\n",
                     c->texts[0].path);
    } else {
        (void)printf("text: %s; calibrated on %s\n", c->options->texts, c->options->calib);
    }
    compare_print_columns(layout);
}

/* Prints the rows from *n_printed on. */
static void print_rows(const cli_comparison *c, const compare_layout *layout, size_t *n_printed)
{
    const json_t *row = NULL;
    for (; (row = compare_rows_at(&c->rows, *n_printed)) != NULL; (*n_printed)++) {
        if (c->options->common.json) {
            terminal_clear();
            json_print(json_deep_copy(row), 12);
            (void)output_flush();
        } else if (c->options->markdown) {
            compare_markdown_row(row, layout);
        } else {
            compare_print_row(row, layout);
        }
    }
}

static kf_status show_rows(cli_comparison *c, const compare_layout *layout, kf_error *err)
{
    size_t n_printed = 0;
    kf_status st = compare_source(c, err);
    print_rows(c, layout, &n_printed);
    for (size_t i = 0; i < c->n_variants; i++) {
        const bool draws =
            kf_recipe_draws(c->variants[i].recipe); /* else one row says it for all seeds */
        const uint64_t n_seeds = draws ? c->options->seeds : 1;
        for (uint64_t k = 0; st == KF_OK && k < n_seeds && output_flush(); k++) {
            st = compare_recipe(c, i, draws ? c->options->common.seed + k : 0, err);
            print_rows(c, layout, &n_printed);
        }
    }
    return st;
}

static kf_status write_page(const cli_comparison *c, const compare_layout *layout, kf_error *err)
{
    kf_model_info info;
    if (c->options->html == NULL) {
        return KF_OK;
    }
    kf_model_get_info(c->source.model, &info);
    const compare_page page = {.model = c->options->common.positional[0],
                               .source = info.source,
                               .calibration = c->options->calib,
                               .layout = layout};
    return compare_page_write(c->options->html, &page, &c->rows, err);
}

static kf_status compare(cli_comparison *c, kf_error *err)
{
    const compare_layout layout = make_layout(c);
    if (c->options->markdown && !c->options->common.json) {
        compare_markdown_columns(&layout);
    } else if (!c->options->common.json) {
        print_heading(c, &layout);
    }
    kf_status st = show_rows(c, &layout, err);
    if (st == KF_OK && !c->options->common.json && !c->options->markdown) {
        compare_print_seeds(&c->rows, &layout);
        if (c->options->tokens > 0) {
            compare_print_answers(&c->rows, c->options->prompt, &layout);
        }
    }
    return st == KF_OK ? write_page(c, &layout, err) : st;
}

/* ---- opening and closing ---- */

static kf_status open_source(cli_comparison *c, kf_error *err)
{
    kf_model_info info;
    const char *name = c->options->common.positional[0];
    kf_status st =
        subject_open(&c->source, name, &c->options->common, SUBJECT_MODEL | SUBJECT_TOKENIZER, err);
    if (st != KF_OK) {
        return st;
    }
    kf_model_get_info(c->source.model, &info);
    if (info.is_kerf) {
        return set_error(err, KF_UNSUPPORTED,
                         "'%s' is a Kerf checkpoint already; compare the original", name);
    }
    quantize_job_warn(&c->source, &c->options->set);
    return kf_hash_model(c->source_hash, c->source.model, err);
}

/* Everything that can be wrong is told before any work. */
static kf_status comparison_open(cli_comparison *c, kf_error *err)
{
    kf_status st = compare_open_variants(c, err);
    st = st == KF_OK ? name_texts(c, err) : st;
    st = st == KF_OK ? compare_rows_open(&c->rows, c->options->rows, err) : st;
    st = st == KF_OK ? open_source(c, err) : st;
    st = st == KF_OK ? read_texts(c, err) : st;
    return st == KF_OK ? make_directory(c, err) : st;
}

static void comparison_close(cli_comparison *c)
{
    compare_close_variants(c);
    for (size_t i = 0; i < c->n_texts; i++) {
        free(c->texts[i].path);
        document_free(&c->texts[i].document);
    }
    compare_forget_references(c);
    compare_rows_close(&c->rows);
    document_free(&c->calibration);
    subject_close(&c->source);
    if (c->own_dir) {
        compare_remove_directory(c->dir);
    }
    free(c);
}

static int run(const cli_command *command, int argc, char **argv)
{
    compare_options options = {.recipes = DEFAULT_RECIPES,
                               .window = 2048,
                               .tokens = 96,
                               .seeds = 1,
                               .layers = 1,
                               .activations = "recipe",
                               .kv = KF_KV_AUTO,
                               .prompt = "A saw cuts wood by"};
    int exit_code = EXIT_DONE;
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    if (options.texts == NULL) {
        return fail_usage(command, "missing --texts FILES: what to measure on");
    }
    cli_comparison *c = calloc(1, sizeof *c);
    if (c == NULL) {
        err.code = KF_NOMEM;
        return fail_status(&err);
    }
    c->options = &options;
    /* The source, which is the reference, keeps float activations. */
    kf_status st = subject_check_activations(options.activations, &err);
    st = st == KF_OK ? comparison_open(c, &err) : st;
    if (st == KF_OK) {
        st = compare(c, &err);
    }
    if (st != KF_OK) {
        exit_code = fail_status(&err);
    }
    comparison_close(c);
    return exit_code;
}

static const cli_option options_table[] = {
    {"recipes", 'r', OPTION_TEXT, "NAMES",
     "recipes to compare, between commas: names, files, patterns such as 'quarot-*', or 'all', each "
     "with settings of its own behind it: gptq-w4+prefix=none+head=int4g64 (default: rtn and gptq "
     "at 8, 4, 3 and 2 bits)",
     offsetof(compare_options, recipes), 0, 0},
    {"texts", 0, OPTION_TEXT, "FILES", "texts to measure on, between commas",
     offsetof(compare_options, texts), 0, 0},
    {"calib", 0, OPTION_TEXT, "FILE", "text to calibrate on (default: the first half of the text)",
     offsetof(compare_options, calib), 0, 0},
    OPTION_WINDOW(compare_options),
    OPTION_WINDOWS(compare_options),
    {"seeds", 0, OPTION_COUNT, "N",
     "quantize with N seeds, from --seed on, what calibrates or draws (default 1)",
     offsetof(compare_options, seeds), 1, 1000},
    {"rows", 0, OPTION_TEXT, "FILE", "keep the rows here, and take from it those that it has",
     offsetof(compare_options, rows), 0, 0},
    {"markdown", 0, OPTION_FLAG, NULL, "print the table as Markdown",
     offsetof(compare_options, markdown), 0, 0},
    {"html", 0, OPTION_TEXT, "FILE", "write the table as a page with charts, too",
     offsetof(compare_options, html), 0, 0},
    {"layers", 0, OPTION_COUNT, "N",
     "the error behind each block over the first N windows (default 1; 0: not)",
     offsetof(compare_options, layers), 0, 1e9},
    {"set", 's', OPTION_LIST, "KEY=VALUE", "change a knob in every recipe; may be repeated",
     offsetof(compare_options, set), 0, 0},
    OPTION_ACTIVATIONS(compare_options),
    OPTION_KV(compare_options),
    OPTION_KV_EXACT(compare_options),
    {"force", 0, OPTION_FLAG, NULL, "quantize anew what DIR holds already",
     offsetof(compare_options, force), 0, 0},
    {"dir", 0, OPTION_TEXT, "DIR", "keep the checkpoints here (default: a temporary directory)",
     offsetof(compare_options, dir), 0, 0},
    {"prompt", 'p', OPTION_TEXT, "TEXT", "what every model goes on from",
     offsetof(compare_options, prompt), 0, 0},
    {"tokens", 'n', OPTION_COUNT, "N", "tokens that each writes (default 96; 0: none)",
     offsetof(compare_options, tokens), 0, 4096},
};

const cli_command command_compare = {
    .name = "compare",
    .summary = "quantize a model by several recipes and put them side by side",
    .usage = "MODEL --texts FILES [--recipes NAMES] [--calib FILE] [options]",
    .description =
        "One row a recipe, seed and text: bits per weight, perplexity, paired difference and divergence from the source, top-1, tokens a second, time "
        "and memory of quantizing, and a paragraph that it wrote. A checkpoint that stores an exact prefix has it in front of every window: perplexities "
        "of different starts are not comparable. Difference, how much more the perplexity is in percent, KL and top-1 compare with the source started "
        "the same way. Without --calib the first half of the text calibrates and the second is measured.\n"
        "--rows keeps every row in a file as soon as it is measured, one JSON object a line. The same comparison, or a larger one, takes from there what it "
        "has: a row is the same where version and sources of Kerf, model, recipe with all knobs, seed, calibration, text, windows, activations and cache are. So an interrupted "
        "table goes on where it stopped. Checkpoints kept with --dir are taken up again, too, of whatever build of this version; their time is not known then.\n"
        "--html writes one page that needs nothing but itself: the table, loss against bits, what rounding did to each block, and where the error is "
        "born: the residual stream behind each block beside the source's, by position in the window, the first token apart.",
    .examples =
        "  kerf compare $(kerf pull) --texts manual.txt --windows 4 --set calib.samples=4\n"
        "  kerf compare model.gguf --recipes rtn-w4,gptq-w4 --texts test.txt --calib train.txt --json\n"
        "  kerf compare model.gguf --recipes 'gptq-w4,gptq-w4+prefix=none' --texts test.txt --calib train.txt --markdown\n"
        "  kerf compare model.gguf --texts a.txt,b.txt --calib c.txt --rows rows.jsonl --html table.html\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
