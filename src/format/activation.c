/* activation.c - formats of activations: names, and what becomes of a row.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "format/format.h"
#include "format/names.h"

typedef struct kind_info {
    const char *name;
    kf_activation_kind kind;
    uint8_t bits_min, bits_max; /* equal where the name does not tell */
    uint8_t asymmetric_bits;    /* most bits with zero points, 0: none */
    bool clips;
} kind_info;

/* Codes -1 … 1 would be ternary. A code of 8 bits less its zero point is no signed byte. */
static const kind_info kinds[] = {
    {"int", KF_ACTIVATION_INT, 3, 8, 7, true},
    {"mxint", KF_ACTIVATION_MXINT, 3, 8, 0, false},
    {"fp8", KF_ACTIVATION_FP8, 8, 8, 0, false},
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static const struct {
    const char *name;
    uint32_t group;
} groups[] = {{"tg128", 128}, {"tg64", 64}, {"tg32", 32}, {"t", KF_GROUP_ROW}};
#define N_GROUPS (sizeof groups / sizeof groups[0])

/* ---- names ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
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

/* "c90", where there is one. */
static bool take_clip(const char **text, uint8_t *clip)
{
    if (!kfi_name_take(text, "c")) {
        return true;
    }
    if (!is_digit((*text)[0]) || !is_digit((*text)[1])) {
        return false;
    }
    *clip = (uint8_t)(((*text)[0] - '0') * 10 + ((*text)[1] - '0'));
    *text += 2;
    return *clip >= KF_CLIP_LEAST;
}

static bool parse_kind(kf_activation *activation, const kind_info *kind, const char *text)
{
    kf_activation *a = activation;
    *a = (kf_activation){.kind = (uint8_t)kind->kind};
    if (!kfi_name_take(&text, kind->name) ||
        !kfi_name_take_bits(&text, &a->bits, kind->bits_min, kind->bits_max) ||
        !take_group(&text, &a->group)) {
        return false;
    }
    if (a->bits <= kind->asymmetric_bits && kfi_name_take(&text, "a")) {
        a->kind = KF_ACTIVATION_INT_ASYMMETRIC;
    }
    return (!kind->clips || take_clip(&text, &a->clip)) && text[0] == '\0';
}

kf_status kf_activation_parse(kf_activation *activation, const char *name, kf_error *err)
{
    if (strcmp(name, "float") == 0) {
        *activation = (kf_activation){.bits = 32};
        return KF_OK;
    }
    for (size_t i = 0; i < N_KINDS; i++) {
        kf_activation parsed;
        if (parse_kind(&parsed, &kinds[i], name)) {
            *activation = parsed;
            return KF_OK;
        }
    }
    return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                    "unknown activation format '%.40s'; expected float, int3 to int8, mxint3 to "
                    "mxint8 or fp8 with t, tg32, tg64 or tg128, int3 to int7 also with a, int also "
                    "with c50 to c99 behind it (int8tg64, int4tg64ac90)",
                    name);
}

/* The kind that a format's name begins with, or NULL. */
static const kind_info *kind_of(kf_activation activation)
{
    const bool is_asymmetric = activation.kind == KF_ACTIVATION_INT_ASYMMETRIC;
    const unsigned kind = is_asymmetric ? KF_ACTIVATION_INT : activation.kind;
    size_t i = 0;
    while (i < N_KINDS && kinds[i].kind != kind) {
        i++;
    }
    return i < N_KINDS ? &kinds[i] : NULL;
}

static const char *group_name(uint32_t group)
{
    for (size_t i = 0; i < N_GROUPS; i++) {
        if (groups[i].group == group) {
            return groups[i].name;
        }
    }
    return "?";
}

void kf_activation_name(char *name, kf_activation activation)
{
    const kind_info *kind = kind_of(activation);
    char bits[4] = "";
    char clip[8] = "";
    if (kind == NULL || kfi_activation_is_float(activation)) {
        (void)snprintf(name, KF_FORMAT_NAME_BYTES, "float");
        return;
    }
    if (kind->bits_min != kind->bits_max) {
        (void)snprintf(bits, sizeof bits, "%u", (unsigned)activation.bits);
    }
    if (activation.clip != 0) {
        (void)snprintf(clip, sizeof clip, "c%02u", (unsigned)activation.clip);
    }
    (void)snprintf(name, KF_FORMAT_NAME_BYTES, "%s%s%s%s%s", kind->name, bits,
                   group_name(activation.group),
                   activation.kind == KF_ACTIVATION_INT_ASYMMETRIC ? "a" : "", clip);
}

bool kfi_activation_clips(kf_activation activation)
{
    const kind_info *kind = kind_of(activation);
    return kind != NULL && kind->clips && !kfi_activation_is_float(activation);
}

kf_activation kfi_activation_of_head(kf_activation of_blocks)
{
    kf_activation activation = of_blocks;
    activation.clip = 0;
    return activation.bits < 8 ? (kf_activation){.bits = 8, .group = 64} : activation;
}

kf_status kfi_activation_check(kf_activation activation, kf_error *err)
{
    char name[KF_FORMAT_NAME_BYTES];
    kf_activation known;
    kf_activation_name(name, activation);
    KFI_TRY(kf_activation_parse(&known, name, err));
    /* The name of a member that is out of range may be that of another format. */
    return kfi_activation_is_same(activation, known)
               ? KF_OK
               : kfi_fail(err, KF_INVALID, KF_NO_OFFSET, "no activation format, nearest is %s",
                          name);
}

/* ---- rows ---- */

kfi_quantizer kfi_activation_quantizer(kf_activation activation, size_t cols)
{
    static const kfi_quantize_kind quantize_kinds[] = {
        [KF_ACTIVATION_INT] = KFI_QUANTIZE_SYMMETRIC,
        [KF_ACTIVATION_INT_ASYMMETRIC] = KFI_QUANTIZE_ASYMMETRIC,
        [KF_ACTIVATION_MXINT] = KFI_QUANTIZE_POWER_OF_TWO,
    };
    assert(kfi_activation_has_codes(activation));
    const bool is_asymmetric = activation.kind == KF_ACTIVATION_INT_ASYMMETRIC;
    return (kfi_quantizer){
        .kind = quantize_kinds[activation.kind],
        .group = kfi_activation_group(activation, cols),
        .most = (int32_t)(1u << (is_asymmetric ? activation.bits : activation.bits - 1u)) - 1,
        .clip = activation.clip == 0 ? 1.0f : (float)activation.clip / 100.0f};
}

void kfi_activation_round(const kfi_kernels *kernels, float *dst, const float *x, size_t cols,
                          kf_activation activation, void *scratch)
{
    const size_t group = kfi_activation_group(activation, cols);
    if (!kfi_activation_has_codes(activation)) {
        assert(activation.kind == KF_ACTIVATION_FP8);
        kernels->round_fp8(dst, x, cols, group);
        return;
    }
    const size_t padded = kfi_round_up(cols, KFI_CHUNK_COLS);
    const kfi_quantizer how = kfi_activation_quantizer(activation, cols);
    float *scales = scratch;
    int32_t *sums = (int32_t *)(scales + padded / KFI_CHUNK_COLS);
    int8_t *codes = (int8_t *)(sums + padded / KFI_CHUNK_COLS);
    kernels->quantize(codes, scales, sums, x, cols, &how);
    for (size_t i = 0; i < cols; i++) {
        dst[i] = scales[i / group] * (float)codes[i];
    }
}
