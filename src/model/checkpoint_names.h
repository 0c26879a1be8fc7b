/* checkpoint_names.h - how a checkpoint names its files, tensors and keys: for its reader here and
 * its writer in quantize/.
 *
 * A Kerf checkpoint is a directory:
 *
 *     config.json                      Hugging Face's keys and "quantization_config":
 *                                      {"quant_method": "kerf", "format_version": 1,
 *                                       "activations": "int8tg64", "kv": "auto",
 *                                       "activation_overrides": {"<tensor name>": "float"},
 *                                       "recipe": "gptq-w4"}
 *     model-00001-of-000NN.safetensors one file a block, then one for all the rest
 *     model.safetensors.index.json
 *     kerf.json                        recipe, provenance, losses; not needed to run
 *
 * and holds, under Hugging Face's name NAME of a tensor,
 *
 *     NAME.packed   U8 [bytes], 64-byte aligned in the file: a packed matrix (kernels/packed.h)
 *     NAME          F32, F16 or BF16: a norm, a bias, a tensor that was kept
 *
 * and from format_version 2 on beside the packed weight of a block's linear layer
 *
 *     NAME.low_rank_a.packed, NAME.low_rank_b.packed            a low-rank pair
 *     NAME.outliers.packed, NAME.outlier_columns (U32 [n])      columns with values of their own
 *
 * and from format_version 3 on beside the weight of a block's linear layer, packed or kept,
 *
 *     NAME.input_signs (I8 [cols])                               its input is rotated
 *     NAME.input_columns, NAME.input_second (U32 [cols])         its input is gathered
 *
 * and from format_version 4 on beside the packed weight of a block's linear layer
 *
 *     NAME.sparse_starts (U32 [rows + 1]), NAME.sparse_columns (U16 [n]),
 *     NAME.sparse_values (F16 [n])                               single weights
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_CHECKPOINT_NAMES_H
#define KFI_MODEL_CHECKPOINT_NAMES_H

#include "model/model.h"

#define KFI_FILE_CONFIG "config.json"
#define KFI_FILE_INDEX  "model.safetensors.index.json"

/* Keys of config.json beside Hugging Face's, and what stands there. */
#define KFI_KEY_QUANTIZATION         "quantization_config"
#define KFI_KEY_METHOD               "quant_method"
#define KFI_KEY_VERSION              "format_version"
#define KFI_KEY_ACTIVATIONS          "activations"
#define KFI_KEY_ACTIVATION_OVERRIDES "activation_overrides"
#define KFI_KEY_KV                   "kv"
#define KFI_KEY_RECIPE               "recipe"
#define KFI_QUANTIZATION_METHOD      "kerf"
#define KFI_CHECKPOINT_VERSION       1
#define KFI_CHECKPOINT_VERSION_SIDE  2 /* with side paths, which a reader must not ignore */
/* With maps of inputs, a rotated stream or activations of kept matrices, likewise. */
#define KFI_CHECKPOINT_VERSION_INPUTS 3
/* With single weights beside a packed matrix, likewise. */
#define KFI_CHECKPOINT_VERSION_SPARSE 4
/* The highest that is read. */
#define KFI_CHECKPOINT_VERSION_MOST KFI_CHECKPOINT_VERSION_SPARSE

#define KFI_TENSOR_EMBEDDING  "model.embed_tokens.weight"
#define KFI_TENSOR_HEAD       "lm_head.weight"
#define KFI_TENSOR_FINAL_NORM "model.norm.weight"

/* The exact prefix: ids U32 [n]; K after RoPE at positions 0 … n-1 and V, F32
 * [layers][n][n_kv_heads * head_dim]. */
#define KFI_TENSOR_PREFIX_IDS    "kerf.prefix.ids"
#define KFI_TENSOR_PREFIX_KEYS   "kerf.prefix.keys"
#define KFI_TENSOR_PREFIX_VALUES "kerf.prefix.values"

/* Signs of a rotated residual stream, I8 [hidden]. */
#define KFI_TENSOR_RESIDUAL_SIGNS "kerf.residual_signs"

#define KFI_SUFFIX_PACKED ".packed"

