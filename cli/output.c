/* output.c - the end of a command, and numbers for people.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

static int exit_code_of(kf_status status)
{
    switch (status) {
    case KF_OK:
        return EXIT_DONE;
    case KF_INVALID:
        return EXIT_USAGE;
    case KF_RANGE:
    case KF_FORMAT:
    case KF_UNSUPPORTED:
    case KF_INPUT:
        return EXIT_BAD_INPUT;
    case KF_NOMEM:
    case KF_IO:
    case KF_CANCELLED:
    case KF_INTERNAL:
        break;
    }
    return EXIT_WORK_FAILED;
}

int fail_status(const kf_error *err)
{
    terminal_clear();
    const char *text = err->msg[0] != '\0' ? err->msg : kf_status_text(err->code);
    if (err->code == KF_FORMAT && err->offset != KF_NO_OFFSET) {
        (void)fprintf(stderr, "kerf: error: %s (at byte %llu)\n", text,
                      (unsigned long long)err->offset);
    } else {
        (void)fprintf(stderr, "kerf: error: %s\n", text);
    }
    return exit_code_of(err->code);
}

KF_PRINTF(1, 0) static void print_error(const char *format, va_list arguments)
{
    terminal_clear();
    (void)fputs("kerf: error: ", stderr);
    (void)vfprintf(stderr, format, arguments);
}

int fail_usage(const cli_command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
    if (command != NULL) {
        (void)fprintf(stderr, "; 'kerf %s --help' explains\n", command->name);
    } else {
        (void)fputs("; 'kerf --help' lists the commands\n", stderr);
    }
    return EXIT_USAGE;
}

int fail_input(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    return EXIT_BAD_INPUT;
}

double clock_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const char *format_bytes(char dst[32], uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(dst, 32, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value,
                   units[unit]);
    return dst;
}

const char *format_seconds(char dst[32], double seconds)
{
    if (seconds < 60) {
        (void)snprintf(dst, 32, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
    } else if (seconds < 3600) {
        (void)snprintf(dst, 32, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    } else {
        (void)snprintf(dst, 32, "%d h %02d min", (int)(seconds / 3600), (int)(seconds / 60) % 60);
    }
    return dst;
}

const char *show_text(char *dst, size_t n, const char *text)
{
    (void)snprintf(dst, n, "%s", text);
    for (char *c = dst; *c != '\0'; c++) {
        *c = (unsigned char)*c < 0x20 || *c == 0x7F ? '?' : *c;
    }
    return dst;
}

/* Why standard output failed, 0 as long as it did not. */
static int output_errno;

void output_fail(int reason)
{
    if (output_errno == 0) {
        output_errno = reason;
    }
}

bool output_flush(void)
{
    if (fflush(stdout) != 0) {
        output_fail(errno);
    }
    return output_errno == 0 && !ferror(stdout);
}

int finish_output(int exit_code)
{
    if (output_flush()) {
        return exit_code;
    }
    if (output_errno != EPIPE) {
        terminal_clear();
        (void)fprintf(stderr, "kerf: error: cannot write standard output%s%s\n",
                      output_errno != 0 ? ": " : "",
                      output_errno != 0 ? strerror(output_errno) : "");
    }
    return exit_code == EXIT_DONE ? EXIT_WORK_FAILED : exit_code;
}
