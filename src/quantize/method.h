/* method.h - a published method from the inside: one file that defines one kfi_method, and one line
 * in methods.def.
 *
 * A method has a name, knobs and the functions of its stage. Nothing outside its file knows its
 * name; recipes are validated against the table.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_METHOD_H
#define KFI_QUANTIZE_METHOD_H

#include "kerf/quantize.h"
#include "quantize/repair/repair.h"
#include "quantize/round/round.h"
#include "quantize/statistics.h"
#include "quantize/transform/transform.h"

#define KFI_KNOBS_MAX 16u

typedef enum kfi_stage {
    KFI_STAGE_TRANSFORM,
    KFI_STAGE_ALLOCATE,
    KFI_STAGE_ROUND,
    KFI_STAGE_REPAIR,
    KFI_STAGE_TUNE
} kfi_stage;

/* Knobs reach a method as one array of doubles in the order of its table: a number as it is, a
 * switch as 0 or 1, a word as its index in the choices. */
typedef struct kfi_method {
    kf_method about;
    kfi_stage stage;

    /* What calibration must gather; the request comes in with nothing asked for, to stage repair
     * with what the method asks that rounds. NULL: nothing. */
    void (*request)(kfi_statistics_request *request, const double *knobs);
    /* False: a block's later layers are fitted to the outputs of its full-precision earlier ones.
     * NULL: true, they see the quantized ones. */
    bool (*is_sequential)(const double *knobs);

    /* What a dry run makes of the method's time, beside solving once and measuring: products of a
     * row with the Gram matrix, and fits of a row's grids. NULL: none. */
    double (*products)(const double *knobs);
    double (*fits)(const double *knobs);

    /* Stage transform. What a model must have; NULL: nothing. */
    kf_status (*check)(const kfi_config *config, const double *knobs, kf_error *err);
    /* The residual stream between the blocks is rotated: job->residual_signs. */
    bool rotates_residual;
    /* It sets the block's online maps, and so is the last of the transforms: the others work on
     * inputs as norms and layers give them. */
    bool maps_inputs;
    /* Bytes of a block's maps, as they are stored, at most; NULL: none. */
    uint64_t (*map_bytes)(const kfi_config *config, const double *knobs);
    /* How many columns of an input are outliers; NULL: none. */
    size_t (*n_outliers)(size_t width, const double *knobs);
    /* Changes a block in float so that it rounds better, its function the same. */
    kf_status (*transform)(kfi_transform_job *job, kf_error *err);

    /* Stage round. It rounds the outliers of its job apart. */
    bool takes_outliers;
    /* The largest part of a matrix's weights that it keeps beside it (sparse.h); NULL: none. */
    double (*sparse)(const double *knobs);
    /* The grids that the method starts from; RTN on them is what a report compares
     * with. */
    void (*grid)(kfi_round_grid *grid, const double *knobs);
    /* Computes what layers with the same input share; NULL: nothing. statistics is NULL where
     * nothing was asked for. *shared is released below. */
    kf_status (*prepare)(void **shared, const kfi_statistics *statistics, const double *knobs,
                         const kf_allocator *alloc, kf_error *err);
    void (*release)(void *shared, const kf_allocator *alloc);
    /* Changes the group of a format to what suits these weights; NULL: the format stays. */
    void (*format)(kf_format *format, const float *weights, size_t rows, size_t cols,
                   const double *knobs);
    /* All rows of a matrix must be there at once: not for tables, which are rounded in pieces. */
    bool is_whole;
    /* Codes and grids of one layer. */
    kf_status (*round)(kfi_round_job *job, const void *shared, kf_error *err);

    /* Stage repair; its knobs begin with KFI_REPAIR_KNOBS. A low-rank pair for what rounding left
     * over, and where it rounds again, other codes. */
    kf_status (*repair)(kfi_repair_job *job, kf_error *err);
} kfi_method;

/* NULL when there is none. */
const kfi_method *kfi_method_find(const char *name, size_t n);
const kfi_method *kfi_method_get(size_t i);

/* Index of a knob, or KFI_KNOBS_MAX. */
size_t kfi_knob_find(const kfi_method *method, const char *name, size_t n);
/* Reads a knob's value as written in an assignment: KF_INVALID for what it is not, KF_RANGE. */
KF_NODISCARD kf_status kfi_knob_parse(double *value, const kfi_method *method, size_t i_knob,
                                      const char *text, kf_error *err);
/* Checks a number against a knob of numbers. */
KF_NODISCARD kf_status kfi_knob_check(const kfi_method *method, size_t i_knob, double value,
                                      kf_error *err);
/* The i-th word of a knob's choices; its length in *n, 0 past the end. */
const char *kfi_knob_choice(const kf_knob *knob, size_t i, size_t *n);
bool kfi_knob_is_switch(const kf_knob *knob);
/* All knobs at their defaults. */
void kfi_knobs_default(double *knobs, const kfi_method *method);

#endif /* KFI_QUANTIZE_METHOD_H */
