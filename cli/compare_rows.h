/* compare_rows.h - the rows of kerf compare, as JSON objects, and the file that keeps them.
 *
 * A row has a member "key" with everything that its figures depend on: version and sources of Kerf,
 * model, recipe, seed, calibration, text, windows, activations, cache. The file holds one row a
 * line; a later comparison takes from it what has the same key, and appends what it measures.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_COMPARE_ROWS_H
#define KERF_CLI_COMPARE_ROWS_H

#include <jansson.h>
#include <stddef.h>

#include "kerf/error.h"

/* Zero-initialise, then compare_rows_close() in any case. */
typedef struct compare_rows {
    const char *path; /* NULL: no file */
    json_t *known;    /* read from it */
    json_t *shown;    /* of this table, in its order */
} compare_rows;

/* Reads a file of rows; one that is not there is empty. path may be NULL. KF_FORMAT names the line
 * that is no row. */
kf_status compare_rows_open(compare_rows *rows, const char *path, kf_error *err);
/* Shows a row that is known already, called as in this table: it may have been called otherwise
 * before, as the key tells recipes apart and not their names. NULL when there is none, else
 * borrowed. */
const json_t *compare_rows_take(compare_rows *rows, const json_t *key, const char *name);
/* Shows a new row (moved, NULL is KF_NOMEM) and appends it to the file, as one write. */
kf_status compare_rows_add(compare_rows *rows, json_t *row, kf_error *err);
void compare_rows_close(compare_rows *rows);

/* The i-th row that is shown, or NULL. */
const json_t *compare_rows_at(const compare_rows *rows, size_t i);
/* A member that is a number, else NaN; that is a text, else "". */
double row_number(const json_t *row, const char *name);
const char *row_text(const json_t *row, const char *name);

#endif /* KERF_CLI_COMPARE_ROWS_H */
