/* compare_table.h - a row of kerf compare, and how the table is printed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_COMPARE_TABLE_H
#define KERF_CLI_COMPARE_TABLE_H

#include "cli.h"
#include "kerf/eval.h"
#include "kerf/format.h"

/* A finished row of the table. */
typedef struct compare_row {
    char name[64];
    char source[96];
    char activations[KF_FORMAT_NAME_BYTES];
    const char *start; /* what stands in front of every window: "none", "start token" or "text" */
    uint64_t bytes;
    double bits_per_weight, bits_per_weight_linear;
    kf_eval_result eval;
    double quantize_seconds;
    double answer_rate; /* tokens a second */
    char *answer;
} compare_row;

/* What the source and the text are, what was calibrated on (NULL: the first half of the text), and
 * the columns. */
void compare_print_heading(const char *model, const char *source, const char *text,
                           const char *calibration);
void compare_print_row(const compare_row *row);
void compare_print_row_json(const compare_row *row);
/* What each wrote behind the prompt. */
void compare_print_answers(const compare_row *rows, size_t n, const char *prompt);

#endif /* KERF_CLI_COMPARE_TABLE_H */
