/* compare_page.c - kerf compare's table as one page with charts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare_page.h"
#include "chart.h"
#include "subject.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 288
#define BANDS_MOST 32

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
    "<title>kerf compare</title>\n<style>\n"
    ":root{color-scheme:light dark;--ink:#1d1d1b;--soft:#6b6b66;--line:#d9d8d2;--paper:#fdfcf9}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#eceae4;--soft:#a3a199;--line:#3c3b37;"
    "--paper:#191917}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);"
    "max-width:70rem;margin:2rem auto;padding:0 1rem}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}\n"
    "div.wide{overflow-x:auto}th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid var(--line)}th:first-child,td:first-child,td.word{text-align:left}\n"
    "figure{margin:1.5rem 0}svg{width:100%;max-width:760px;height:auto;overflow:visible}\n"
    "svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg .title{font-size:13px;"
    "fill:var(--ink)}\n"
    ".grid{stroke:var(--line)}.axis{stroke:var(--soft)}polyline{fill:none;stroke-width:1.8}"
    "circle{stroke:none}.dashed{stroke-dasharray:5 4}.cell{fill:#b3401f}\n"
    ".s0{stroke:#b3401f;fill:#b3401f}.s1{stroke:#1f6fb3;fill:#1f6fb3}.s2{stroke:#2f8f4e;"
    "fill:#2f8f4e}.s3{stroke:#8a4fb0;fill:#8a4fb0}.s4{stroke:#c28a00;fill:#c28a00}"
    ".s5{stroke:#0b8f8f;fill:#0b8f8f}.s6{stroke:#c2397e;fill:#c2397e}.s7{stroke:#6b7a00;"
    "fill:#6b7a00}.s8{stroke:#5563c1;fill:#5563c1}.s9{stroke:#8a6a52;fill:#8a6a52}\n"
    "polyline[class]{fill:none}pre{white-space:pre-wrap}\n"
    "</style></head><body>\n";

/* ---- the table ---- */

static void number_cell(FILE *out, int decimals, double value, double error)
{
    (void)fprintf(out, "<td>");
    if (isfinite(value)) {
        (void)fprintf(out, "%.*f", decimals, value);
    }
    if (isfinite(value) && isfinite(error)) {
        (void)fprintf(out, " ± %.*f", decimals, error);
    }
    (void)fprintf(out, "</td>");
}

static void text_cell(FILE *out, const char *text)
{
    (void)fprintf(out, "<td class=\"word\">");
    chart_text(out, text);
    (void)fprintf(out, "</td>");
}

static void write_row(FILE *out, const json_t *row, const compare_layout *layout)
{
    char name[NAME_BYTES];
    const double none = (double)NAN;
    (void)fprintf(out, "<tr>");
    text_cell(out, compare_row_name(name, sizeof name, row, layout));
    text_cell(out, row_text(row, "text"));
    text_cell(out, row_text(row, "start"));
    number_cell(out, 3, row_number(row, "bits_per_weight"), none);
    number_cell(out, 3, row_number(row, "bits_per_weight_linear"), none);
    number_cell(out, 3, row_number(row, "perplexity"), row_number(row, "perplexity_se"));
    number_cell(out, 5, row_number(row, "loss_difference"), row_number(row, "loss_difference_se"));
    number_cell(out, 2, compare_percent_over(row), none);
    number_cell(out, 5, row_number(row, "kl_mean"), none);
    number_cell(out, 2, 100 * row_number(row, "top1"), none);
    number_cell(out, 1, row_number(row, "quantize_seconds"), none);
    number_cell(out, 1, row_number(row, "memory_bytes") / 1e6, none);
    text_cell(out, row_text(row, "activations"));
    text_cell(out, row_text(row, "kv"));
    (void)fprintf(out, "</tr>\n");
}

static void write_table(FILE *out, const compare_rows *rows, const compare_layout *layout)
{
    const json_t *row = NULL;
    (void)fprintf(out,
                  "<div class=\"wide\"><table><thead><tr><th>recipe</th><th>text</th><th>start</th>"
                  "<th>bits</th><th>linear</th><th>perplexity</th><th>difference, nats</th>"
                  "<th>over float, %%</th><th>KL</th><th>top-1, %%</th><th>quantize, s</th>"
                  "<th>memory, MB</th><th>activations</th><th>kv</th></tr></thead><tbody>\n");
    for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
        write_row(out, row, layout);
    }
    (void)fprintf(out, "</tbody></table></div>\n");
}

/* ---- charts ---- */

/* A series with memory of its own. */
typedef struct page_series {
    char name[NAME_BYTES + 16];
    double x[256], y[256], error[256];
} page_series;

#define POINTS_MOST (sizeof((page_series *)0)->x / sizeof(double))

/* Series of a chart, one or more a row. */
typedef struct page_chart {
    page_series *made;
    chart_series *series;
    size_t n, capacity;
} page_chart;

