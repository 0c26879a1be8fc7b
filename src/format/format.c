/* format.c - the table of number formats: names, sizes, and the way to each one's fit.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "format/fit.h"
#include "format/layout.h"
#include "format/names.h"

typedef struct format_kind {
    kf_element element;
    const char *name;
    uint8_t bits_min, bits_max;
    kf_scale_kind scale;
    const char *zeros;
    const char *suffix;
    kfi_fit_fn *fit;
} format_kind;

static const format_kind kinds[] = {
#define KFI_FORMAT(element, name, bits_min, bits_max, scale, zeros, suffix, fit)                   \
    {KF_ELEMENT_##element, name,  bits_min, bits_max,                                              \
     KF_SCALE_##scale,     zeros, suffix,   kfi_##fit##_fit},
#include "format/formats.def"
#undef KFI_FORMAT
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static const struct group_name {
    const char *name;
    uint32_t group;
} groups[] = {{"row", KF_GROUP_ROW}, {"g32", 32}, {"g64", 64}, {"g128", 128}};
#define N_GROUPS (sizeof groups / sizeof groups[0])

static const format_kind *kind_of(kf_format format)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        if (kinds[i].element == format.element && kinds[i].scale == format.scale &&
            format.bits >= kinds[i].bits_min && format.bits <= kinds[i].bits_max) {
            return &kinds[i];
        }
    }
    return NULL;
}

static bool take_group(const char **text, uint32_t *group)
{
    for (size_t i = 0; i < N_GROUPS; i++) {
        if (kfi_name_take(text, groups[i].name)) {
            *group = groups[i].group;
            return true;
        }
    }
    return false;
}

static const char *group_name(uint32_t group)
{
    for (size_t i = 0; i < N_GROUPS; i++) {
        if (groups[i].group == group) {
            return groups[i].name;
        }
    }
    return "g?";
}

static void take_zero(const format_kind *kind, const char **text, uint8_t *zero)
{
    *zero = KF_ZERO_NONE;
    if ((*text)[0] != '\0' && strchr(kind->zeros, (*text)[0]) != NULL) {
        *zero = (*text)[0] == 'a' ? KF_ZERO_INTEGER : KF_ZERO_OFFSET;
        (*text)++;
    }
}

/* A second level of scales needs groups. */
static bool has_group(const format_kind *kind, uint32_t group)
{
    return group_name(group)[1] != '?' &&
           (kind->scale != KF_SCALE_TWO_LEVEL || group != KF_GROUP_ROW);
}

static bool parse_kind(kf_format *format, const format_kind *kind, const char *text)
{
    *format = (kf_format){.element = (uint8_t)kind->element, .scale = (uint8_t)kind->scale};
    if (!kfi_name_take(&text, kind->name) ||
        !kfi_name_take_bits(&text, &format->bits, kind->bits_min, kind->bits_max) ||
        !take_group(&text, &format->group) || !has_group(kind, format->group)) {
        return false;
    }
    take_zero(kind, &text, &format->zero);
    return strcmp(text, kind->suffix) == 0;
}

kf_status kf_format_parse(kf_format *format, const char *name, kf_error *err)
{
    if (strcmp(name, "float") == 0) {
        *format = (kf_format){.element = KF_ELEMENT_FLOAT, .bits = 32};
        return KF_OK;
    }
    for (size_t i = 0; i < N_KINDS; i++) {
        kf_format parsed = {0};
        if (parse_kind(&parsed, &kinds[i], name)) {
            *format = parsed;
            return KF_OK;
        }
    }
    return kfi_fail(
        err, KF_INVALID, KF_NO_OFFSET,
        "unknown weight format '%.40s'; expected float, or int2 to int8, mxint2 to mxint8, "
        "ternary, nf2 to nf4, fp4e2m1, fp6e3m2, cb4, cb8 or cb16 with g32, g64, g128 or row, int also with "
        "a, o, r or ar behind it (int4g64, int3g128a)",
        name);
}

