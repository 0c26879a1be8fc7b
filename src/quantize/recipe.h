/* recipe.h - a recipe from the inside: how each tensor is treated.
 *
 *     {
 *       "description": "…",
 *       "weights": "int4g64a",              format of the blocks' linear layers
 *       "activations": "int8tg64",
 *       "kv": "auto",                       how it runs: a cache of kf_kv_parse()
 *       "act_clip": 1,                      0.5 ... 1, "published" (0.9) or "search"
 *       "act_kept": false,                  whether kept layers quantize their input, too
 *       "embedding": "int8g64",             or "keep"; unused where it is one with the head
 *       "head": "int8g64",                  or "keep"
 *       "prefix": "auto",                   or "start", "none", or a text
 *       "calib": {"samples": 32, "length": 2048},
 *       "methods": [{"name": "gptq", "damping": 0.01, …}],
 *       "tensors": {"model.layers.0.*": {"weights": "int8g64"}, "blk.*.ffn_down": "int6g64",
 *                   "lm_head.weight": "keep"}
 *     }
 *
 * Every key may be left out. A pattern of "tensors" is a shell glob over Hugging Face's or GGUF's
 * name of a tensor, with or without ".weight"; it may change "weights", "activations" and
 * "methods"; of several that match, later ones win.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_RECIPE_H
#define KFI_QUANTIZE_RECIPE_H

#include "io/json.h"
#include "kerf/quantize.h"
#include "model/model.h"
#include "quantize/method.h"

#define KFI_WINDOW_LEAST         2u /* tokens: calib.length */
#define KFI_RECIPE_METHODS_MAX   8u
#define KFI_RECIPE_OVERRIDES_MAX 256u
#define KFI_RECIPE_TEXT_KEYS     6u

/* A method with its knobs. */
typedef struct kfi_method_use {
    const kfi_method *method;
    double knobs[KFI_KNOBS_MAX];
} kfi_method_use;

/* What happens to one tensor. */
typedef struct kfi_treatment {
    bool keep; /* stays in float; the rest is then unused */
    kf_format weights;
    kf_activation activations; /* of its input; of what is kept, too */
    bool searches_clip;        /* the clip of activations is found on calibration tokens */
    kfi_method_use methods[KFI_RECIPE_METHODS_MAX]; /* stages in their order, one of them rounds */
    size_t n_methods;
} kfi_treatment;

typedef struct kfi_override {
    const char *pattern;
    bool has_weights, has_activations, has_methods;
    kfi_treatment treatment; /* the members that it has */
} kfi_override;

struct kf_recipe {
    const kf_allocator *alloc;
    kfi_arena strings;
    const char *name;
    const char *description;
    const char *prefix;
    kf_kv kv;
    size_t samples, length;
    uint8_t act_clip; /* as kf_activation has it: of blocks' layers whose format names none */
    bool searches_clip;
    bool act_kept;
    kfi_treatment linears, embedding, head;
    kfi_override *overrides; /* [KFI_RECIPE_OVERRIDES_MAX] */
    size_t n_overrides;
    kfi_buf json; /* the resolved recipe */
};

/* ---- recipe.c ---- */

/* The i-th transform, or NULL past the last: they change whole blocks, so that no override has any.
 */
const kfi_method_use *kfi_recipe_transform(const kf_recipe *recipe, size_t i);
/* Whether one of them rotates the residual stream. */
bool kfi_recipe_rotates(const kf_recipe *recipe);
/* Columns of outliers that the transforms leave of an input. */
size_t kfi_recipe_outliers(const kf_recipe *recipe, size_t width);
/* How many transforms ask for statistics. */
size_t kfi_recipe_asking(const kf_recipe *recipe);
/* Whether tokens count by the attention that they get, in any layer. */
bool kfi_recipe_weighs(const kf_recipe *recipe);
/* What packed layers of the blocks take where nothing else is said of one of them. */
kf_activation kfi_recipe_activations(const kf_recipe *recipe);
/* Whether ranks are chosen by a budget, in any layer. */
bool kfi_recipe_budgets(const kf_recipe *recipe);
/* The largest rank that a linear layer may get; 0: none is repaired. */
size_t kfi_recipe_rank(const kf_recipe *recipe, const kfi_config *config);