static bool page_chart_open(page_chart *c, const compare_rows *rows)
{
    c->n = 0;
    c->capacity = 2 * json_array_size(rows->shown) + 1;
    c->made = calloc(c->capacity, sizeof *c->made);
    c->series = calloc(c->capacity, sizeof *c->series);
    return c->made != NULL && c->series != NULL;
}

static void page_chart_close(page_chart *c)
{
    free(c->made);
    free(c->series);
}

static page_series *add_series(page_chart *c, const char *name, const char *what, size_t colour,
                               size_t n)
{
    page_series *made = &c->made[c->n];
    (void)snprintf(made->name, sizeof made->name, "%s%s", name, what);
    c->series[c->n++] = (chart_series){.name = made->name,
                                       .colour = colour,
                                       .x = made->x,
                                       .y = made->y,
                                       .error = made->error,
                                       .n = n < POINTS_MOST ? n : POINTS_MOST};
    return made;
}

/* Loss against bits: a point a row of this text. */
static void write_losses(FILE *out, const compare_rows *rows, const compare_layout *layout,
                         const char *text)
{
    page_chart c;
    char title[NAME_BYTES];
    const json_t *row = NULL;
    if (page_chart_open(&c, rows)) {
        for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
            char name[NAME_BYTES];
            if (strcmp(row_text(row, "text"), text) == 0 &&
                isfinite(row_number(row, "loss_difference"))) {
                page_series *s =
                    add_series(&c, compare_row_name(name, sizeof name, row, layout), "", i, 1);
                s->x[0] = row_number(row, "bits_per_weight_linear");
                s->y[0] = row_number(row, "loss_difference");
                s->error[0] = row_number(row, "loss_difference_se");
            }
        }
        (void)snprintf(title, sizeof title, "Loss against bits: %s", text);
        const chart drawn = {.title = title,
                             .x_label = "bits a weight of the linear layers",
                             .y_label = "nats a token over float",
                             .log_y = true};
        chart_draw(out, &drawn, c.series, c.n);
    }
    page_chart_close(&c);
}

/* A figure of every element of an array of the row, by its index. */
static void add_line(page_chart *c, const json_t *row, const char *array, const char *figure,
                     const char *name, const char *what, size_t colour)
{
    const json_t *elements = json_object_get(row, array);
    const size_t n = json_array_size(elements);
    if (n == 0) {
        return;
    }
    page_series *s = add_series(c, name, what, colour, n);
    for (size_t i = 0; i < n && i < POINTS_MOST; i++) {
        s->x[i] = (double)i;
        s->y[i] = row_number(json_array_get(elements, i), figure);
    }
}

/* What rounding did to the layers of each block. */
static void write_blocks(FILE *out, const compare_rows *rows, const compare_layout *layout,
                         const char *text, const char *figure, const char *title)
{
    page_chart c;
    const json_t *row = NULL;
    if (page_chart_open(&c, rows)) {
        for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
            char name[NAME_BYTES];
            if (strcmp(row_text(row, "text"), text) == 0) {
                add_line(&c, row, "blocks", figure,
                         compare_row_name(name, sizeof name, row, layout), "", i);
            }
        }
        const chart drawn = {.title = title,
                             .x_label = "block",
                             .y_label = "relative squared error",
                             .lines = true,
                             .log_y = true,
                             .integers_x = true};
        chart_draw(out, &drawn, c.series, c.n);
    }
    page_chart_close(&c);
}

/* The residual stream behind each block, the first token apart. */
static void write_layers(FILE *out, const compare_rows *rows, const compare_layout *layout,
                         const char *text)
{
    page_chart c;
    char title[NAME_BYTES];
    const json_t *row = NULL;
    if (page_chart_open(&c, rows)) {
        for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
            char name[NAME_BYTES];
            const size_t n_before = c.n;
            if (strcmp(row_text(row, "text"), text) == 0) {
                (void)compare_row_name(name, sizeof name, row, layout);
                add_line(&c, row, "layers", "others", name, "", i);
                add_line(&c, row, "layers", "first", name, ", first token", i);
            }
            if (c.n == n_before + 2) {
                c.series[c.n - 1].dashed = true;
            }
        }
        (void)snprintf(title, sizeof title, "Error of the residual stream behind each block: %s",
                       text);
        const chart drawn = {.title = title,
                             .x_label = "block",
                             .y_label = "‖x − x_ref‖ / ‖x_ref‖",
                             .lines = true,
                             .log_y = true,
                             .integers_x = true};
        chart_draw(out, &drawn, c.series, c.n);
    }
    page_chart_close(&c);
}

