/* compare_markdown.c - kerf compare's table for a document.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare_table.h"

#include <math.h>

/* A cell with a text that cannot end it. */
static void text_cell(const char *text)
{
    char shown[256];
    (void)fputs(" ", stdout);
    for (const char *c = show_text(shown, sizeof shown, text); *c != '\0'; c++) {
        (void)printf(*c == '|' ? "\\%c" : "%c", *c);
    }
    (void)fputs(" |", stdout);
}

/* A number with a unit, or "-" where there is none. */
static void number_cell(int decimals, double value, const char *unit)
{
    if (isfinite(value)) {
        (void)printf(" %.*f%s |", decimals, value, unit);
    } else {
        (void)fputs(" - |", stdout);
    }
}

static void perplexity_cell(const json_t *row)
{
    (void)printf(" %.3f", row_number(row, "perplexity"));
    if (isfinite(row_number(row, "perplexity_se"))) {
        (void)printf(" ± %.3f", row_number(row, "perplexity_se"));
    }
    (void)fputs(" |", stdout);
}

/* How much more the perplexity is, and its paired error, in percent. */
static void over_float_cell(const json_t *row)
{
    const double percent = compare_percent_over(row);
    const double error = (100 + percent) * row_number(row, "loss_difference_se");
    if (!isfinite(percent)) {
        (void)fputs(" - |", stdout);
    } else if (!isfinite(error)) {
        (void)printf(" %+.2f %% |", percent);
    } else {
        (void)printf(" %+.2f ± %.2f %% |", percent, error);
    }
}

void compare_markdown_columns(const compare_layout *layout)
{
    (void)printf(
        "| recipe | bits | linear | start | perplexity | over float | KL | top-1 | quantize | "
        "memory | activations, kv |%s\n|---|---|---|---|---|---|---|---|---|---|---|%s\n",
        layout->texts ? " text |" : "", layout->texts ? "---|" : "");
    (void)output_flush();
}

void compare_markdown_row(const json_t *row, const compare_layout *layout)
{
    char name[COMPARE_NAME_BYTES];
    char cell[300];
    const double seconds = row_number(row, "quantize_seconds");
    const double memory = row_number(row, "memory_bytes");
    terminal_clear();
    (void)fputs("|", stdout);
    text_cell(compare_row_name(name, sizeof name, row, layout));
    number_cell(3, row_number(row, "bits_per_weight"), "");
    number_cell(3, row_number(row, "bits_per_weight_linear"), "");
    text_cell(row_text(row, "start"));
    perplexity_cell(row);
    over_float_cell(row);
    number_cell(4, row_number(row, "kl_mean"), "");
    number_cell(2, 100 * row_number(row, "top1"), " %");
    text_cell(seconds > 0 ? format_seconds(cell, seconds) : "-");
    text_cell(memory > 0 ? format_bytes(cell, (uint64_t)memory) : "-");
    (void)snprintf(cell, sizeof cell, "%s, %s", row_text(row, "activations"), row_text(row, "kv"));
    text_cell(cell);
    if (layout->texts) {
        text_cell(row_text(row, "text"));
    }
    (void)fputs("\n", stdout);
    (void)output_flush();
}