/* The tensors of a matrix's side paths, those first that are packed. */
typedef enum kfi_side_part {
    KFI_SIDE_LOW_RANK_A,
    KFI_SIDE_LOW_RANK_B,
    KFI_SIDE_OUTLIERS,
    KFI_SIDE_COLUMNS,
    KFI_SIDE_SPARSE_STARTS,
    KFI_SIDE_SPARSE_COLUMNS,
    KFI_SIDE_SPARSE_VALUES,
    KFI_SIDE_PARTS
} kfi_side_part;

/* The tensors of the map that a matrix's input goes through. */
typedef enum kfi_online_part {
    KFI_ONLINE_SIGNS,
    KFI_ONLINE_COLUMNS,
    KFI_ONLINE_SECOND,
    KFI_ONLINE_PARTS
} kfi_online_part;

/* Most blocks of a model, and room for every name below. */
#define KFI_MAX_LAYERS 1024u
#define KFI_NAME_BYTES 128u

typedef struct kfi_name {
    char text[KFI_NAME_BYTES];
} kfi_name;

/* "model.layers.3.mlp.down_proj.weight", "….bias" */
kfi_name kfi_name_weight(size_t i_layer, kfi_linear_role role);
kfi_name kfi_name_bias(size_t i_layer, kfi_linear_role role);
/* "model.layers.3.input_layernorm.weight", "model.layers.3.post_attention_layernorm.weight" */
kfi_name kfi_name_attention_norm(size_t i_layer);
kfi_name kfi_name_mlp_norm(size_t i_layer);
/* NAME.packed */
kfi_name kfi_name_packed(const char *name);
/* The length of NAME in NAME.packed; 0 for other names. */
size_t kfi_name_unpacked(const char *name);
/* NAME.low_rank_a and so on, and back: which part a name, packed or not, is of; KFI_SIDE_PARTS for
 * other names. */
kfi_name kfi_name_side(const char *name, kfi_side_part part);
kfi_side_part kfi_name_side_part(const char *name);
/* NAME.input_signs and so on, and back; KFI_ONLINE_PARTS for other names. */
kfi_name kfi_name_online(const char *name, kfi_online_part part);
kfi_online_part kfi_name_online_part(const char *name);
/* Whether it is the weight of a block's linear layer or what stands beside it, packed or not. */
bool kfi_name_is_linear(const char *name);
/* "model-00001-of-00031.safetensors": file i (counted from 0) of n. */
kfi_name kfi_name_file(size_t i_file, size_t n_files);

/* What stands beside the matrix of this name; NULL where a part is missing. */
typedef struct kfi_side_tensors {
    const char *name;
    const struct kfi_tensor *found[KFI_SIDE_PARTS];
} kfi_side_tensors;

/* Checks side paths whose packed parts are opened already (codes NULL: not packed), against the
 * matrix that they stand beside, and points to their columns and single weights. */
KF_NODISCARD kf_status kfi_side_check(kfi_side_paths *side, const kfi_side_tensors *tensors,
                                      const kfi_packed *matrix, kf_error *err);

/* Checks single weights beside a matrix of this shape and points to them where they lie; starts
 * NULL where there are none. KF_FORMAT, naming tensor and byte; KF_UNSUPPORTED for a matrix wider
 * than KFI_SPARSE_COLS_MOST. checkpoint_sparse.c */
KF_NODISCARD kf_status kfi_sparse_open(kfi_sparse *sparse, const kfi_side_tensors *tensors,
                                       size_t rows, size_t cols, kf_error *err);

/* The parts of a map beside the matrix of this name; NULL where one is missing. */
typedef struct kfi_online_tensors {
    const char *name;
    const struct kfi_tensor *found[KFI_ONLINE_PARTS];
} kfi_online_tensors;

/* Checks a map of n_inputs values and points to it where it lies; all 0 where there is none.
 * KF_FORMAT, naming tensor and byte; KF_UNSUPPORTED for a width without a Hadamard matrix, and for
 * more than KFI_COLUMNS_MOST n_inputs columns. */
KF_NODISCARD kf_status kfi_online_open(kfi_online *online, const kfi_online_tensors *tensors,
                                       size_t n_inputs, kf_error *err);
/* Checks and points to the signs of a rotation of n values, likewise. */
KF_NODISCARD kf_status kfi_signs_open(const int8_t **signs, const struct kfi_tensor *tensor,
                                      size_t n, kf_error *err);

#endif /* KFI_MODEL_CHECKPOINT_NAMES_H */
