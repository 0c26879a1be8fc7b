/* model.h - the inside of a model, for this room, quantize/ and eval/.
 *
 * Names of tensors are Hugging Face's everywhere behind the readers. q and k rows are in Hugging
 * Face's order (rotary pairs (i, i + d/2)), whatever the file's order was.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_MODEL_MODEL_H
#define KFI_MODEL_MODEL_H

#include "io/sha256.h"
#include "kerf/model.h"
#include "kernels/kernels.h"

/* The seven linear layers of a block, in the order in which they are computed and quantized. */
#define KFI_LINEAR_MAP(KFI_LINEAR)                                                                 \
    KFI_LINEAR(Q, "self_attn.q_proj")                                                              \
    KFI_LINEAR(K, "self_attn.k_proj")                                                              \
    KFI_LINEAR(V, "self_attn.v_proj")                                                              \
    KFI_LINEAR(O, "self_attn.o_proj")                                                              \
    KFI_LINEAR(GATE, "mlp.gate_proj")                                                              \
    KFI_LINEAR(UP, "mlp.up_proj")                                                                  \
    KFI_LINEAR(DOWN, "mlp.down_proj")

typedef enum kfi_linear_role {
#define KFI_LINEAR_ENUM(constant, name) KFI_LINEAR_##constant,
    KFI_LINEAR_MAP(KFI_LINEAR_ENUM)
#undef KFI_LINEAR_ENUM
    KFI_LINEAR_COUNT
} kfi_linear_role;

/* "self_attn.q_proj" */
const char *kfi_linear_name(kfi_linear_role role);

typedef enum kfi_rope_scaling {
    KFI_ROPE_NONE,
    KFI_ROPE_LINEAR,
    KFI_ROPE_LLAMA3
} kfi_rope_scaling;

typedef struct kfi_config {
    const struct kfi_architecture *architecture;
    size_t n_layers, hidden, feed_forward, n_heads, n_kv_heads, head_dim, vocabulary, context;
    bool tied;
    float rms_epsilon;
    float rope_theta;
    kfi_rope_scaling rope_scaling;
    float rope_factor, rope_low_frequency, rope_high_frequency; /* llama3 */
    size_t rope_original_context;                               /* llama3 */
} kfi_config;

/* One architecture = one file + one line in architectures.def: its name in GGUF and in config.json,
 * and what differs. */
typedef struct kfi_architecture {
    const char *name;         /* "llama" */
    const char *hugging_face; /* "LlamaForCausalLM" */
    bool qkv_bias;            /* q, k and v carry a bias */
    bool gguf_permuted;       /* GGUF stores q and k rows for neighbouring rotary pairs */
    const struct kfi_gguf_name *gguf_names; /* architecture.h */
} kfi_architecture;

/* Most columns of a side path's input: the rank of a pair, or the number of outliers. */
#define KFI_SIDE_MOST 512u

/* What a packed layer adds to the product with its matrix: packed matrices, codes NULL where it has
 * none, and single weights. The columns of outliers are 0 in the matrix and in A. */
typedef struct kfi_side_paths {
    kfi_packed low_rank_a;   /* [rank][cols] */
    kfi_packed low_rank_b;   /* [rows][rank]: y += (x A^T) B^T */
    kfi_packed outliers;     /* [rows][n]: y += x[columns] O^T */
    const uint32_t *columns; /* [n], ascending */
    kfi_sparse sparse;       /* [rows][cols], none in the columns of outliers */
} kfi_side_paths;

/* Of a second column: there is none. */
#define KFI_NO_COLUMN UINT32_MAX
/* A map gives at most so many times the columns that it takes. */
#define KFI_COLUMNS_MOST 4u

/* What the input of a linear layer goes through before it is quantized; layers that share their
 * input share it. At most one of signs and columns is set; all 0: nothing happens. Side paths read
 * the input behind it. */
typedef struct kfi_online {
    size_t n_inputs;         /* values that go in */
    size_t n_outputs;        /* those that come out: the layer's cols */
    const int8_t *signs;     /* [n_inputs], 1 and -1: x' = H (signs x), H of linalg/hadamard.h */
    const uint32_t *columns; /* [n_outputs]: x'[c] = x[columns[c]]; a column may come often */
    /* [n_outputs] beside columns, or NULL: x'[c] += x[second[c]] unless that is KFI_NO_COLUMN */
    const uint32_t *second;
} kfi_online;