/* Where each band begins: "0", "1", "2", "4", … */
static size_t name_bands(char names[][24], const char **columns, const json_t *layers)
{
    size_t n = json_array_size(json_object_get(json_array_get(layers, 0), "bands"));
    n = n < BANDS_MOST - 1 ? n : BANDS_MOST - 1;
    (void)snprintf(names[0], sizeof names[0], "0");
    columns[0] = names[0];
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(names[i + 1], sizeof names[i + 1], "%zu", (size_t)1 << i);
        columns[i + 1] = names[i + 1];
    }
    return n + 1;
}

/* Where the error is born: blocks by positions, the first token apart at the left. */
static void write_map(FILE *out, const json_t *row, const compare_layout *layout)
{
    const json_t *layers = json_object_get(row, "layers");
    char names[BANDS_MOST][24];
    const char *columns[BANDS_MOST];
    char name[NAME_BYTES];
    char title[NAME_BYTES + 64];
    const size_t n_rows = json_array_size(layers);
    const size_t n_columns = n_rows > 0 ? name_bands(names, columns, layers) : 0;
    double *values = n_rows > 0 ? calloc(n_rows * n_columns, sizeof *values) : NULL;
    chart_map map = {.title = title,
                     .x_label = "position in the window, from",
                     .y_label = "block",
                     .columns = columns,
                     .n_columns = n_columns,
                     .n_rows = n_rows,
                     .values = values};
    for (size_t i = 0; values != NULL && i < n_rows; i++) {
        const json_t *layer = json_array_get(layers, i);
        const json_t *bands = json_object_get(layer, "bands");
        values[i * n_columns] = row_number(layer, "first");
        for (size_t k = 1; k < n_columns; k++) {
            const json_t *band = json_array_get(bands, k - 1);
            values[i * n_columns + k] =
                json_is_number(band) ? json_number_value(band) : (double)NAN;
        }
        for (size_t k = 0; k < n_columns; k++) {
            map.most = values[i * n_columns + k] > map.most ? values[i * n_columns + k] : map.most;
        }
    }
    if (values != NULL) {
        (void)snprintf(title, sizeof title, "%s, %s: by block and position; darkest is %.3g",
                       compare_row_name(name, sizeof name, row, layout), row_text(row, "text"),
                       map.most);
        chart_draw_map(out, &map);
    }
    free(values);
}

/* ---- the page ---- */

/* Charts of one text: of a row that is its first. */
static void write_charts(FILE *out, const compare_rows *rows, const compare_layout *layout,
                         const char *text)
{
    write_losses(out, rows, layout, text);
    write_layers(out, rows, layout, text);
}

static bool is_first_of_text(const compare_rows *rows, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (strcmp(row_text(compare_rows_at(rows, k), "text"),
                   row_text(compare_rows_at(rows, i), "text")) == 0) {
            return false;
        }
    }
    return true;
}

static void write_intro(FILE *out, const compare_page *page)
{
    (void)fprintf(out, "<h1>kerf compare</h1>\n<p>float: ");
    chart_text(out, page->model);
    (void)fprintf(out, " (");
    chart_text(out, page->source);
    (void)fprintf(out, "); calibrated on ");
    chart_text(out, page->calibration != NULL ? page->calibration : "the first half of the text");
    (void)fprintf(out, ". Difference (paired standard error over windows), over float, KL and "
                       "top-1 are against float behind the same start; perplexities of different "
                       "starts are not comparable.</p>\n");
}

static void write_page(FILE *out, const compare_page *page, const compare_rows *rows)
{
    const json_t *row = NULL;
    const json_t *first = compare_rows_at(rows, 0);
    (void)fputs(head, out);
    write_intro(out, page);
    write_table(out, rows, page->layout);
    for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
        if (is_first_of_text(rows, i)) {
            write_charts(out, rows, page->layout, row_text(row, "text"));
        }
    }
    write_blocks(out, rows, page->layout, row_text(first, "text"), "output_error",
                 "Error of layers' outputs on the calibration text, the mean of a block");
    write_blocks(out, rows, page->layout, row_text(first, "text"), "weight_error",
                 "Error of weights, the mean of a block");
    (void)fprintf(out, "<h2>Where the error is born</h2>\n<p>Relative error of the residual stream "
                       "behind each block, by the position of the token in its window; the first "
                       "token has the first column.</p>\n");
    for (size_t i = 0; (row = compare_rows_at(rows, i)) != NULL; i++) {
        write_map(out, row, page->layout);
    }
    (void)fprintf(out, "</body></html>\n");
}

kf_status compare_page_write(const char *path, const compare_page *page, const compare_rows *rows,
                             kf_error *err)
{
    char temporary[PATH_BYTES];
    const int n = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    FILE *out = n > 0 && (size_t)n < sizeof temporary ? fopen(temporary, "w") : NULL;
    if (out == NULL) {
        return set_error(err, KF_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    write_page(out, page, rows);
    const bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed || rename(temporary, path) != 0) {
        const int reason = errno;
        (void)remove(temporary);
        return set_error(err, KF_IO, "cannot write '%s': %s", path, strerror(reason));
    }
    return KF_OK;
}
