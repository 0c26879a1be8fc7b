/* pack.c - foreign weights brought into the layout that the kernels read.
 *
 * A block of GGUF's types Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 lies on one grid with an fp16 scale, and
 * so does a group of 32 of the packed formats: codes and grids are moved, no weight changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "base/threads.h"
#include "format/format.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"

/* Like the recipes' default: a scale a token and 64 columns. */
static const kf_activation default_activation = {.bits = 8, .group = 64};

/* One tensor, and for each thread the codes and grids of a panel. */
typedef struct packing {
    const kfi_checkpoint *checkpoint;
    const kfi_tensor *tensor;
    void *dst;
    size_t rows, cols, n_groups;
    uint8_t *codes;  /* [threads][KFI_PANEL_ROWS][cols] */
    kfi_grid *grids; /* [threads][KFI_PANEL_ROWS][n_groups] */
} packing;

static void read_row(const packing *p, uint8_t *codes, kfi_grid *grids, size_t row)
{
    const kfi_dtype dtype = p->tensor->dtype;
    const size_t block_bytes = kfi_dtype_get(dtype)->block_bytes;
    const size_t stored = kfi_checkpoint_stored_row(p->checkpoint, p->tensor, row);
    const uint8_t *src = p->tensor->data + stored * p->n_groups * block_bytes;
    for (size_t g = 0; g < p->n_groups; g++) {
        kfi_block_read(codes + g * KFI_GRID_BLOCK, &grids[g].scale, &grids[g].offset, dtype,
                       src + g * block_bytes);
        grids[g].zero = kfi_block_grid_get(dtype)->zero;
    }
}

static void pack_panel(void *ctx, size_t i_item, size_t i_thread)
{
    const packing *p = ctx;
    uint8_t *codes = p->codes + i_thread * KFI_PANEL_ROWS * p->cols;
    kfi_grid *grids = p->grids + i_thread * KFI_PANEL_ROWS * p->n_groups;
    const size_t first_row = i_item * KFI_PANEL_ROWS;
    for (size_t r = 0; r < KFI_PANEL_ROWS && first_row + r < p->rows; r++) {
        read_row(p, codes + r * p->cols, grids + r * p->n_groups, first_row + r);
    }
    kfi_packed_write(p->dst, i_item, i_item + 1, codes, grids);
}

static kf_format format_of(const kfi_tensor *tensor)
{
    const kfi_block_grid *grid = kfi_block_grid_get(tensor->dtype);
    return (kf_format){.element = KF_ELEMENT_INT,
                       .bits = grid->bits,
                       .scale = KF_SCALE_FP16,
                       .zero = grid->has_offset ? KF_ZERO_OFFSET : KF_ZERO_NONE,
                       .group = KFI_GRID_BLOCK};
}

/* Fills stored->memory, which has its size already. */
static kf_status run_packing(kfi_checkpoint *checkpoint, kf_pool *pool, const kfi_tensor *tensor,
                             kfi_stored *stored, kf_error *err)
{
    const size_t n_threads = kf_pool_threads(pool);
    packing p = {.checkpoint = checkpoint, .tensor = tensor, .dst = stored->memory};
    (void)kfi_checkpoint_shape(checkpoint, tensor, &p.rows, &p.cols);
    p.n_groups = p.cols / KFI_GRID_BLOCK;
    const size_t n_codes = n_threads * KFI_PANEL_ROWS * p.cols;
    const size_t n_grids = n_threads * KFI_PANEL_ROWS * p.n_groups;
    p.codes = kfi_calloc(checkpoint->alloc, n_codes, 1);
    p.grids = kfi_calloc(checkpoint->alloc, n_grids, sizeof *p.grids);
    const bool ok = p.codes != NULL && p.grids != NULL;
    if (ok) {
        kfi_packed_begin(p.dst, format_of(tensor), NULL, p.rows, p.cols);
        kfi_pool_run(pool, pack_panel, &p, (p.rows + KFI_PANEL_ROWS - 1) / KFI_PANEL_ROWS);
    }
    kfi_free(checkpoint->alloc, p.codes, n_codes);
    kfi_free(checkpoint->alloc, p.grids, n_grids * sizeof *p.grids);
    return ok ? KF_OK : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to pack weights");
}

static kf_status pack_tensor(kfi_checkpoint *checkpoint, kf_pool *pool, const kfi_tensor *tensor,
                             kf_error *err)
{
    kfi_stored *stored = &checkpoint->stored[tensor - checkpoint->table.tensors];
    uint64_t bytes = 0;
    KFI_TRY(kf_format_bytes(&bytes, format_of(tensor), tensor->shape[0], tensor->shape[1], err));
    stored->memory = kfi_alloc_streamed(checkpoint->alloc, (size_t)bytes);
    if (stored->memory == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET,
                        "no memory for tensor '%s', %" PRIu64 " bytes packed", tensor->name, bytes);
    }
    stored->memory_bytes = (size_t)bytes;
    KFI_TRY(run_packing(checkpoint, pool, tensor, stored, err));
    kfi_checkpoint_drop(checkpoint, tensor);
    if (kfi_packed_open(&stored->packed, stored->memory, stored->memory_bytes, false, NULL) !=
        KF_OK) {
        return kfi_fail(err, KF_FORMAT, tensor->offset,
                        "tensor '%s' has a scale or offset that is not finite", tensor->name);
    }
    return KF_OK;
}

typedef struct selection {
    kfi_checkpoint *checkpoint;
    kf_pool *pool;
    bool all; /* every linear layer of the blocks can be packed */
} selection;

static bool is_packable(const kfi_tensor *tensor)
{
    return tensor->n_dims == 2 && kfi_block_grid_get(tensor->dtype) != NULL;
}

static kf_status look_at(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    selection *s = ctx;
    (void)rows;
    (void)cols;
    (void)err;
    s->all = s->all &&
             (!kfi_name_is_linear(name) || is_packable(kfi_checkpoint_find(s->checkpoint, name)));
    return KF_OK;
}

static kf_status pack_named(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    selection *s = ctx;
    const kfi_tensor *tensor = kfi_checkpoint_find(s->checkpoint, name);
    (void)rows;
    (void)cols;
    return is_packable(tensor) ? pack_tensor(s->checkpoint, s->pool, tensor, err) : KF_OK;
}

kf_status kfi_checkpoint_pack(kfi_checkpoint *checkpoint, kf_pool *pool, bool only_if_all,
                              kf_error *err)
{
    selection s = {.checkpoint = checkpoint, .pool = pool, .all = true};
    KFI_TRY(kfi_config_each_tensor(&checkpoint->config, look_at, &s, err));
    if (only_if_all && !s.all) {
        return KF_OK;
    }
    checkpoint->activation = default_activation;
    return kfi_config_each_tensor(&checkpoint->config, pack_named, &s, err);
}
