/* report_json.c - what the commands print for machines.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "report_json.h"
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kerf/machine.h"

json_t *json_bytes(const char *text, size_t n)
{
    json_t *value = json_stringn(text, n);
    char *ascii = value == NULL ? malloc(n + 1) : NULL;
    if (ascii != NULL) {
        for (size_t i = 0; i < n; i++) {
            ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
        }
        value = json_stringn(ascii, n);
        free(ascii);
    }
    return value;
}

json_t *json_text(const char *text)
{
    return json_bytes(text, strlen(text));
}

json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_kernels(void)
{
    json_t *kernels = json_object();
    const char *family = NULL;
    const char *variant = NULL;
    for (size_t i = 0; kf_kernel_in_use(i, &family, &variant); i++) {
        (void)json_object_set_new(kernels, family, json_string(variant));
    }
    return kernels;
}

void json_print(json_t *value, int digits)
{
    if (value == NULL) {
        output_fail(ENOMEM);
        return;
    }
    (void)json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
    (void)putchar('\n');
    json_decref(value);
}
