/* checkpoint.h - any container behind one lookup: tensors under Hugging Face's names.
 *
 * One loader a container (checkpoint_gguf.c, checkpoint_hf.c, checkpoint_llama2c.c) fills the
 * same struct, and so does checkpoint_random.c, which reads nothing; a directory that says it is
 * Kerf's goes on in checkpoint_kerf.c. After kfi_checkpoint_open() or its sibling every tensor that
 * the architecture needs is there, has the expected shape, and can be decoded.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_CHECKPOINT_H
#define KFI_MODEL_CHECKPOINT_H

#include "io/gguf.h"
#include "io/json.h"
#include "io/llama2c.h"
#include "io/safetensors.h"
#include "io/tensor.h"
#include "model/model.h"

/* What is known of a tensor beside its place in the file. */
typedef struct kfi_stored {
    const kfi_file_map *map; /* NULL: the bytes are not of a file */
    /* Rows of this many heads are stored for neighbouring rotary pairs (2i, 2i+1); 0 = they are in
     * Hugging Face's order. */
    size_t permuted_heads;
    kfi_packed packed;                        /* codes NULL: not packed, decoded by its dtype */
    char packed_format[KF_FORMAT_NAME_BYTES]; /* as the file has it; "" where we packed it */
    void *memory;                             /* what we packed or drew; owned */
    size_t memory_bytes;
} kfi_stored;

typedef struct kfi_checkpoint {
    const kf_allocator *alloc;
    kfi_arena arena;
    kfi_config config;
    const char *name;      /* what it calls itself, or "" */
    const char *container; /* "GGUF", "safetensors", "random weights", … */
    kfi_tensor_table table;
    kfi_stored *stored; /* [table.n], beside table.tensors */
    kfi_prefix prefix;

    bool is_kerf;
    bool has_side_paths;                  /* of a version that knows them, or drawn with them */
    bool has_sparse;                      /* of a version that knows single weights */
    bool has_online;                      /* of a version that knows maps of inputs */
    const int8_t *residual_signs;         /* [hidden], or NULL */
    const char *recipe;                   /* of a Kerf checkpoint */
    kf_activation activation;             /* its linear layers', but for the overrides */
    const kfi_json *activation_overrides; /* borrowed from json, or NULL */
    kf_kv kv;                             /* its sessions' by default; else KF_KV_AUTO */
    bool overrides_kept;                  /* they count for what is not packed, too */

    kfi_json *json; /* config.json */
    kfi_gguf *gguf;
    kfi_safetensors *safetensors;
    kfi_llama2c *llama2c;
} kfi_checkpoint;

/* Opens whatever path is: a directory, a .gguf by its magic, a llama2.c file by its name .bin.
 * On failure all is closed again. */
KF_NODISCARD kf_status kfi_checkpoint_open(kfi_checkpoint *checkpoint, const char *path,
                                           const kf_allocator *alloc, kf_error *err);
/* Makes one of random weights, with a pool and callbacks to do it. */
typedef struct kfi_random_tools {
    kf_pool *pool;
    const kf_callbacks *callbacks;
} kfi_random_tools;
KF_NODISCARD kf_status kfi_checkpoint_open_random(kfi_checkpoint *checkpoint,
                                                  const kf_random_options *options,
                                                  const kfi_random_tools *tools,
                                                  const kf_allocator *alloc, kf_error *err);
void kfi_checkpoint_close(kfi_checkpoint *checkpoint);

/* The loaders; each fills table, stored and config, and leaves what it opened for
 * kfi_checkpoint_close() also when it fails. */
KF_NODISCARD kf_status kfi_checkpoint_load_gguf(kfi_checkpoint *checkpoint, const char *path,
                                                kf_error *err);
KF_NODISCARD kf_status kfi_checkpoint_load_hf(kfi_checkpoint *checkpoint, const char *directory,
                                              kf_error *err);
KF_NODISCARD kf_status kfi_checkpoint_load_llama2c(kfi_checkpoint *checkpoint, const char *path,
                                                   kf_error *err);
KF_NODISCARD kf_status kfi_checkpoint_load_random(kfi_checkpoint *checkpoint,
                                                  const kf_random_options *options,
                                                  const kfi_random_tools *tools, kf_error *err);
