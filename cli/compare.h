/* compare.h - kerf compare from the inside: what is compared, and how a row is measured.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_COMPARE_H
#define KERF_CLI_COMPARE_H

#include "compare_rows.h"
#include "kerf/eval.h"
#include "kerf/hash.h"
#include "kerf/quantize.h"
#include "subject.h"

#define RECIPES_MOST    128
#define TEXTS_MOST      8
#define REFERENCES_MOST 64

typedef struct compare_options {
    common_options common;
    const char *recipes, *texts, *calib, *dir, *prompt, *activations, *rows, *html;
    kf_kv kv;
    text_list set;
    bool force, markdown;
    uint64_t window, windows, tokens, kv_exact, seeds, layers;
} compare_options;

/* A text to measure on. */
typedef struct compare_text {
    char *path; /* malloc'ed */
    cli_document document;
    char hash[KF_HASH_BYTES]; /* of its ids */
} compare_text;

/* A recipe, and what its rows are called: its name, and the settings that it was given alone. */
typedef struct compare_variant {
    kf_recipe *recipe;
    char *name; /* malloc'ed */
} compare_variant;

/* Hidden states of the source behind so many tokens on a text, kept for all rows that start with
 * them. */
typedef struct compare_reference {
    size_t i_text;
    uint32_t *start; /* malloc'ed */
    size_t n;
    char path[PATH_BYTES];
} compare_reference;

typedef struct cli_comparison {
    const compare_options *options;
    cli_subject source;
    char source_hash[KF_HASH_BYTES];
    compare_text texts[TEXTS_MOST];
    size_t n_texts;
    cli_document calibration;
    char calibration_hash[KF_HASH_BYTES];
    compare_variant variants[RECIPES_MOST];
    size_t n_variants;
    char dir[PATH_BYTES - 300]; /* where checkpoints and reference states go */
    bool own_dir;               /* made by us: removed at the end */
    compare_reference references[REFERENCES_MOST];
    size_t n_references;
    compare_rows rows;
} cli_comparison;

/* Opens what --recipes names, all before any work, so that a misspelled name is told at once. */
kf_status compare_open_variants(cli_comparison *comparison, kf_error *err);
void compare_close_variants(cli_comparison *comparison);

/* Shows the rows of the source, or of a recipe with a seed, one a text: those that are known, and
 * else measured ones. */
kf_status compare_source(cli_comparison *comparison, kf_error *err);
kf_status compare_recipe(cli_comparison *comparison, size_t i_variant, uint64_t seed,
                         kf_error *err);
/* Frees and removes the states that were kept. */
void compare_forget_references(cli_comparison *comparison);

/* Removes a directory with all in it. */
void compare_remove_directory(const char *path);

#endif /* KERF_CLI_COMPARE_H */