void kf_format_name(char *name, kf_format format)
{
    const format_kind *kind = kind_of(format);
    if (kind == NULL) {
        (void)snprintf(name, KF_FORMAT_NAME_BYTES, "float");
        return;
    }
    const char *zero = format.zero == KF_ZERO_INTEGER  ? "a"
                       : format.zero == KF_ZERO_OFFSET ? "o"
                                                       : "";
    char bits[4] = "";
    if (kind->bits_min != kind->bits_max) {
        (void)snprintf(bits, sizeof bits, "%u", (unsigned)format.bits);
    }
    (void)snprintf(name, KF_FORMAT_NAME_BYTES, "%s%s%s%s%s", kind->name, bits,
                   group_name(format.group), zero, kind->suffix);
}

bool kfi_format_is_known(kf_format format)
{
    const format_kind *kind = kind_of(format);
    if (kind == NULL || !has_group(kind, format.group)) {
        return false;
    }
    return format.zero == KF_ZERO_NONE ||
           (format.zero == KF_ZERO_INTEGER && strchr(kind->zeros, 'a') != NULL) ||
           (format.zero == KF_ZERO_OFFSET && strchr(kind->zeros, 'o') != NULL);
}

kf_status kf_format_bytes(uint64_t *bytes, kf_format format, uint64_t rows, uint64_t cols,
                          kf_error *err)
{
    kfi_layout layout = {0};
    uint64_t n = 0;
    if (rows == 0 || cols == 0) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "empty matrix of %" PRIu64 " x %" PRIu64, rows,
                        cols);
    }
    if (format.element == KF_ELEMENT_FLOAT) {
        if (__builtin_mul_overflow(rows, cols, &n) || __builtin_mul_overflow(n, 4u, &n)) {
            return kfi_fail(err, KF_RANGE, KF_NO_OFFSET,
                            "matrix of %" PRIu64 " x %" PRIu64 " is too large", rows, cols);
        }
        *bytes = n;
        return KF_OK;
    }
    KFI_TRY(kfi_layout_make(&layout, format, rows, cols, err));
    *bytes = layout.bytes;
    return KF_OK;
}

size_t kfi_format_group(kf_format format, size_t cols)
{
    return format.group == KF_GROUP_ROW ? kfi_round_up(cols, KFI_CHUNK_COLS) : format.group;
}

size_t kfi_format_groups(kf_format format, size_t cols)
{
    const size_t group = kfi_format_group(format, cols);
    return (cols + group - 1) / group;
}

kfi_levels kfi_format_levels(kf_format format, const int8_t *table)
{
    const int8_t *fixed = kfi_format_table(format);
    return (kfi_levels){
        .q_max = format.element == KF_ELEMENT_TERNARY ? 2 : (int32_t)(1u << format.bits) - 1,
        .table = format.element == KF_ELEMENT_CODEBOOK ? table : fixed,
        .is_e3m2 = format.element == KF_ELEMENT_E3M2};
}

static kfi_fit_group described(kf_format format, const float *weights, const float *importance,
                               size_t n, const kfi_fit *fit)
{
    return (kfi_fit_group){.weights = weights,
                           .importance = importance,
                           .n = n,
                           .levels = kfi_format_levels(format, fit->table),
                           .exponent = fit->exponent};
}

void kfi_format_fit(kfi_grid *grid, kf_format format, const float *weights, const float *importance,
                    size_t n, const kfi_fit *fit)
{
    const kfi_fit_group group = described(format, weights, importance, n, fit);
    const format_kind *kind = kind_of(format);
    assert(kind != NULL && n > 0);
    kind->fit(grid, format, &group, fit);
}

void kfi_format_fit_row(kfi_grid *grids, kf_format format, const float *weights,
                        const float *importance, size_t cols, const kfi_fit *fit)
{
    const kfi_fit_group row = described(format, weights, importance, cols, fit);
    const format_kind *kind = kind_of(format);
    assert(kind != NULL && cols > 0);
    if (format.scale == KF_SCALE_TWO_LEVEL) {
        kfi_two_level_fit_row(grids, format, &row, fit);
        return;
    }
    for (size_t g = 0; g < kfi_format_groups(format, cols); g++) {
        const kfi_fit_group group = kfi_fit_group_of(&row, format, g);
        kind->fit(&grids[g], format, &group, fit);
    }
}