KF_NODISCARD kf_status kfi_checkpoint_load_kerf(kfi_checkpoint *checkpoint,
                                                const kfi_json *quantization, kf_error *err);

/* Room for the tensors of a source table, copied; names may then be changed, and the lookup is
 * made by kfi_checkpoint_index(). KF_NOMEM. */
KF_NODISCARD kf_status kfi_checkpoint_take_table(kfi_checkpoint *checkpoint,
                                                 const kfi_tensor_table *source, kf_error *err);
KF_NODISCARD kf_status kfi_checkpoint_index(kfi_checkpoint *checkpoint, kf_error *err);
/* Marks the rows of every q and k projection as stored for neighbouring rotary pairs. */
void kfi_checkpoint_mark_permuted(kfi_checkpoint *checkpoint);

/* NULL when there is none. */
const kfi_tensor *kfi_checkpoint_find(const kfi_checkpoint *checkpoint, const char *name);
const kfi_stored *kfi_checkpoint_stored(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor);
/* Rows and columns; a vector has rows 1. False for other ranks. */
bool kfi_checkpoint_shape(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor, size_t *rows,
                          size_t *cols);
/* "Q4_1", "int4g64". */
const char *kfi_checkpoint_format(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor);

/* Which row of the file holds row `row` in Hugging Face's order. */
size_t kfi_checkpoint_stored_row(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor,
                                 size_t row);
/* Rows row_begin … row_begin + n - 1 in Hugging Face's order: dst [n][cols]. The caller has checked
 * the range. Reentrant. */
KF_NODISCARD kf_status kfi_checkpoint_read_rows(const kfi_checkpoint *checkpoint,
                                                const kfi_tensor *tensor, size_t row_begin,
                                                size_t n, float *dst, kf_error *err);
/* Brings every matrix whose type allows it into the packed layout (pack.c); with only_if_all, all
 * linear layers of the blocks or nothing. KF_FORMAT where a scale is not finite. */
KF_NODISCARD kf_status kfi_checkpoint_pack(kfi_checkpoint *checkpoint, kf_pool *pool,
                                           bool only_if_all, kf_error *err);
/* Its pages in the file are not needed any more. */
void kfi_checkpoint_drop(const kfi_checkpoint *checkpoint, const kfi_tensor *tensor);

/* Side paths of the matrix of this name: found and checked; all empty where it has none. KF_FORMAT,
 * naming tensor and byte; KF_UNSUPPORTED for more than KFI_SIDE_MOST columns. */
KF_NODISCARD kf_status kfi_checkpoint_take_side(kfi_side_paths *side,
                                                const kfi_checkpoint *checkpoint, const char *name,
                                                const kfi_packed *matrix, kf_error *err);
/* What they take in the file. */
uint64_t kfi_checkpoint_side_bytes(const kfi_checkpoint *checkpoint, const char *name);

/* The map that a matrix's input of n_inputs values goes through: found and checked; all 0 where
 * there is none. Statuses as of kfi_online_open(). */
KF_NODISCARD kf_status kfi_checkpoint_take_online(kfi_online *online,
                                                  const kfi_checkpoint *checkpoint,
                                                  const char *name, size_t n_inputs, kf_error *err);
/* What it takes in the file. */
uint64_t kfi_checkpoint_online_bytes(const kfi_checkpoint *checkpoint, const char *name);

/* Whether the architecture adds a bias to this layer's result. */
bool kfi_config_has_bias(const kfi_config *config, kfi_linear_role role);
/* Values that come out of a block's layer, and those that go in. */
void kfi_config_linear_shape(const kfi_config *config, kfi_linear_role role, size_t *rows,
                             size_t *cols);
/* Calls visit for every tensor that the model needs, by its name and shape (vectors: rows 1). */
typedef kf_status kfi_needed_fn(void *ctx, const char *name, size_t rows, size_t cols,
                                kf_error *err);
KF_NODISCARD kf_status kfi_config_each_tensor(const kfi_config *config, kfi_needed_fn *visit,
                                              void *ctx, kf_error *err);

#endif /* KFI_MODEL_CHECKPOINT_H */
