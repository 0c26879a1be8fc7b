/* step.h - the four steps in which a block is quantized: layers that share their input.
 *
 *     q, k, v | o | gate, up | down
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_STEP_H
#define KFI_QUANTIZE_STEP_H

#include "model/model.h"

typedef enum kfi_step {
    KFI_STEP_QKV,
    KFI_STEP_O,
    KFI_STEP_GATE_UP,
    KFI_STEP_DOWN,
    KFI_STEP_COUNT
} kfi_step;

static inline size_t kfi_step_first(size_t i_step)
{
    static const kfi_linear_role roles[KFI_STEP_COUNT] = {KFI_LINEAR_Q, KFI_LINEAR_O,
                                                          KFI_LINEAR_GATE, KFI_LINEAR_DOWN};
    return roles[i_step];
}

static inline size_t kfi_step_last(size_t i_step)
{
    static const kfi_linear_role roles[KFI_STEP_COUNT] = {KFI_LINEAR_V, KFI_LINEAR_O, KFI_LINEAR_UP,
                                                          KFI_LINEAR_DOWN};
    return roles[i_step];
}

#endif /* KFI_QUANTIZE_STEP_H */
