/* terminal.c - progress, warnings and interrupts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The one terminal of the process: a command line has no second one. */
static struct {
    bool quiet, drawn;
    char task[64]; /* of the bar: a new task starts a new clock */
    double started;
    uint64_t first; /* units that were done when it started */
} terminal;

static volatile sig_atomic_t interrupts, terminations;

/* A pipe that a signal writes to, so that none is lost that comes just before the program waits for
 * input; -1 before it is made, and where it cannot be. */
static int wake[2] = {-1, -1};

static void on_signal(int number)
{
    const int saved = errno;
    volatile sig_atomic_t *count = number == SIGTERM ? &terminations : &interrupts;
    if ((*count)++ > 0) { /* asked twice: do not wait for the next safe point */
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
    const ssize_t n = write(wake[1], "", 1); /* a full pipe wakes as well */
    (void)n;
    errno = saved;
}

static void make_wake(void)
{
    if (wake[0] >= 0 || pipe(wake) != 0) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(wake[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(wake[i], F_SETFL, O_NONBLOCK);
    }
}

/* A page of a mapped file is gone: somebody cut the file, or its disk failed. */
static void on_lost_page(int number)
{
    static const char message[] = "kerf: error: a file was cut or became unreadable while it was "
                                  "in use\n";
    (void)number;
    const ssize_t n = write(STDERR_FILENO, message, sizeof message - 1);
    _exit(n > 0 ? EXIT_BAD_INPUT : EXIT_WORK_FAILED);
}

void terminal_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_lost_page};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error that writes report, */
    (void)signal(SIGXFSZ, SIG_IGN); /* and so is a file that becomes too large */
}

void terminal_clear(void)
{
    if (terminal.drawn) {
        (void)fputs("\r\x1b[K", stderr);
        (void)fflush(stderr);
        terminal.drawn = false;
    }
}

static void draw_bar(double part)
{
    enum {
        WIDTH = 24
    };
    const int filled = (int)(part * WIDTH);
    for (int i = 0; i < WIDTH; i++) {
        (void)fputc(i < filled ? '#' : '.', stderr);
    }
}

static void print_amount(const char *unit, double value)
{
    char text[32];
    if (strcmp(unit, "bytes") == 0) {
        (void)fputs(format_bytes(text, (uint64_t)value), stderr);
    } else {
        (void)fprintf(stderr, "%.0f %s", value, unit);
    }
}

static void on_progress(void *ctx, const kf_progress *progress)
{
    (void)ctx;
    const double t = clock_seconds();
    if (strncmp(terminal.task, progress->task, sizeof terminal.task - 1) != 0) {
        (void)snprintf(terminal.task, sizeof terminal.task, "%s", progress->task);
        terminal.started = t;
        terminal.first = progress->done;
    }
    const double seconds = t - terminal.started;
    const double moved = (double)(progress->done - terminal.first);
    (void)fprintf(stderr, "\r\x1b[K%s ", progress->task);
    terminal.drawn = true;
    if (progress->total > 0) {
        const double part = (double)progress->done / (double)progress->total;
        draw_bar(part);
        (void)fprintf(stderr, " %3.0f %%", 100 * part);
    } else {
        print_amount(progress->unit, (double)progress->done);
    }
    if (seconds > 0.5 && moved > 0) {
        (void)fputs("  ", stderr);
        print_amount(progress->unit, moved / seconds);
        (void)fputs("/s", stderr);
        if (progress->total > progress->done) {
            char left[32];
            const double rest = (double)(progress->total - progress->done) * seconds / moved;
            (void)fprintf(stderr, "  %s left", format_seconds(left, rest));
        }
    }
    (void)fflush(stderr);
}

void terminal_hint(const char *message)
{
    if (!terminal.quiet) {
        terminal_clear();
        (void)fprintf(stderr, "kerf: %s\n", message);
    }
}

static void on_warn(void *ctx, const char *message)
{
    (void)ctx;
    terminal_clear();
    if (!terminal.quiet) {
        (void)fprintf(stderr, "kerf: warning: %s\n", message);
    }
}

static bool on_cancelled(void *ctx)
{
    (void)ctx;
    return terminal_interrupted();
}

/* Standard error is a terminal that can take a line back. */
static bool can_draw(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDERR_FILENO) != 0 && (kind == NULL || strcmp(kind, "dumb") != 0);
}

const kf_callbacks *terminal_callbacks(bool quiet)
{
    static kf_callbacks callbacks;
    struct sigaction action = {.sa_handler = on_signal};
    make_wake();
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    terminal.quiet = quiet;
    callbacks.progress = !quiet && can_draw() ? on_progress : NULL;
    callbacks.warn = on_warn;
    callbacks.cancelled = on_cancelled;
    return &callbacks;
}

bool terminal_wait_input(int file)
{
    struct pollfd files[] = {{.fd = file, .events = POLLIN}, {.fd = wake[0], .events = POLLIN}};
    int ready = -1;
    while (ready < 0 && !terminal_interrupted()) {
        ready = poll(files, 2, -1);
        if (ready < 0 && errno != EINTR) {
            break; /* reading will tell */
        }
    }
    return !terminal_interrupted();
}

bool terminal_interrupted(void)
{
    return interrupts > 0 || terminations > 0;
}

bool terminal_terminated(void)
{
    return terminations > 0;
}

void terminal_rearm(void)
{
    char bytes[16];
    interrupts = 0; /* first: a signal that comes between the two still counts */
    while (read(wake[0], bytes, sizeof bytes) > 0) {
    }
}
