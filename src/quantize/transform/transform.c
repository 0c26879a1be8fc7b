/* transform.c - a float copy of a block, and changes of it that leave its function as it is.
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
    for (size_t i = 0; i < KFI_STEP_COUNT; i++) {
        kfi_free(floats->alloc, floats->signs[i], floats->map_n[i]);
        kfi_free(floats->alloc, floats->columns[i], floats->map_n[i] * sizeof(uint32_t));
        kfi_free(floats->alloc, floats->second[i], floats->map_n[i] * sizeof(uint32_t));
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

void kfi_float_block_divide_input(kfi_float_block *floats, size_t i_step, const float *scales)
{
    const kfi_linear *up = &floats->block.linears[KFI_LINEAR_UP];
    float *gains = kfi_float_block_gains(floats, i_step);
    if (gains != NULL) {
        divide_rows(gains, floats->hidden, 1, scales);
    } else {
        assert(i_step == KFI_STEP_DOWN && up->bias == NULL);
        divide_rows(floats->weights[KFI_LINEAR_UP], up->rows, up->cols, scales);
    }
}

void kfi_float_block_smooth(kfi_float_block *floats, size_t i_step, const float *scales)
{
    kfi_float_block_divide_input(floats, i_step, scales);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        const kfi_linear *linear = &floats->block.linears[role];
        multiply_columns(floats->weights[role], linear->rows, linear->cols, scales);
    }
}

void kfi_float_block_fold_gains(kfi_float_block *floats, size_t i_step)
{
    float *gains = kfi_float_block_gains(floats, i_step);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        const kfi_linear *linear = &floats->block.linears[role];
        multiply_columns(floats->weights[role], linear->rows, linear->cols, gains);
    }
    for (size_t c = 0; c < floats->hidden; c++) {
        gains[c] = 1.0f;
    }
}

/* ---- gathering ---- */

static uint32_t *copy_columns(const uint32_t *columns, size_t n, const kf_allocator *alloc)
{
    uint32_t *copy = kfi_alloc(alloc, n * sizeof *copy);
    if (copy != NULL) {
        memcpy(copy, columns, n * sizeof *copy);
    }
    return copy;
}

static void gather_row(float *dst, const float *row, const uint32_t *columns,
                       const uint32_t *second, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        const bool is_pair = second != NULL && second[c] != KFI_NO_COLUMN;
        dst[c] = is_pair ? 0.5f * (row[columns[c]] + row[second[c]]) : row[columns[c]];
    }
}

/* Replaces the weights of a layer. */
static kf_status gather_layer(kfi_float_block *floats, size_t role, const kfi_online *online,
                              size_t n, kf_error *err)
{
    kfi_linear *linear = &floats->block.linears[role];
    size_t n_weights = 0;
    float *weights = NULL;
    if (kfi_mul_size(linear->rows, n, &n_weights)) {
        weights = kfi_alloc(floats->alloc, n_weights * sizeof *weights);
    }
    if (weights == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a layer of %zu x %zu", linear->rows, n);
    }
    for (size_t r = 0; r < linear->rows; r++) {
        gather_row(weights + r * n, linear->weights + r * linear->cols, online->columns,
                   online->second, n);
    }
    kfi_free(floats->alloc, floats->weights[role], linear_bytes(linear));
    floats->weights[role] = weights;
    linear->weights = weights;
    linear->online = *online;
    linear->cols = n;
    return KF_OK;
}

kf_status kfi_float_block_gather(kfi_float_block *floats, size_t i_step, const uint32_t *columns,
                                 const uint32_t *second, size_t n, kf_error *err)
{
    const size_t n_inputs = floats->block.linears[kfi_step_first(i_step)].cols;
    floats->map_n[i_step] = n;
    floats->columns[i_step] = copy_columns(columns, n, floats->alloc);
    floats->second[i_step] = second != NULL ? copy_columns(second, n, floats->alloc) : NULL;
    if (floats->columns[i_step] == NULL || (second != NULL && floats->second[i_step] == NULL)) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "a map to %zu columns", n);
    }
    const kfi_online online = {.n_inputs = n_inputs,
                               .n_outputs = n,
                               .columns = floats->columns[i_step],
                               .second = floats->second[i_step]};
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        KFI_TRY(gather_layer(floats, role, &online, n, err));
    }
    return KF_OK;
}

/* ---- rotating ---- */

void kfi_draw_signs(int8_t *signs, size_t n, kfi_rng *rng)
{
    for (size_t i = 0; i < n; i++) {
        signs[i] = kfi_rng_next(rng) >> 63 != 0 ? -1 : 1;
    }
}

kf_status kfi_float_block_add_signs(int8_t **signs, kfi_float_block *floats, size_t i_step,
                                    kfi_rng *rng, kf_error *err)
{
    const size_t n = floats->block.linears[kfi_step_first(i_step)].cols;
    *signs = kfi_alloc(floats->alloc, n);
    if (*signs == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "signs of %zu inputs", n);
    }
    floats->signs[i_step] = *signs;
    floats->map_n[i_step] = n;
    kfi_draw_signs(*signs, n, rng);
    for (size_t role = kfi_step_first(i_step); role <= kfi_step_last(i_step); role++) {
        floats->block.linears[role].online =
            (kfi_online){.n_inputs = n, .n_outputs = n, .signs = *signs};
    }
    return KF_OK;
}

/* Columns that are rotated together: a line of memory. */
#define COLUMNS_A_PIECE 16u

typedef struct column_rotation {
    const kfi_rotation *rotation;
    float *weights;
    size_t rows, cols;
    float *scratch; /* [threads][COLUMNS_A_PIECE][rows] */
} column_rotation;

static void rotate_some_columns(void *ctx, size_t i_item, size_t i_thread)
{
    const column_rotation *r = ctx;
    float *scratch = r->scratch + i_thread * COLUMNS_A_PIECE * r->rows;
    const size_t begin = i_item * COLUMNS_A_PIECE;
    const size_t n = r->cols - begin < COLUMNS_A_PIECE ? r->cols - begin : COLUMNS_A_PIECE;
    for (size_t i = 0; i < r->rows; i++) {
        for (size_t c = 0; c < n; c++) {
            scratch[c * r->rows + i] = r->weights[i * r->cols + begin + c];
        }
    }
    for (size_t c = 0; c < n; c++) {
        kfi_kernels_get()->rotate(scratch + c * r->rows, r->rotation);
    }
    for (size_t i = 0; i < r->rows; i++) {
        for (size_t c = 0; c < n; c++) {
            r->weights[i * r->cols + begin + c] = scratch[c * r->rows + i];
        }
    }
}

kf_status kfi_rotate_columns(float *weights, size_t rows, size_t cols, const kfi_rotation *rotation,
                             kf_pool *pool, const kf_allocator *alloc, kf_error *err)
{
    const size_t bytes = kf_pool_threads(pool) * COLUMNS_A_PIECE * rows * sizeof(float);
    column_rotation r = {.rotation = rotation, .weights = weights, .rows = rows, .cols = cols};
    r.scratch = kfi_alloc(alloc, bytes);
    if (r.scratch == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "scratch of %zu bytes", bytes);
    }
    kfi_pool_run(pool, rotate_some_columns, &r, (cols + COLUMNS_A_PIECE - 1) / COLUMNS_A_PIECE);
    kfi_free(alloc, r.scratch, bytes);
    return KF_OK;
}
