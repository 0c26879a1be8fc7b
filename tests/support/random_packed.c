/* SPDX-License-Identifier: Apache-2.0 */
#include "random_packed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

static void *must(void *block)
{
    if (block == NULL) {
        abort();
    }
    return block;
}

static float random_half(kfi_rng *rng)
{
    return kfi_half_to_float(kfi_half_from_float(0.02f * kfi_rng_normal(rng)));
}

/* Two-level scales: multipliers of both signs, zeros among the codes. */
static kfi_grid random_two_level_grid(kf_format format, float row_scale, kfi_rng *rng)
{
    const int q_max = (1 << format.bits) - 1;
    const int most = 255 / q_max;
    kfi_grid grid = {.zero = kfi_format_zero(format), .row_scale = row_scale};
    grid.multiplier = (int)kfi_rng_below(rng, 2 * (uint64_t)most + 1) - most;
    grid.scale = row_scale * (float)grid.multiplier;
    if (format.zero == KF_ZERO_INTEGER) {
        grid.zero = (int32_t)kfi_rng_below(rng, (uint64_t)q_max + 1);
    }
    return grid;
}

/* 16 significant bits. */
static float random_row_scale(kfi_rng *rng)
{
    return 0x1p-24f * (float)(0x8000u + kfi_rng_below(rng, 0x8000u));
}

static kfi_grid random_grid(kf_format format, kfi_rng *rng)
{
    kfi_grid grid = {.zero = kfi_format_zero(format)};
    grid.scale = format.scale == KF_SCALE_FP16 ? random_half(rng)
                                               : ldexpf(1.0f, (int)kfi_rng_below(rng, 20) - 20);
    if (format.zero == KF_ZERO_INTEGER) {
        grid.zero = (int32_t)kfi_rng_below(rng, 256);
    } else if (format.zero == KF_ZERO_OFFSET) {
        grid.zero = 0;
        grid.offset = random_half(rng);
    }
    return grid;
}

static int by_value(const void *a, const void *b)
{
    return *(const int8_t *)a - *(const int8_t *)b;
}

void random_table(int8_t table[KFI_TABLE_ENTRIES], kf_format format, kfi_rng *rng)
{
    memset(table, 0, KFI_TABLE_ENTRIES);
    if (format.element == KF_ELEMENT_CODEBOOK) {
        const size_t n = (size_t)1 << format.bits;
        for (size_t i = 0; i < n; i++) {
            table[i] = (int8_t)((int)kfi_rng_below(rng, 256) - 128);
        }
        qsort(table, n, 1, by_value);
    }
}

random_packed random_packed_make(const char *name, size_t rows, size_t cols, bool extremes,
                                 kfi_rng *rng)
{
    random_packed m = {0};
    kf_format format = {0};
    uint64_t n_bytes = 0;
    kf_error err = {0};
    if (kf_format_parse(&format, name, &err) != KF_OK ||
        kf_format_bytes(&n_bytes, format, rows, cols, &err) != KF_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    const size_t n_grids = rows * kfi_format_groups(format, cols);
    const uint64_t q_max = (uint64_t)kfi_format_levels(format, NULL).q_max;
    int8_t table[KFI_TABLE_ENTRIES];
    uint8_t *codes = must(kfi_alloc(NULL, rows * cols));
    kfi_grid *grids = must(kfi_calloc(NULL, n_grids, sizeof *grids));
    m.n_bytes = n_bytes;
    m.bytes = must(kfi_alloc(NULL, m.n_bytes));
    for (size_t i = 0; i < rows * cols; i++) {
        const uint64_t any =
            extremes ? q_max * kfi_rng_below(rng, 2) : kfi_rng_below(rng, q_max + 1);
        codes[i] = (uint8_t)any;
    }
    float row_scale = 0.0f;
    for (size_t i = 0; i < n_grids; i++) {
        if (format.scale != KF_SCALE_TWO_LEVEL) {
            grids[i] = random_grid(format, rng);
            continue;
        }
        row_scale = i % (n_grids / rows) == 0 ? random_row_scale(rng) : row_scale;
        grids[i] = random_two_level_grid(format, row_scale, rng);
    }
    random_table(table, format, rng);
    kfi_packed_begin(m.bytes, format, table, rows, cols);
    kfi_packed_write(m.bytes, 0, (rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS, codes, grids);
    kfi_free(NULL, codes, rows * cols);
    kfi_free(NULL, grids, n_grids * sizeof *grids);
    if (kfi_packed_open(&m.packed, m.bytes, m.n_bytes, false, &err) != KF_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    return m;
}

void random_packed_free(random_packed *m)
{
    kfi_free(NULL, m->bytes, m->n_bytes);
    *m = (random_packed){0};
}

kfi_activations random_activations_make(size_t n_tokens, size_t cols, size_t group, bool extremes,
                                        kfi_rng *rng)
{
    kfi_activations x = {.n_tokens = n_tokens, .cols = cols};
    x.cols_padded = kfi_round_up(cols, KFI_CHUNK_COLS);
    x.group = group == KF_GROUP_ROW ? x.cols_padded : group;
    x.n_groups = (x.cols_padded + x.group - 1) / x.group;
    x.codes = must(kfi_calloc(NULL, n_tokens, x.cols_padded));
    x.scales = must(kfi_calloc(NULL, n_tokens * x.n_groups, sizeof *x.scales));
    x.sums = must(kfi_calloc(NULL, n_tokens * x.cols_padded / KFI_CHUNK_COLS, sizeof *x.sums));
    for (size_t t = 0; t < n_tokens; t++) {
        for (size_t i = 0; i < cols; i++) {
            const int any = extremes ? 254 * (int)kfi_rng_below(rng, 2) - 127
                                     : (int)kfi_rng_below(rng, 255) - 127;
            x.codes[t * x.cols_padded + i] = (int8_t)any;
            x.sums[(t * x.cols_padded + i) / KFI_CHUNK_COLS] += any;
        }
    }
    for (size_t i = 0; i < n_tokens * x.n_groups; i++) {
        x.scales[i] = 0.01f * kfi_rng_uniform(rng);
    }
    return x;
}

void random_activations_free(kfi_activations *x)
{
    kfi_free(NULL, x->codes, x->n_tokens * x->cols_padded);
    kfi_free(NULL, x->scales, x->n_tokens * x->n_groups * sizeof *x->scales);
    kfi_free(NULL, x->sums, x->n_tokens * x->cols_padded / KFI_CHUNK_COLS * sizeof *x->sums);
    *x = (kfi_activations){0};
}

float *random_floats(size_t n, kfi_rng *rng)
{
    float *x = must(kfi_calloc(NULL, n, sizeof *x));
    for (size_t i = 0; i < n; i++) {
        x[i] = kfi_rng_normal(rng);
    }
    return x;
}
