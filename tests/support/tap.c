/* tap.c - makes cmocka 1.1.5 speak TAP that others understand.
 *
 * This function takes the place of the library's own, inside the library too. cmocka prints a test
 * that skipped as "not ok 3 # SKIP name", which readers of TAP take for a failure, and lets through
 * what a test says, which is no TAP unless it begins with '#'.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdbool.h>
#include <stdlib.h>

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_tap(const char *line)
{
    return begins_with(line, "ok ") || begins_with(line, "not ok ") || begins_with(line, "1..") ||
           begins_with(line, "#") || begins_with(line, "\n");
}

void print_message(const char *const format, ...)
{
    char text[8192];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);

    const char *output = getenv("CMOCKA_MESSAGE_OUTPUT");
    const bool tap = output != NULL && strcmp(output, "TAP") == 0;
    if (tap && begins_with(text, "not ok ") && strstr(text, " # SKIP") != NULL) {
        (void)fputs(text + strlen("not "), stdout);
    } else {
        (void)printf("%s%s", tap && !is_tap(text) ? "# " : "", text);
    }
}
