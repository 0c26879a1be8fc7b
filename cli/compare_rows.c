/* compare_rows.c - the rows of kerf compare, as JSON objects, and the file that keeps them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "compare_rows.h"
#include "report_json.h"
#include "subject.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

double row_number(const json_t *row, const char *name)
{
    const json_t *value = json_object_get(row, name);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

const char *row_text(const json_t *row, const char *name)
{
    const char *text = json_string_value(json_object_get(row, name));
    return text != NULL ? text : "";
}

const json_t *compare_rows_at(const compare_rows *rows, size_t i)
{
    return json_array_get(rows->shown, i);
}

/* ---- reading ---- */

static kf_status read_row(compare_rows *rows, const char *line, size_t n, size_t i_line,
                          kf_error *err)
{
    json_error_t error;
    json_t *row = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(json_object_get(row, "key"))) {
        json_decref(row);
        return set_error(err, KF_FORMAT, "'%s' line %zu: expected a row of kerf compare",
                         rows->path, i_line);
    }
    return json_array_append_new(rows->known, row) == 0
               ? KF_OK
               : set_error(err, KF_NOMEM, "rows of '%s'", rows->path);
}

static kf_status read_rows(compare_rows *rows, const char *text, kf_error *err)
{
    kf_status st = KF_OK;
    for (size_t i_line = 1; st == KF_OK && *text != '\0'; i_line++) {
        const size_t n = strcspn(text, "\n");
        if (n > 0) {
            st = read_row(rows, text, n, i_line, err);
        }
        text += n + (text[n] == '\n');
    }
    return st;
}

kf_status compare_rows_open(compare_rows *rows, const char *path, kf_error *err)
{
    cli_document document = {0};
    rows->path = path;
    rows->known = json_array();
    rows->shown = json_array();
    if (rows->known == NULL || rows->shown == NULL) {
        return set_error(err, KF_NOMEM, "rows");
    }
    if (path == NULL || (access(path, F_OK) != 0 && errno == ENOENT)) {
        return KF_OK;
    }
    kf_status st = document_read(&document, path, err);
    if (st == KF_OK && strlen(document.text) != document.n_text) {
        st = set_error(err, KF_FORMAT, "'%s' holds a NUL: it is no file of rows", path);
    }
    if (st == KF_OK) {
        st = read_rows(rows, document.text, err);
    }
    document_free(&document);
    return st;
}

void compare_rows_close(compare_rows *rows)
{
    json_decref(rows->known);
    json_decref(rows->shown);
}

/* ---- finding and adding ---- */

static json_t *find(const compare_rows *rows, const json_t *key)
{
    for (size_t i = 0; i < json_array_size(rows->known); i++) {
        json_t *row = json_array_get(rows->known, i);
        if (json_equal(json_object_get(row, "key"), key) == 1) {
            return row;
        }
    }
    return NULL;
}

const json_t *compare_rows_take(compare_rows *rows, const json_t *key, const char *name)
{
    json_t *row = find(rows, key);
    if (row != NULL && json_object_set_new(row, "recipe", json_text(name)) != 0) {
        return NULL;
    }
    return row != NULL && json_array_append(rows->shown, row) == 0 ? row : NULL;
}

/* One write, so that a line is whole or not there; what a full disk took of it is taken back. */
static kf_status append_line(const char *path, const char *line, size_t n, kf_error *err)
{
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (file < 0) {
        return set_error(err, KF_IO, "cannot write '%s': %s", path, strerror(errno));
    }
    const off_t before = lseek(file, 0, SEEK_END);
    const ssize_t written = write(file, line, n);
    const bool whole = written == (ssize_t)n && fsync(file) == 0;
    const int reason = written >= 0 && written < (ssize_t)n ? ENOSPC : errno;
    const bool torn = !whole && written > 0 && (before < 0 || ftruncate(file, before) != 0);
    (void)close(file);
    return whole ? KF_OK
                 : set_error(err, KF_IO, "cannot write '%s': %s%s", path, strerror(reason),
                             torn ? "; it ends in half a row" : "");
}

static kf_status save_row(const compare_rows *rows, const json_t *row, kf_error *err)
{
    char *line = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(12));
    const size_t n = line != NULL ? strlen(line) : 0;
    char *ended = line != NULL ? realloc(line, n + 2) : NULL;
    if (ended == NULL) {
        free(line);
        return set_error(err, KF_NOMEM, "a row");
    }
    ended[n] = '\n';
    const kf_status st = append_line(rows->path, ended, n + 1, err);
    free(ended);
    return st;
}

kf_status compare_rows_add(compare_rows *rows, json_t *row, kf_error *err)
{
    if (row == NULL || json_array_append_new(rows->shown, row) != 0) {
        return set_error(err, KF_NOMEM, "a row");
    }
    return rows->path != NULL ? save_row(rows, row, err) : KF_OK;
}
