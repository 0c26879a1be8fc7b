/* residency.c - float weights: decoded once and kept, or block by block at every pass.
 *
 * The pages of the file are dropped as soon as their tensor is decoded, so that a model larger than
 * memory runs in the memory of one block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "base/threads.h"
#include "format/format.h"
#include "model/opened.h"

/* Rows that one piece of decoding takes. */
#define ROWS_A_PIECE 64

static bool is_float(const kfi_linear *linear)
{
    return linear->packed.codes == NULL;
}

static size_t linear_bytes(const kfi_linear *linear)
{
    return kfi_round_up(linear->rows * linear->cols * sizeof(float), KFI_ALIGN);
}

/* Bytes of a block's float weights; 0 where all are packed. */
static size_t block_bytes(const kfi_block *block)
{
    size_t bytes = 0;
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        bytes += is_float(&block->linears[role]) ? linear_bytes(&block->linears[role]) : 0;
    }
    return bytes;
}

static size_t head_bytes(const kf_model *model)
{
    return model->head.rows * model->head.cols * sizeof(float);
}

kf_status kfi_residency_init(kf_model *model, uint64_t cache_bytes, kf_error *err)
{
    kfi_residency *r = &model->residency;
    const size_t n_layers = model->checkpoint.config.n_layers;
    uint64_t left = cache_bytes;
    r->i_scratch = SIZE_MAX;
    for (size_t i = 0; i < n_layers; i++) {
        const size_t bytes = block_bytes(&model->blocks[i]);
        r->scratch_bytes = bytes > r->scratch_bytes ? bytes : r->scratch_bytes;
        if (bytes <= left && r->n_kept == i) {
            left -= bytes;
            r->n_kept++;
        }
    }
    r->keeps_head = r->n_kept == n_layers && is_float(&model->head) && head_bytes(model) <= left;
    if (!kfi_lock_init(&r->decoding)) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a lock");
    }
    if (!kfi_lock_init(&r->pass)) {
        kfi_lock_deinit(&r->decoding);
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a lock");
    }
    return KF_OK;
}

void kfi_residency_deinit(kf_model *model)
{
    kfi_residency *r = &model->residency;
    for (size_t i = 0; i < r->n_kept; i++) {
        kfi_free(model->alloc, model->sources[i].decoded, block_bytes(&model->blocks[i]));
    }
    kfi_free(model->alloc, r->scratch, r->scratch_bytes);
    kfi_free(model->alloc, r->head, head_bytes(model));
    kfi_lock_deinit(&r->decoding);
    kfi_lock_deinit(&r->pass);
}

static bool takes_turns(const kf_model *model)
{
    return model->residency.n_kept < model->checkpoint.config.n_layers;
}

void kfi_model_begin_pass(kf_model *model)
{
    if (takes_turns(model)) {
        kfi_lock_take(&model->residency.pass);
    }
}

void kfi_model_end_pass(kf_model *model)
{
    if (takes_turns(model)) {
        kfi_lock_release(&model->residency.pass);
    }
}

/* Some tensors decoded into their places by the pool, a piece of rows at a time. */
typedef struct decoding {
    const kfi_checkpoint *checkpoint;
    const kfi_tensor *tensors[KFI_LINEAR_COUNT];
    float *places[KFI_LINEAR_COUNT];
    size_t begins[KFI_LINEAR_COUNT]; /* first row */
    size_t rows[KFI_LINEAR_COUNT];
    size_t cols[KFI_LINEAR_COUNT];
    size_t n;
} decoding;

static size_t pieces(size_t rows)
{
    return (rows + ROWS_A_PIECE - 1) / ROWS_A_PIECE;
}

static void decode_piece(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    decoding *d = ctx;
    size_t i = 0;
    while (i_item >= pieces(d->rows[i])) {
        i_item -= pieces(d->rows[i]);
        i++;
    }
    const size_t row = i_item * ROWS_A_PIECE;
    const size_t n = d->rows[i] - row < ROWS_A_PIECE ? d->rows[i] - row : ROWS_A_PIECE;
    /* Cannot fail: opening has checked type and shape. */
    (void)!kfi_checkpoint_read_rows(d->checkpoint, d->tensors[i], d->begins[i] + row, n,
                                    d->places[i] + row * d->cols[i], NULL);
}

static void run_decoding(kf_model *model, decoding *d)
{
    size_t n_items = 0;
    for (size_t i = 0; i < d->n; i++) {
        n_items += pieces(d->rows[i]);
    }
    d->checkpoint = &model->checkpoint;
    kfi_pool_run(model->pool, decode_piece, d, n_items);
    for (size_t i = 0; i < d->n; i++) {
        kfi_checkpoint_drop(&model->checkpoint, d->tensors[i]);
    }
}

