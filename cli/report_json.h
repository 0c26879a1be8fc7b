/* report_json.h - what the commands print for machines.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_REPORT_JSON_H
#define KERF_CLI_REPORT_JSON_H

#include <jansson.h>
#include <stddef.h>

/* A string of any bytes: a name out of a file, a path, or an answer that a --stop of half a letter
 * cuts need not be UTF-8, and JSON has nothing else. Where it is not, every byte above ASCII is
 * shown as '?'. */
json_t *json_bytes(const char *text, size_t n);
json_t *json_text(const char *text);

/* A number, or null for what was not measured (NaN) or is infinite. */
json_t *json_number(double value);

/* The variant of every family of kernels in use: {"matmul_int8": "avx512vnni", …}. */
json_t *json_kernels(void);

/* Prints a value in one line with so many digits, and releases it. NULL, for which there was no
 * memory, makes the program fail. */
void json_print(json_t *value, int digits);

#endif /* KERF_CLI_REPORT_JSON_H */
