/* chart.h - charts as SVG elements within a page.
 *
 * Colours come from the page: class s0 … s9 of a series, axis, grid, label.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_CHART_H
#define KERF_CLI_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A text as the content of an element or of a quoted attribute. */
void chart_text(FILE *out, const char *text);

/* One series: points, or a line through them. What is not finite is left out. */
typedef struct chart_series {
    const char *name; /* borrowed */
    size_t colour;
    bool dashed;
    const double *x, *y, *error; /* [n]; error NULL: none is drawn */
    size_t n;
} chart_series;

typedef struct chart {
    const char *title, *x_label, *y_label;
    bool lines;      /* through the points, and a legend; else each point has its series' name */
    bool log_y;      /* what is not above 0 lies on the floor */
    bool integers_x; /* ticks at whole numbers only */
} chart;

void chart_draw(FILE *out, const chart *chart, const chart_series *series, size_t n);

/* A map of rows × columns: values in 0 … most are shades, each with its number as a tooltip; what
 * is not finite is a gap. */
typedef struct chart_map {
    const char *title, *x_label, *y_label;
    const char *const *columns; /* [n_columns], under the map; borrowed */
    size_t n_columns, n_rows;
    const double *values; /* [n_rows][n_columns] */
    double most;
} chart_map;

void chart_draw_map(FILE *out, const chart_map *map);

#endif /* KERF_CLI_CHART_H */
