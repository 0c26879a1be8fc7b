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
 *                  fp4e2m1 fp6e3m2      floats of 4 and 6 bits
 *                  cb4 cb8 cb16         a codebook of 4, 8, 16 entries (2, 3, 4 bits) that is
 *                                       learned for each tensor
 *                  int4g64  int3g128a  int4g32o  mxint8g32  int2g64ar  ternaryg128  nf4g64  cb8g64
 *     activations  what a code means, then t (a scale a token) or tg32 | tg64 | tg128 (a scale a
 *                  token and group)
 *                  int3 ... int8        integers; then (of 3 to 7 bits) a (zero points); then c and
 *                                       two digits (clipped)
 *                  mxint3 ... mxint8    integers under power-of-two scales
 *                  fp8                  8-bit floats E4M3
 *                  int8tg64  int4tg64a  int4tc90  int3tg32ac85  mxint8tg32  fp8t
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
    KF_ELEMENT_E2M1 = 6,
    /** w = s v, v sixteen times a 6-bit float: a sign, 3 bits of exponent, 2 of fraction. */
    KF_ELEMENT_E3M2 = 7
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

/** What a code of an activation means. All are made while running, x = s q; narrow ones take a byte
 * all the same, so that they cost what 8 bits cost: they show what a recipe loses. */
typedef enum kf_activation_kind {
    KF_ACTIVATION_INT = 0, /**< |q| <= 2^(bits-1) - 1: 127 of 8 bits, 7 of 4. */
    /** q = 0 … 2^bits - 1 less the zero point of its group. That is a signed byte for 3 to 7 bits;
     * for 8 it would not be, so there is none. */
    KF_ACTIVATION_INT_ASYMMETRIC = 1,
    KF_ACTIVATION_MXINT = 2, /**< As the first under a scale that is a power of two. */
    /** A float of 8 bits, E4M3. Products are those of float activations. */
    KF_ACTIVATION_FP8 = 3
} kf_activation_kind;

/** The least clip there is, in percent. */
#define KF_CLIP_LEAST 50u

/** An activation format: plain data, compared member by member. Members that are 0 stand for plain
 * integers. */
typedef struct kf_activation {
    uint8_t bits;   /**< 3 … 8, or 32 for float (all else is then 0) */
    uint32_t group; /**< 32, 64 or 128, or KF_GROUP_ROW for one scale a token */
    uint8_t kind;   /**< kf_activation_kind */
    /** Of integers: the part of a group's range that codes reach, KF_CLIP_LEAST … 99 percent; what
     * lies outside takes the code at the end. 0: all of it. */
    uint8_t clip;
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
