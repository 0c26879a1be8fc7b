/* compare_table.c - the table of kerf compare.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare_table.h"
#include "report_json.h"

#include <math.h>

void compare_print_heading(const char *model, const char *source, const char *text,
                           const char *calibration)
{
    char shown[256];
    (void)printf("float: %s (%s)\n", model, show_text(shown, sizeof shown, source));
    if (calibration == NULL) {
        (void)printf("text: %s; calibrated on its first half, measured on its second\n", text);
    } else {
        (void)printf("text: %s; calibrated on %s\n", text, calibration);
    }
    (void)puts("start: what stands in front of every window; over float, KL and top-1: against "
               "float with the same start");
    (void)printf("\n%-10s %9s %6s %6s  %-11s %20s %11s %8s %7s %8s %9s  %s\n", "recipe", "size",
                 "bits", "linear", "start", "perplexity", "over float", "KL", "top-1", "token/s",
                 "quantize", "activations, kv");
    (void)output_flush();
}

/* By how much the perplexity is above the source's with the same start. */
static double percent_over(const compare_row *r)
{
    return 100 * (exp(r->eval.loss_difference) - 1);
}

void compare_print_row(const compare_row *r)
{
    char size[32];
    char seconds[32];
    terminal_clear();
    (void)printf("%-10s %9s %6.3f %6.3f  %-11s %10.3f ", r->name, format_bytes(size, r->bytes),
                 r->bits_per_weight, r->bits_per_weight_linear, r->start, r->eval.perplexity);
    if (isfinite(r->eval.perplexity_se)) {
        (void)printf("+- %6.3f ", r->eval.perplexity_se);
    } else { /* one window tells none */
        (void)printf("%9s ", "");
    }
    if (isfinite(r->eval.kl_mean)) {
        (void)printf("%+10.1f%% %8.4f %6.2f%% ", percent_over(r), r->eval.kl_mean,
                     100 * r->eval.top1);
    } else {
        (void)printf("%11s %8s %7s ", "-", "-", "-");
    }
    (void)printf("%8.1f %9s  %s, %s\n", r->answer_rate,
                 r->quantize_seconds > 0 ? format_seconds(seconds, r->quantize_seconds) : "-",
                 r->activations, kf_kv_name(r->eval.kv));
    (void)output_flush();
}

void compare_print_row_json(const compare_row *r)
{
    json_t *line = json_pack(
        "{s:o, s:o, s:I, s:o, s:o, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:I}",
        "recipe", json_text(r->name), "source", json_text(r->source), "bytes", (json_int_t)r->bytes,
        "bits_per_weight", json_number(r->bits_per_weight), "bits_per_weight_linear",
        json_number(r->bits_per_weight_linear), "tokens", (json_int_t)r->eval.tokens, "windows",
        (json_int_t)r->eval.windows, "start", r->start, "perplexity",
        json_number(r->eval.perplexity), "perplexity_se", json_number(r->eval.perplexity_se),
        "reference_perplexity", json_number(r->eval.reference_perplexity), "loss_difference",
        json_number(r->eval.loss_difference), "loss_difference_se",
        json_number(r->eval.loss_difference_se), "kl_mean", json_number(r->eval.kl_mean), "top1",
        json_number(r->eval.top1), "activations", r->activations, "kv", kf_kv_name(r->eval.kv),
        "tokens_per_second", json_number(r->answer_rate), "quantize_seconds",
        json_number(r->quantize_seconds), "peak_rss_bytes", (json_int_t)kf_memory_peak());
    (void)json_object_set_new(line, "answer", json_text(r->answer != NULL ? r->answer : ""));
    json_print(line, 12);
    (void)output_flush();
}

void compare_print_answers(const compare_row *rows, size_t n, const char *prompt)
{
    (void)printf("\nwhat each wrote behind \"%s\":\n", prompt);
    for (size_t i = 0; i < n; i++) {
        (void)printf("\n%s\n%s\n", rows[i].name, rows[i].answer);
    }
}
