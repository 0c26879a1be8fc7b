/* opened.h - what a kf_model holds, for this room.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_OPENED_H
#define KFI_MODEL_OPENED_H

#include "base/lock.h"
#include "model/checkpoint.h"
#include "model/model.h"

/* Where the tensors of a block lie. */
typedef struct kfi_block_source {
    const kfi_tensor *linears[KFI_LINEAR_COUNT];
    float *decoded; /* all float weights of the block, one after the other; NULL: not decoded */
} kfi_block_source;

/* Float weights in memory: the first n_kept blocks (and the head) stay once decoded, all later ones
 * take turns in one scratch block. Packed weights need none of this. */
typedef struct kfi_residency {
    kfi_lock decoding; /* held while something that stays is decoded */
    kfi_lock pass;     /* held for a whole pass by those who use the scratch block */
    size_t n_kept;
    bool keeps_head;
    float *head; /* decoded, [vocabulary][hidden] */
    float *scratch;
    size_t scratch_bytes;
    size_t i_scratch; /* block in it, SIZE_MAX: none */
} kfi_residency;

struct kf_model {
    const kf_allocator *alloc;
    char *path; /* as it was opened, or what it is instead; owned */
    const kf_callbacks *callbacks;
    kf_pool *pool;
    const kf_activation *activation; /* in place of the checkpoint's, of the call that opens */
    kfi_checkpoint checkpoint;
    kfi_block *blocks;         /* [n_layers] */
    kfi_block_source *sources; /* [n_layers] */
    const float *final_norm;
    kfi_linear head; /* weights stay NULL: float heads go through kfi_residency */
    const kfi_tensor *embedding;
    const kfi_tensor *head_tensor; /* the embedding when tied */
    kfi_residency residency;
    kf_model_info info;
    size_t side_width; /* of the widest side path; 0: no layer has one */
    uint64_t linear_parameters;
    uint64_t bytes_per_token;
};

/* residency.c */
KF_NODISCARD kf_status kfi_residency_init(kf_model *model, uint64_t cache_bytes, kf_error *err);
void kfi_residency_deinit(kf_model *model);
/* A pass over a model that does not fit may not be disturbed by another thread's. */
void kfi_model_begin_pass(kf_model *model);
void kfi_model_end_pass(kf_model *model);
/* A float head that is kept, [vocabulary][hidden]; NULL where it is not. KF_NOMEM. */
KF_NODISCARD kf_status kfi_model_kept_head(kf_model *model, const float **weights, kf_error *err);
/* Rows row_begin … row_begin + n - 1 of a float head, decoded into place [n][hidden]. */
void kfi_model_decode_head(kf_model *model, float *place, size_t row_begin, size_t n);

/* accounting.c: fills info, linear_parameters and bytes_per_token. KF_NOMEM. */
KF_NODISCARD kf_status kfi_model_account(kf_model *model, kf_error *err);

#endif /* KFI_MODEL_OPENED_H */
