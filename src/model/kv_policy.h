/* kv_policy.h - the policies of the KV cache, as data.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_KV_POLICY_H
#define KFI_MODEL_KV_POLICY_H

#include "kerf/model.h"

/* How keys and values are kept. */
typedef struct kfi_kv_policy {
    unsigned key_bits, value_bits; /* of the codes; 0: float32 */
    bool is_fitted;                /* levels for normal numbers up to 4 bits, scales fitted */
    bool keeps_newest;             /* the block of the newest tokens in 8 bits, too */
} kfi_kv_policy;

/* False where no such cache exists; KF_KV_AUTO has none of its own. */
bool kfi_kv_policy_of(kfi_kv_policy *policy, kf_kv kv);

#endif /* KFI_MODEL_KV_POLICY_H */