/* A linear layer y = x W^T + bias, W (rows x cols). Exactly one of weights and packed.codes is set.
 */
typedef struct kfi_linear {
    size_t rows, cols;
    kfi_online online;        /* from its input to the cols that the matrix sees */
    const float *weights;     /* [rows][cols], or NULL */
    kfi_packed packed;        /* codes NULL when not packed */
    kfi_side_paths side;      /* of packed layers */
    const float *bias;        /* [rows], or NULL */
    kf_activation activation; /* bits 32 = float */
} kfi_linear;

typedef struct kfi_block {
    kfi_linear linears[KFI_LINEAR_COUNT];
    const float *attention_norm; /* [hidden] */
    const float *mlp_norm;       /* [hidden] */
} kfi_block;

/* The exact prefix: ids, and per layer K (after RoPE) and V, [layer][token][n_kv_heads * head_dim].
 */
typedef struct kfi_prefix {
    size_t n;
    const uint32_t *ids;
    const float *keys;
    const float *values;
} kfi_prefix;

const kfi_config *kfi_model_config(const kf_model *model);
kf_pool *kfi_model_pool(const kf_model *model);
const kf_allocator *kfi_model_allocator(const kf_model *model);
const char *kfi_model_path(const kf_model *model); /* as it was opened */
/* Whether path leads to a file that the model reads its tensors from. */
bool kfi_model_reads(const kf_model *model, const char *path);
const kfi_prefix *kfi_model_get_prefix(const kf_model *model); /* n = 0: none */

/* Signs of a residual stream that runs rotated, [hidden]: the embedding r enters the blocks as
 * H (signs r), and is brought back in front of the final norm; NULL: it is not. */
const int8_t *kfi_model_residual_signs(const kf_model *model);

/* Columns of its widest side path; 0: no layer has one. */
size_t kfi_model_side_width(const kf_model *model);

/* The block's weights, in memory until the next call for another block (or for the model's life
 * when cached). KF_NOMEM. NaN or infinity is not refused here. */
KF_NODISCARD kf_status kfi_model_block(kf_model *model, size_t i_layer, const kfi_block **block,
                                       kf_error *err);

/* Lets go what kfi_model_block() decoded of it, also what the model would keep: for who sees each
 * block once. Nobody may use the block. */
void kfi_model_release_block(kf_model *model, size_t i_layer);
/* Whether all linear layers of the blocks are float: what a source of quantizing has to be. */
bool kfi_model_is_float(const kf_model *model);
/* Whether no packed linear layer of the blocks quantizes its input. */
bool kfi_model_runs_on_floats(const kf_model *model);
/* Bytes of the largest block's float weights, 0 where all are packed. */
size_t kfi_model_block_bytes(const kf_model *model);

/* Float weights of any tensor by Hugging Face name, rows row_begin … row_begin + n - 1: dst
 * [n][cols]. For quantize, to read sources piecewise. */
KF_NODISCARD kf_status kfi_model_read_rows(kf_model *model, const char *name, size_t row_begin,
                                           size_t n, float *dst, kf_error *err);
/* Shape of a tensor by Hugging Face name; vectors have rows 1. False when there is none. */
bool kfi_model_find(const kf_model *model, const char *name, size_t *rows, size_t *cols);
/* How the checkpoint stores this tensor ("Q4_1", "F32", "int4g64"); NULL when there is none. */
const char *kfi_model_source_format(const kf_model *model, const char *name);

/* SHA-256 of all tensors as they are stored, with names, types and shapes, and of the
 * configuration: the same for the same content under any path. Reads the whole checkpoint. */
KF_NODISCARD kf_status kfi_model_source_hash(const kf_model *model, char hex[KFI_SHA256_HEX],
                                             kf_error *err);

/* Weights of the blocks' linear layers: what bits_per_weight_linear is counted over. */
uint64_t kfi_model_linear_parameters(const kf_model *model);

/* Rows of the embedding: dst [n][hidden]. Ids are already checked. */
void kfi_model_embed(const kf_model *model, float *dst, const uint32_t *ids, size_t n);
/* Weights of the norm in front of the head, [hidden]. */
const float *kfi_model_final_norm(const kf_model *model);

#endif /* KFI_MODEL_MODEL_H */
