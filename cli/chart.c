/* chart.c - charts as SVG elements within a page.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "chart.h"

#include <math.h>
#include <string.h>

/* The plot within its element, and the legend at its right. */
#define WIDTH  760.0
#define HEIGHT 340.0
#define LEFT   70.0
#define RIGHT  200.0
#define TOP    34.0
#define BOTTOM 46.0

#define COLOURS    10
#define TICKS_MOST 12

void chart_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            (void)fputs("&amp;", out);
            break;
        case '<':
            (void)fputs("&lt;", out);
            break;
        case '>':
            (void)fputs("&gt;", out);
            break;
        case '"':
            (void)fputs("&quot;", out);
            break;
        default:
            if ((unsigned char)*text >= 0x20 || *text == '\n') {
                (void)fputc(*text, out);
            }
        }
    }
}

/* ---- axes ---- */

/* From values to places; of a logarithmic one, low and high are logarithms to base 10. */
typedef struct axis {
    double low, high;
    bool log;
    double begin, end; /* places of low and high */
} axis;

static double place(const axis *a, double value)
{
    double v = value;
    if (a->log) {
        v = value > 0 ? log10(value) : a->low;
    }
    v = v < a->low ? a->low : v > a->high ? a->high : v;
    return a->begin + (v - a->low) / (a->high - a->low) * (a->end - a->begin);
}

static void widen(axis *a, double value)
{
    if (!isfinite(value) || (a->log && value <= 0)) {
        return;
    }
    const double v = a->log ? log10(value) : value;
    a->low = v < a->low ? v : a->low;
    a->high = v > a->high ? v : a->high;
}

/* Some room on both sides, also of one value. */
static void finish_axis(axis *a)
{
    const double span = a->high - a->low;
    const double room = span > 0 ? 0.05 * span : a->log ? 0.1 : fabs(a->high) * 0.1 + 0.1;
    a->low -= room;
    a->high += room;
}

/* Steps of 1, 2 or 5 times a power of ten, so that there are four to ten. */
static size_t linear_ticks(double *ticks, const axis *a, bool integers)
{
    const double raw = (a->high - a->low) / 5;
    const double power = pow(10, floor(log10(raw)));
    double step = raw / power < 1.5 ? power : raw / power < 3.5 ? 2 * power : 5 * power;
    step = integers && step < 1 ? 1 : step;
    size_t n = 0;
    for (double i = ceil(a->low / step); i * step <= a->high && n < TICKS_MOST; i++) {
        ticks[n++] = i * step + 0.0; /* not -0 */
    }
    return n;
}

/* Powers of ten; where there are few, 2 and 5 times them, too. */
static size_t log_ticks(double *ticks, const axis *a)
{
    static const double factors[] = {1, 2, 5};
    const bool dense = a->high - a->low < 2.5;
    size_t n = 0;
    for (double i = floor(a->low); i <= a->high && n < TICKS_MOST; i++) {
        for (size_t k = 0; k < (dense ? 3u : 1u) && n < TICKS_MOST; k++) {
            const double tick = factors[k] * pow(10, i);
            if (log10(tick) >= a->low && log10(tick) <= a->high) {
                ticks[n++] = tick;
            }
        }
    }
    return n;
}

static void draw_axes(FILE *out, const chart *c, const axis *x, const axis *y)
{
    double ticks[TICKS_MOST];
    size_t n = y->log ? log_ticks(ticks, y) : linear_ticks(ticks, y, false);
    for (size_t i = 0; i < n; i++) {
        const double at = place(y, ticks[i]);
        (void)fprintf(out,
                      "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                      "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                      x->begin, x->end, at, at, x->begin - 6, at + 4, ticks[i]);
    }
    n = linear_ticks(ticks, x, c->integers_x);
    for (size_t i = 0; i < n; i++) {
        const double at = place(x, ticks[i]);
        (void)fprintf(
            out,
            "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
            "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
            at, at, y->begin, y->begin + 5, at, y->begin + 18, ticks[i]);
    }
    (void)fprintf(out,
                  "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n"
                  "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                  x->begin, x->end, y->begin, y->begin, (x->begin + x->end) / 2, y->begin + 36);
    chart_text(out, c->x_label);
    (void)fprintf(out,
                  "</text>\n<text class=\"label\" transform=\"translate(14 %.1f) rotate(-90)\" "
                  "text-anchor=\"middle\">",
                  (y->begin + y->end) / 2);
    chart_text(out, c->y_label);
    (void)fprintf(out, "</text>\n");
}

static void begin_svg(FILE *out, const char *title, double height)
{
    (void)fprintf(out, "<figure><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\"><title>", WIDTH,
                  height);
    chart_text(out, title);
    (void)fprintf(out, "</title>\n<text class=\"title\" x=\"%.1f\" y=\"18\">", LEFT);
    chart_text(out, title);
    (void)fprintf(out, "</text>\n");
}

/* ---- series ---- */

static bool is_drawn(const chart_series *s, size_t i)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]);
}

