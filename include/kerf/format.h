/* kerf/format.h - number formats of weights and activations, and their names.
 *
 * One grammar everywhere (recipes, files, kernels, tables):
 *
 *     weights      what a code means, then g32 | g64 | g128 | row, the columns that share a scale
 *                  int2 ... int8        integers; then a (zero points) or o (fp16 offsets), then
 *                                       (with a group, not with o) r (two-level scales)
 *                  mxint2 ... mxint8    integers under power-of-two scales
 *                  ternary              -1, 0, 1 in two bits; then (with a group) r
 *                  nf2 nf3 nf4          NormalFloat of 2, 3, 4 bits
 *                  fp4e2m1              4-bit floats
 *                  cb4 cb8 cb16         a codebook of 4, 8, 16 entries (2, 3, 4 bits) that is
 *                                       learned for each tensor
 *                  int4g64  int3g128a  int4g32o  mxint8g32  int2g64ar  ternaryg128  nf4g64  cb8g64
 *     activations  int3t ... int8t (a scale a token), or tg32 | tg64 | tg128 (a token and group):
 *                  int8tg64  int4tg64  int3t
 *     float        not quantized
 *
 * The bytes are drawn in docs/FORMAT.md.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_FORMAT_H
#define KERF_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/error.h"
#include "kerf/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a code means. */
typedef enum kf_element {
    KF_ELEMENT_FLOAT = 0, /**< float32, not quantized. */
    KF_ELEMENT_INT = 1,   /**< Unsigned codes with a zero point: w = s (q - z). */
    /** The same with a power-of-two scale (OCP microscaling, integer elements). */
    KF_ELEMENT_MXINT = 2,
    KF_ELEMENT_TERNARY = 3, /**< Codes 0, 1, 2 of two bits: w = s (q - 1). */
    /** w = s t[q], with entries t of -128 ... 127 that each tensor has for itself. */
    KF_ELEMENT_CODEBOOK = 4,
    /** The same with the quantiles of a normal distribution: NormalFloat, QLoRA, arXiv:2305.14314.
     */
    KF_ELEMENT_NF = 5,
    /** The same with twice the values of a 4-bit float: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and a sign. */
    KF_ELEMENT_E2M1 = 6
} kf_element;

/** How the scales of a format are stored. */
typedef enum kf_scale_kind {
    KF_SCALE_NONE = 0,         /**< Not quantized. */
    KF_SCALE_FP16 = 1,         /**< One fp16 a group. */
    KF_SCALE_POWER_OF_TWO = 2, /**< One byte e a group, the scale is 2^(e - 127). */
    KF_SCALE_TWO_LEVEL = 3     /**< One float32 a row times one small integer a group. */
} kf_scale_kind;

/** How the zero points of a format are stored. */
typedef enum kf_zero_kind {
    KF_ZERO_NONE = 0,    /**< Symmetric: z = 2^(bits - 1), ternary z = 1. */
    KF_ZERO_INTEGER = 1, /**< One byte z a group, 0 … 255 (two-level scales: a code's range). */
    KF_ZERO_OFFSET = 2   /**< One fp16 o a group: w = s q + o. */
} kf_zero_kind;

/** The group of a format with one scale a row. */
#define KF_GROUP_ROW 0u

/** A weight format: plain data, compared member by member. */
typedef struct kf_format {
    uint8_t element; /**< kf_element */
    uint8_t bits;    /**< 2 … 8; 32 for float */
    uint8_t scale;   /**< kf_scale_kind */
    uint8_t zero;    /**< kf_zero_kind */
    uint32_t group;  /**< 32, 64, 128 or KF_GROUP_ROW; the last group of a row may be shorter */
} kf_format;

/** An activation format: symmetric integers, made while running, of which 2^(bits-1) - 1 is the
 * largest: 127 of 8 bits, 7 of 4. Narrow ones take a byte all the same, so that they cost what 8
 * bits cost: they show what a recipe loses. */
typedef struct kf_activation {
    uint8_t bits;   /**< 3 … 8, or 32 for float */
    uint32_t group; /**< 32, 64 or 128, or KF_GROUP_ROW for one scale a token */
} kf_activation;

/** Enough for every name and a NUL. */
#define KF_FORMAT_NAME_BYTES 32

/**
 * Reads a weight format's name.
 *
 * @param[out] format  the format
 * @param[in]  name    as above, borrowed
 * @param[out] err     failure report, or NULL
 *
 * @retval KF_OK       known
 * @retval KF_INVALID  not a name of this grammar; the message lists the forms
 */
KF_API KF_NODISCARD kf_status kf_format_parse(kf_format *format, const char *name, kf_error *err);

/**
 * Writes a format's name.
 *
 * @param[out] name    KF_FORMAT_NAME_BYTES
 * @param      format  any that kf_format_parse() gives
 */
KF_API void kf_format_name(char *name, kf_format format);

/** Reads an activation format's name; KF_INVALID as kf_format_parse(). */
KF_API KF_NODISCARD kf_status kf_activation_parse(kf_activation *activation, const char *name,
                                                  kf_error *err);

/**
 * Writes an activation format's name.
 *
 * @param[out] name        KF_FORMAT_NAME_BYTES
 * @param      activation  any that kf_activation_parse() gives
 */
KF_API void kf_activation_name(char *name, kf_activation activation);

/**
 * Bytes that a tensor takes in this format, everything included: header, codes padded to 16 rows
 * and 32 columns, scales, zeros.
 *
 * @param[out] bytes   the size
 * @param      format  the format
 * @param      rows    >= 1
 * @param      cols    >= 1
 * @param[out] err     failure report, or NULL
 *
 * @retval KF_OK     fits
 * @retval KF_RANGE  the product overflows, or rows or cols is 0
 */
KF_API KF_NODISCARD kf_status kf_format_bytes(uint64_t *bytes, kf_format format, uint64_t rows,
                                              uint64_t cols, kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_FORMAT_H */
