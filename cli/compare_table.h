/* compare_table.h - how the rows of kerf compare are printed for people.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_COMPARE_TABLE_H
#define KERF_CLI_COMPARE_TABLE_H

#include "cli.h"
#include "compare_rows.h"

#define COMPARE_NAME_BYTES 300 /* room for what a row is called */

/* What the lines of a table have in common. */
typedef struct compare_layout {
    int name_width;
    bool seeds; /* there are several: names tell which */
    bool texts; /* there are several: lines end with theirs */
} compare_layout;

/* What a row is called: its recipe, with its seed behind an '@' where there are several. */
const char *compare_row_name(char *dst, size_t n, const json_t *row, const compare_layout *layout);
/* By how much the perplexity is above the source's with the same start, in percent; NaN for the
 * source. */
double compare_percent_over(const json_t *row);

/* The names of the columns, and a row under them. */
void compare_print_columns(const compare_layout *layout);
void compare_print_row(const json_t *row, const compare_layout *layout);
/* The same for a document, by --markdown. */
void compare_markdown_columns(const compare_layout *layout);
void compare_markdown_row(const json_t *row, const compare_layout *layout);
/* Mean and standard deviation over seeds, where there are several. */
void compare_print_seeds(const compare_rows *rows, const compare_layout *layout);
/* What each wrote behind the prompt. */
void compare_print_answers(const compare_rows *rows, const char *prompt,
                           const compare_layout *layout);

#endif /* KERF_CLI_COMPARE_TABLE_H */