static void draw_points(FILE *out, const chart_series *s, const axis *x, const axis *y)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!is_drawn(s, i)) {
            continue;
        }
        const double at_x = place(x, s->x[i]);
        const double at_y = place(y, s->y[i]);
        const double error = s->error != NULL && isfinite(s->error[i]) ? s->error[i] : 0;
        (void)fprintf(out, "<line class=\"s%zu\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      s->colour % COLOURS, at_x, at_x, place(y, s->y[i] - error),
                      place(y, s->y[i] + error));
        (void)fprintf(out, "<circle class=\"s%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>",
                      s->colour % COLOURS, at_x, at_y);
        chart_text(out, s->name);
        (void)fprintf(out, ": %g, %g</title></circle><text class=\"label\" x=\"%.1f\" y=\"%.1f\">",
                      s->x[i], s->y[i], at_x + 7, at_y - 4);
        chart_text(out, s->name);
        (void)fprintf(out, "</text>\n");
    }
}

static void draw_line(FILE *out, const chart_series *s, const axis *x, const axis *y)
{
    (void)fprintf(out, "<polyline class=\"s%zu%s\" points=\"", s->colour % COLOURS,
                  s->dashed ? " dashed" : "");
    for (size_t i = 0; i < s->n; i++) {
        if (is_drawn(s, i)) {
            (void)fprintf(out, "%.1f,%.1f ", place(x, s->x[i]), place(y, s->y[i]));
        }
    }
    (void)fprintf(out, "\"><title>");
    chart_text(out, s->name);
    (void)fprintf(out, "</title></polyline>\n");
}

static void draw_legend(FILE *out, const chart_series *series, size_t n, double height)
{
    const double room = (height - TOP) / (double)n;
    const double step = room > 16 ? 16 : room;
    for (size_t i = 0; i < n; i++) {
        const double at = TOP + step * (double)i;
        (void)fprintf(out,
                      "<line class=\"s%zu%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
                      "<text class=\"label\" x=\"%.1f\" y=\"%.1f\">",
                      series[i].colour % COLOURS, series[i].dashed ? " dashed" : "",
                      WIDTH - RIGHT + 14, WIDTH - RIGHT + 38, at, at, WIDTH - RIGHT + 44, at + 4);
        chart_text(out, series[i].name);
        (void)fprintf(out, "</text>\n");
    }
}

void chart_draw(FILE *out, const chart *c, const chart_series *series, size_t n)
{
    axis x = {.low = INFINITY, .high = -INFINITY, .begin = LEFT, .end = WIDTH - RIGHT};
    axis y = {
        .low = INFINITY, .high = -INFINITY, .log = c->log_y, .begin = HEIGHT - BOTTOM, .end = TOP};
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < series[i].n; k++) {
            if (is_drawn(&series[i], k)) {
                widen(&x, series[i].x[k]);
                widen(&y, series[i].y[k]);
            }
        }
    }
    if (x.low > x.high || y.low > y.high) {
        return; /* nothing to draw */
    }
    finish_axis(&x);
    finish_axis(&y);
    begin_svg(out, c->title, HEIGHT);
    draw_axes(out, c, &x, &y);
    for (size_t i = 0; i < n; i++) {
        if (c->lines) {
            draw_line(out, &series[i], &x, &y);
        } else {
            draw_points(out, &series[i], &x, &y);
        }
    }
    if (c->lines) {
        draw_legend(out, series, n, HEIGHT);
    }
    (void)fprintf(out, "</svg></figure>\n");
}

/* ---- maps ---- */

#define MAP_ROW 9.0

static void draw_cell(FILE *out, const chart_map *m, size_t i_row, size_t i_column)
{
    const double value = m->values[i_row * m->n_columns + i_column];
    const double width = (WIDTH - LEFT - RIGHT) / (double)m->n_columns;
    const double part = m->most > 0 ? value / m->most : 0;
    if (!isfinite(value)) {
        return;
    }
    (void)fprintf(out,
                  "<rect class=\"cell\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                  "fill-opacity=\"%.3f\"><title>%zu, %s: %.5g</title></rect>\n",
                  LEFT + width * (double)i_column, TOP + MAP_ROW * (double)i_row, width, MAP_ROW,
                  part < 1 ? part : 1, i_row, m->columns[i_column], value);
}

void chart_draw_map(FILE *out, const chart_map *m)
{
    const double bottom = TOP + MAP_ROW * (double)m->n_rows;
    const double width = (WIDTH - LEFT - RIGHT) / (double)m->n_columns;
    begin_svg(out, m->title, bottom + BOTTOM);
    for (size_t i = 0; i < m->n_rows; i++) {
        for (size_t k = 0; k < m->n_columns; k++) {
            draw_cell(out, m, i, k);
        }
        if (i % 5 == 0) {
            (void)fprintf(
                out, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%zu</text>\n",
                LEFT - 6, TOP + MAP_ROW * (double)i + 8, i);
        }
    }
    for (size_t k = 0; k < m->n_columns; k++) {
        (void)fprintf(out, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                      LEFT + width * ((double)k + 0.5), bottom + 14);
        chart_text(out, m->columns[k]);
        (void)fprintf(out, "</text>\n");
    }
    (void)fprintf(out, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                  (LEFT + WIDTH - RIGHT) / 2, bottom + 34);
    chart_text(out, m->x_label);
    (void)fprintf(out,
                  "</text>\n<text class=\"label\" transform=\"translate(14 %.1f) rotate(-90)\" "
                  "text-anchor=\"middle\">",
                  (TOP + bottom) / 2);
    chart_text(out, m->y_label);
    (void)fprintf(out, "</text>\n</svg></figure>\n");
}