static void decode_block(kf_model *model, size_t i_layer, float *place)
{
    decoding d = {.n = 0};
    for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
        kfi_linear *linear = &model->blocks[i_layer].linears[role];
        if (!is_float(linear)) {
            continue;
        }
        d.tensors[d.n] = model->sources[i_layer].linears[role];
        d.places[d.n] = place;
        d.rows[d.n] = linear->rows;
        d.cols[d.n] = linear->cols;
        d.n++;
        linear->weights = place;
        place += linear_bytes(linear) / sizeof(float);
    }
    run_decoding(model, &d);
}

static kf_status keep_block(kf_model *model, size_t i_layer, kf_error *err)
{
    kfi_block_source *source = &model->sources[i_layer];
    if (source->decoded != NULL) {
        return KF_OK;
    }
    const size_t bytes = block_bytes(&model->blocks[i_layer]);
    float *place = kfi_alloc(model->alloc, bytes);
    if (place == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for block %zu, %zu bytes", i_layer,
                        bytes);
    }
    decode_block(model, i_layer, place);
    source->decoded = place;
    return KF_OK;
}

static kf_status visit_block(kf_model *model, size_t i_layer, kf_error *err)
{
    kfi_residency *r = &model->residency;
    if (r->i_scratch == i_layer) {
        return KF_OK;
    }
    if (r->scratch == NULL) {
        r->scratch = kfi_alloc(model->alloc, r->scratch_bytes);
        if (r->scratch == NULL) {
            return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a block, %zu bytes",
                            r->scratch_bytes);
        }
    }
    decode_block(model, i_layer, r->scratch);
    r->i_scratch = i_layer;
    return KF_OK;
}

kf_status kfi_model_block(kf_model *model, size_t i_layer, const kfi_block **block, kf_error *err)
{
    kfi_residency *r = &model->residency;
    kf_status st = KF_OK;
    if (block_bytes(&model->blocks[i_layer]) == 0) {
        *block = &model->blocks[i_layer];
        return KF_OK;
    }
    if (i_layer < r->n_kept) {
        kfi_lock_take(&r->decoding);
        st = keep_block(model, i_layer, err);
        kfi_lock_release(&r->decoding);
    } else {
        st = visit_block(model, i_layer, err);
    }
    *block = &model->blocks[i_layer];
    return st;
}

void kfi_model_release_block(kf_model *model, size_t i_layer)
{
    kfi_residency *r = &model->residency;
    kfi_lock_take(&r->decoding);
    if (i_layer < r->n_kept) {
        kfi_block_source *source = &model->sources[i_layer];
        kfi_free(model->alloc, source->decoded, block_bytes(&model->blocks[i_layer]));
        source->decoded = NULL;
    } else {
        kfi_free(model->alloc, r->scratch, r->scratch_bytes);
        r->scratch = NULL;
        r->i_scratch = SIZE_MAX;
    }
    kfi_lock_release(&r->decoding);
}

static bool all_linears(const kf_model *model, bool (*has)(const kfi_linear *linear))
{
    for (size_t i = 0; i < model->checkpoint.config.n_layers; i++) {
        for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
            if (!has(&model->blocks[i].linears[role])) {
                return false;
            }
        }
    }
    return true;
}

bool kfi_model_is_float(const kf_model *model)
{
    return all_linears(model, is_float);
}

static bool runs_on_floats(const kfi_linear *linear)
{
    return linear->packed.codes == NULL || kfi_activation_is_float(linear->activation);
}

bool kfi_model_runs_on_floats(const kf_model *model)
{
    return all_linears(model, runs_on_floats);
}

size_t kfi_model_block_bytes(const kf_model *model)
{
    return model->residency.scratch_bytes;
}

void kfi_model_decode_head(kf_model *model, float *place, size_t row_begin, size_t n)
{
    decoding d = {.n = 1};
    d.tensors[0] = model->head_tensor;
    d.places[0] = place;
    d.begins[0] = row_begin;
    d.rows[0] = n;
    d.cols[0] = model->head.cols;
    run_decoding(model, &d);
}

static kf_status keep_head(kf_model *model, kf_error *err)
{
    kfi_residency *r = &model->residency;
    if (r->head != NULL) {
        return KF_OK;
    }
    float *place = kfi_alloc(model->alloc, head_bytes(model));
    if (place == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the head, %zu bytes",
                        head_bytes(model));
    }
    kfi_model_decode_head(model, place, 0, model->head.rows);
    r->head = place;
    return KF_OK;
}

kf_status kfi_model_kept_head(kf_model *model, const float **weights, kf_error *err)
{
    kfi_residency *r = &model->residency;
    *weights = NULL;
    if (!r->keeps_head) {
        return KF_OK;
    }
    kfi_lock_take(&r->decoding);
    const kf_status st = keep_head(model, err);
    kfi_lock_release(&r->decoding);
    *weights = r->head;
    return st;
}
