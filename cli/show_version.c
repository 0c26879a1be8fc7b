/* show_version.c - kerf --version: what this program is, and what it found.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "report_json.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "kerf/machine.h"
#include "kerf/pool.h"
#include "kerf/version.h"

/* What caps the kernels, "" where nothing does. */
static const char *isa_cap(void)
{
    const char *cap = getenv("KERF_ISA");
    return cap != NULL ? cap : "";
}

static void print_details(void)
{
    char text[96];
    const char *family = NULL;
    const char *variant = NULL;
    (void)printf("sources        %s\n", kf_source_hash());
    (void)printf("compiler       %s\n", kf_compiler());
    kf_cpu_name(text, sizeof text);
    (void)printf("processor      %s, %zu CPUs\n", text, kf_cpu_count());
    (void)printf("executes      ");
    for (size_t i = 0; kf_cpu_feature(i) != NULL; i++) {
        (void)printf(" %s", kf_cpu_feature(i));
    }
    (void)printf("%s\n", kf_cpu_feature(0) == NULL ? " plain C only" : "");
    (void)printf("KERF_ISA       %s\n",
                 isa_cap()[0] == '\0' ? "not set" : show_text(text, sizeof text, isa_cap()));
    (void)printf("kernels in use\n");
    for (size_t i = 0; kf_kernel_in_use(i, &family, &variant); i++) {
        (void)printf("  %-12s %s\n", family, variant);
    }
}

static void print_json(void)
{
    char cpu[96];
    json_t *features = json_array();
    kf_cpu_name(cpu, sizeof cpu);
    for (size_t i = 0; kf_cpu_feature(i) != NULL; i++) {
        (void)json_array_append_new(features, json_string(kf_cpu_feature(i)));
    }
    json_t *isa = isa_cap()[0] == '\0' ? json_null() : json_text(isa_cap());
    json_print(json_pack("{s:s, s:s, s:s, s:o, s:I, s:o, s:o, s:o}", "version", kf_version(),
                         "sources", kf_source_hash(), "compiler", kf_compiler(), "cpu",
                         json_text(cpu), "cpus", (json_int_t)kf_cpu_count(), "features", features,
                         "kerf_isa", isa, "kernels", json_kernels()),
               6);
}

int run_version(int argc, char **argv)
{
    bool verbose = false;
    bool json = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0 || strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else {
            return fail_usage(NULL, "--version: unknown option '%s', expected -v or --json",
                              argv[i]);
        }
    }
    if (json) {
        print_json();
    } else {
        (void)printf("kerf %s\n", kf_version());
        if (verbose) {
            print_details();
        }
    }
    if ((verbose || json) && kf_kernel_warning() != NULL) {
        (void)fprintf(stderr, "kerf: warning: %s\n", kf_kernel_warning());
    }
    return EXIT_DONE;
}
