/* transform.c - a float copy of a block, and scaling that leaves its function as it is.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/transform/transform.h"

#include <assert.h>
#include <string.h>

#include "base/fail.h"

/* ---- the copy ---- */

static size_t linear_bytes(const kfi_linear *linear)
{
    return linear->rows * linear->cols * sizeof(float);
}

static float *copy_floats(const float *source, size_t bytes, const kf_allocator *alloc)
{
    float *copy = kfi_alloc(alloc, bytes);
    if (copy != NULL) {
        memcpy(copy, source, bytes);
    }
    return copy;
}

void kfi_float_block_deinit(kfi_float_block *floats)
{
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        kfi_free(floats->alloc, floats->weights[role], linear_bytes(&floats->block.linears[role]));
    }
    kfi_free(floats->alloc, floats->attention_norm, floats->hidden * sizeof(float));
    kfi_free(floats->alloc, floats->mlp_norm, floats->hidden * sizeof(float));
    *floats = (kfi_float_block){0};
}

kf_status kfi_float_block_init(kfi_float_block *floats, const kfi_block *source, size_t hidden,
                               const kf_allocator *alloc, kf_error *err)
{
    const size_t norm_bytes = hidden * sizeof(float);
    *floats = (kfi_float_block){.alloc = alloc, .block = *source, .hidden = hidden};
    floats->attention_norm = copy_floats(source->attention_norm, norm_bytes, alloc);
    floats->mlp_norm = copy_floats(source->mlp_norm, norm_bytes, alloc);
    bool ok = floats->attention_norm != NULL && floats->mlp_norm != NULL;
    for (size_t role = 0; role < KFI_LINEAR_COUNT && ok; role++) {
        kfi_linear *linear = &floats->block.linears[role];
        floats->weights[role] = copy_floats(linear->weights, linear_bytes(linear), alloc);
        linear->weights = floats->weights[role];
        ok = linear->weights != NULL;
    }
    floats->block.attention_norm = floats->attention_norm;
    floats->block.mlp_norm = floats->mlp_norm;
    if (!ok) {
        kfi_float_block_deinit(floats);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a copy of a block to transform");
    }
    return KF_OK;
}

/* ---- scaling ---- */

float *kfi_float_block_gains(kfi_float_block *floats, size_t i_step)
{
    return i_step == KFI_STEP_QKV       ? floats->attention_norm
           : i_step == KFI_STEP_GATE_UP ? floats->mlp_norm
                                        : NULL;
}

static void divide_rows(float *weights, size_t rows, size_t cols, const float *scales)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            weights[r * cols + c] /= scales[r];
        }
    }
}

static void multiply_columns(float *weights, size_t rows, size_t cols, const float *scales)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            weights[r * cols + c] *= scales[c];
        }
    }
}

void kfi_float_block_smooth(kfi_float_block *floats, size_t i_step, const float *scales)
{
    const kfi_linear *up = &floats->block.linears[KFI_LINEAR_UP];
    float *gains = kfi_float_block_gains(floats, i_step);
    if (gains != NULL) {
        divide_rows(gains, floats->hidden, 1, scales);
    } else {
        assert(i_step == KFI_STEP_DOWN && up->bias == NULL);
        divide_rows(floats->weights[KFI_LINEAR_UP], up->rows, up->cols, scales);
    }
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        const kfi_linear *linear = &floats->block.linears[role];
        multiply_columns(floats->weights[role], linear->rows, linear->cols, scales);
    }
}
