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
    const char *source; /* the model that is read, borrowed */
    bool replace;
    int lock; /* of OUT.partial while this run works there, or -1 */
} kfi_output;

typedef enum kfi_output_state {
    KFI_OUTPUT_FRESH,   /* nothing is there yet */
    KFI_OUTPUT_PARTIAL, /* OUT.partial of this identity: go on */
    KFI_OUTPUT_COMPLETE /* OUT is there already and of this identity */
} kfi_output_state;

/* KF_RANGE: path names no directory that could be made or replaced. */
KF_NODISCARD kf_status kfi_output_init(kfi_output *output, const char *path, const char *source,
                                       const kf_allocator *alloc, kf_error *err);
void kfi_output_deinit(kfi_output *output);

/* Makes an OUT.partial that is there this run's own, until deinit. KF_RANGE: it is another's. */
KF_NODISCARD kf_status kfi_output_lock(kfi_output *output, kf_error *err);
/* Gives an OUT its name back whose replacement was cut off between the two renames. */
KF_NODISCARD kf_status kfi_output_recover(const kfi_output *output, kf_error *err);
/* Refuses what exists where the options do not allow it: KF_RANGE, before any work is done. Changes
 * nothing on the disk. */
KF_NODISCARD kf_status kfi_output_check(kfi_output *output, const kf_quantize_options *options,
                                        kf_error *err);
/* Looks for work to go on with; takes its decision about the prefix into identity. KF_INPUT: it
 * belongs to something else. */
KF_NODISCARD kf_status kfi_output_resume(const kfi_output *output, kfi_output_state *state,
                                         kfi_identity *identity, const kf_quantize_options *options,
                                         kf_error *err);
/* Removes files of OUT.partial that were cut off while being written. */
KF_NODISCARD kf_status kfi_output_clean(const kfi_output *output, kf_error *err);
/* Makes and locks OUT.partial, empty but for resume.json. */
KF_NODISCARD kf_status kfi_output_begin(kfi_output *output, const kfi_identity *identity,
                                        kf_error *err);
/* Removes resume.json and gives the directory its name. */
KF_NODISCARD kf_status kfi_output_finish(const kfi_output *output, kf_error *err);

/* ---- output_check.c: only what Kerf made is ever removed ---- */

/* Whether the name is taken, if only by a link that leads nowhere. */
bool kfi_output_is_there(const char *path);
/* A directory that is a checkpoint of Kerf's. */
bool kfi_output_is_checkpoint(const kfi_output *output, const char *directory);
/* KF_RANGE unless path, OUT or OUT.replaced, is an empty directory or a checkpoint of Kerf's; never
 * where the source is in it. */
KF_NODISCARD kf_status kfi_output_check_replaced(const kfi_output *output, const char *path,
                                                 kf_error *err);
/* KF_RANGE where OUT.partial exists and is not what a run left there. */
KF_NODISCARD kf_status kfi_output_check_partial(const kfi_output *output, kf_error *err);
/* A file that was being written when its run ended: see base/file.h. */
bool kfi_output_is_cut_off(const char *name);

#endif /* KFI_QUANTIZE_OUTPUT_H */
