/* compare_table.c - how the rows of kerf compare are printed for people.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare_table.h"

#include <math.h>
#include <string.h>

const char *compare_row_name(char *dst, size_t n, const json_t *row, const compare_layout *layout)
{
    char name[COMPARE_NAME_BYTES - 24]; /* but for the seed */
    (void)show_text(name, sizeof name, row_text(row, "recipe"));
    const double seed = row_number(row, "seed");
    if (layout->seeds && seed >= 0) {
        (void)snprintf(dst, n, "%s@%.0f", name, seed);
    } else {
        (void)snprintf(dst, n, "%s", name);
    }
    return dst;
}

double compare_percent_over(const json_t *row)
{
    return 100 * (exp(row_number(row, "loss_difference")) - 1);
}

/* A number in a column, '-' where there is none. */
static void print_number(int width, int decimals, double value, const char *unit)
{
    char text[48];
    (void)snprintf(text, sizeof text, "%.*f%s", decimals, value, unit);
    (void)printf(" %*s", width, isfinite(value) ? text : "-");
}

/* "12.345 +- 0.123", or with a sign; one window tells no error. */
static void print_with_error(int width, int decimals, double value, double error, bool is_signed)
{
    char text[64];
    char behind[32] = "";
    if (isfinite(error)) {
        (void)snprintf(behind, sizeof behind, " +- %.*f", decimals, error);
    }
    (void)snprintf(text, sizeof text, is_signed ? "%+.*f%s" : "%.*f%s", decimals, value, behind);
    (void)printf(" %*s", width, isfinite(value) ? text : "-");
}

static void print_percent_over(int width, const json_t *row)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%+.1f%%", compare_percent_over(row));
    (void)printf(" %*s", width, isfinite(compare_percent_over(row)) ? text : "-");
}

void compare_print_columns(const compare_layout *layout)
{
    (void)puts("start: what stands in front of every window; difference (nats a token, paired "
               "errors), over float, KL and top-1: against float with the same start");
    (void)printf("\n%-*s %6s %6s  %-11s %20s %20s %11s %8s %7s %8s %9s %9s  %s\n",
                 layout->name_width, "recipe", "bits", "linear", "start", "perplexity",
                 "difference", "over float", "KL", "top-1", "token/s", "quantize", "memory",
                 layout->texts ? "activations, kv, text" : "activations, kv");
    (void)output_flush();
}

void compare_print_row(const json_t *row, const compare_layout *layout)
{
    char name[COMPARE_NAME_BYTES];
    char cell[32];
    char text[128];
    const double seconds = row_number(row, "quantize_seconds");
    const double memory = row_number(row, "memory_bytes");
    terminal_clear();
    (void)printf("%-*s", layout->name_width, compare_row_name(name, sizeof name, row, layout));
    print_number(6, 3, row_number(row, "bits_per_weight"), "");
    print_number(6, 3, row_number(row, "bits_per_weight_linear"), "");
    (void)printf("  %-11s", show_text(text, sizeof text, row_text(row, "start")));
    print_with_error(20, 3, row_number(row, "perplexity"), row_number(row, "perplexity_se"), false);
    print_with_error(20, 5, row_number(row, "loss_difference"),
                     row_number(row, "loss_difference_se"), true);
    print_percent_over(11, row);
    print_number(8, 4, row_number(row, "kl_mean"), "");
    print_number(7, 2, 100 * row_number(row, "top1"), "%");
    print_number(8, 1, row_number(row, "tokens_per_second"), "");
    (void)printf(" %9s", seconds > 0 ? format_seconds(cell, seconds) : "-");
    (void)printf(" %9s", memory > 0 ? format_bytes(cell, (uint64_t)memory) : "-");
    (void)printf("  %s", show_text(text, sizeof text, row_text(row, "activations")));
    (void)printf(", %s", show_text(text, sizeof text, row_text(row, "kv")));
    if (layout->texts) {
        (void)printf(", %s", show_text(text, sizeof text, row_text(row, "text")));
    }
    (void)printf("\n");
    (void)output_flush();
}

/* ---- over seeds ---- */

static bool is_same_but_seed(const json_t *a, const json_t *b)
{
    return strcmp(row_text(a, "recipe"), row_text(b, "recipe")) == 0 &&
           strcmp(row_text(a, "text"), row_text(b, "text")) == 0;
}

/* Mean and standard deviation of a figure over the rows that differ from one by their seed only. */
static size_t over_seeds(double *mean, double *deviation, const compare_rows *rows,
                         const json_t *one, const char *figure)
{
    double sum = 0;
    double squares = 0;
    size_t n = 0;
    const json_t *row = NULL;
    for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
        if (is_same_but_seed(row, one)) {
            sum += row_number(row, figure);
            n++;
        }
    }
    *mean = sum / (double)n;
    for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
        if (is_same_but_seed(row, one)) {
            const double d = row_number(row, figure) - *mean;
            squares += d * d;
        }
    }
    *deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : (double)NAN;
    return n;
}

static bool is_first_seed(const compare_rows *rows, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (is_same_but_seed(compare_rows_at(rows, k), compare_rows_at(rows, i))) {
            return false;
        }
    }
    return true;
}

void compare_print_seeds(const compare_rows *rows, const compare_layout *layout)
{
    const json_t *row = NULL;
    if (!layout->seeds) {
        return;
    }
    (void)printf("\nover seeds, mean +- standard deviation:\n%-*s %5s %20s %20s\n",
                 layout->name_width, "recipe", "seeds", "perplexity", "difference");
    for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
        double mean[2];
        double deviation[2];
        char text[128];
        const size_t n = over_seeds(&mean[0], &deviation[0], rows, row, "perplexity");
        (void)over_seeds(&mean[1], &deviation[1], rows, row, "loss_difference");
        if (n < 2 || !is_first_seed(rows, i)) {
            continue;
        }
        (void)printf("%-*s %5zu", layout->name_width,
                     show_text(text, sizeof text, row_text(row, "recipe")), n);
        print_with_error(20, 3, mean[0], deviation[0], false);
        print_with_error(20, 5, mean[1], deviation[1], true);
        if (layout->texts) {
            (void)printf("  %s", show_text(text, sizeof text, row_text(row, "text")));
        }
        (void)printf("\n");
    }
}

/* A text of several lines that cannot drive a terminal: it may come out of a file. */
static void print_lines(const char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        const bool is_control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        const bool is_c1 =
            c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;
        (void)putchar(is_control || is_c1 ? '?' : c);
        text += is_c1;
    }
    (void)putchar('\n');
}

void compare_print_answers(const compare_rows *rows, const char *prompt,
                           const compare_layout *layout)
{
    const json_t *row = NULL;
    (void)printf("\nwhat each wrote behind \"%s\":\n", prompt);
    for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
        char name[COMPARE_NAME_BYTES];
        if (json_object_get(row, "answer") != NULL) {
            (void)printf("\n%s\n", compare_row_name(name, sizeof name, row, layout));
            print_lines(row_text(row, "answer"));
        }
    }
}
