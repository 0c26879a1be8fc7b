/* output.h - the directory that becomes a checkpoint: OUT.partial until it is complete.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_OUTPUT_H
#define KFI_QUANTIZE_OUTPUT_H

#include "quantize/identity.h"

typedef struct kfi_output {
    const kf_allocator *alloc;
    char *path;    /* OUT, without a slash at its end */
    char *partial; /* OUT.partial */
    char *old;     /* OUT.replaced: where an existing OUT goes while the new one takes its name */
    bool replace;
} kfi_output;

typedef enum kfi_output_state {
    KFI_OUTPUT_FRESH,   /* nothing is there yet */
    KFI_OUTPUT_PARTIAL, /* OUT.partial of this identity: go on */
    KFI_OUTPUT_COMPLETE /* OUT is there already and of this identity */
} kfi_output_state;

KF_NODISCARD kf_status kfi_output_init(kfi_output *output, const char *path,
                                       const kf_allocator *alloc, kf_error *err);
void kfi_output_deinit(kfi_output *output);

/* Gives an OUT its name back whose replacement was cut off between the two renames. */
KF_NODISCARD kf_status kfi_output_recover(const kfi_output *output, kf_error *err);
/* Refuses what exists where the options do not allow it: KF_RANGE, before any work is done. */
KF_NODISCARD kf_status kfi_output_check(kfi_output *output, const kf_quantize_options *options,
                                        kf_error *err);
/* Looks for work to go on with; takes its decision about the prefix into identity. KF_INPUT: it
 * belongs to something else. */
KF_NODISCARD kf_status kfi_output_resume(const kfi_output *output, kfi_output_state *state,
                                         kfi_identity *identity, const kf_quantize_options *options,
                                         kf_error *err);
/* Removes files of OUT.partial that were cut off while being written. */
KF_NODISCARD kf_status kfi_output_clean(const kfi_output *output, kf_error *err);
/* Makes OUT.partial, empty but for resume.json. KF_RANGE where, without force, it holds what no
 * interrupted run left there. */
KF_NODISCARD kf_status kfi_output_begin(const kfi_output *output, const kfi_identity *identity,
                                        kf_error *err);
/* Removes resume.json and gives the directory its name. */
KF_NODISCARD kf_status kfi_output_finish(const kfi_output *output, kf_error *err);

#endif /* KFI_QUANTIZE_OUTPUT_H */