/* ---- recipe_treatment.c ---- */

/* Resolves the overrides for a tensor of a model, by Hugging Face's name. Where embedding and head
 * are one tensor, either name gives the treatment of the head; patterns may use both. */
void kfi_recipe_treatment(kfi_treatment *treatment, const kf_recipe *recipe,
                          const kfi_config *config, const char *tensor);
/* Whether a pattern matches a tensor's Hugging Face or GGUF name. */
bool kfi_recipe_matches(const char *pattern, const kfi_architecture *architecture,
                        const char *tensor);
/* What a method asks of calibration; nothing where it has no request(). */
kfi_statistics_request kfi_method_use_request(const kfi_method_use *use);
/* The method that rounds. */
const kfi_method_use *kfi_treatment_round(const kfi_treatment *treatment);
/* The method that repairs a block's linear layer, or NULL. */
const kfi_method_use *kfi_treatment_repair(const kfi_treatment *treatment);
/* The low-rank pair that a linear layer of this shape gets; rank 0: none. */
kfi_repair_plan kfi_treatment_pair(const kfi_treatment *treatment, size_t rows, size_t cols);
/* Makes its rank another one. */
void kfi_treatment_set_rank(kfi_treatment *treatment, size_t rank);
/* The largest part of a linear layer's weights that is kept beside its matrix. */
double kfi_treatment_sparse(const kfi_treatment *treatment);
/* Whether any layer keeps some. */
bool kfi_recipe_keeps_weights(const kf_recipe *recipe);
/* What rounding and repair ask of calibration, as one. */
kfi_statistics_request kfi_treatment_request(const kfi_treatment *treatment);

/* ---- recipe_open.c ---- */

/* A recipe by the name of n bytes from its document; kf_recipe_free(). As kf_recipe_open(). */
KF_NODISCARD kf_status kfi_recipe_from_json(kf_recipe **recipe, const kfi_json *root,
                                            const char *name, size_t n, const kf_allocator *alloc,
                                            kf_error *err);

/* ---- recipe_read.c ---- */

/* Reads a parsed document into a recipe that holds the defaults. */
KF_NODISCARD kf_status kfi_recipe_read(kf_recipe *recipe, const kfi_json *root, kf_error *err);
/* A format by name for "weights", "embedding", …: as kf_format_parse() but KF_RANGE, and "keep"
 * (also by the name "float"). */
KF_NODISCARD kf_status kfi_recipe_read_weights(kfi_treatment *treatment, const char *key,
                                               const char *text, kf_error *err);
/* Which of the recipe's keys with a text as value this is, of n bytes: weights, embedding, head,
 * activations, kv, prefix; KFI_RECIPE_TEXT_KEYS: none of them. Reading it: KF_RANGE. */
size_t kfi_recipe_text_key(const char *key, size_t n);
KF_NODISCARD kf_status kfi_recipe_read_text(kf_recipe *recipe, size_t i_key, const char *text,
                                            kf_error *err);
/* A ratio, whole percents, or a word: "0.9", "published", "search". KF_RANGE. */
KF_NODISCARD kf_status kfi_recipe_read_clip(kf_recipe *recipe, double ratio, kf_error *err);
KF_NODISCARD kf_status kfi_recipe_read_clip_word(kf_recipe *recipe, const char *word,
                                                 kf_error *err);
KF_NODISCARD kf_status kfi_recipe_read_calib(kf_recipe *recipe, const char *key, int64_t value,
                                             kf_error *err);
/* The override of this pattern, moved to the end where it wins; empty when it is new. */
KF_NODISCARD kf_status kfi_recipe_add_override(kfi_override **override, kf_recipe *recipe,
                                               const char *pattern, size_t n, kf_error *err);

/* ---- recipe_write.c ---- */

/* Writes the resolved recipe into recipe->json. */
KF_NODISCARD kf_status kfi_recipe_resolve(kf_recipe *recipe, kf_error *err);

/* ---- generated from recipes/ by tools/embed_recipes.py ---- */

typedef struct kfi_recipe_file {
    const char *name;
    const char *description;
    const char *json;
} kfi_recipe_file;

/* Ends with a name NULL. */
extern const kfi_recipe_file kfi_recipe_files[];

#endif /* KFI_QUANTIZE_RECIPE_H */
