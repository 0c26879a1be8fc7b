/* kerf/quantize.h - recipes, methods, and quantizing a checkpoint by them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_QUANTIZE_H
#define KERF_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kerf/alloc.h"
#include "kerf/callbacks.h"
#include "kerf/error.h"
#include "kerf/export.h"
#include "kerf/format.h"
#include "kerf/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- methods ---- */

/** A knob of a method: a number with a range, or a word out of a list. */
typedef struct kf_knob {
    const char *name; /**< As in a recipe. */
    const char *help; /**< One sentence. */
    const char
        *choices;   /**< "minmax|mse" for a word, "false|true" for a switch, NULL for a number. */
    double minimum; /**< Of a number. */
    double maximum; /**< Of a number. */
    const char *fallback; /**< The default, as it would be written in a recipe. */
} kf_knob;

/** A published method, as `kerf methods` prints it. Everything is static. */
typedef struct kf_method {
    const char *name;    /**< "gptq" */
    const char *stage;   /**< "transform", "allocate", "round", "repair" or "tune" */
    const char *summary; /**< One sentence. */
    const char *paper;   /**< Authors, title, year, arXiv number. */
    const char
        *statistics; /**< What it needs of calibration: "gram", "mean square", … or "none". */
    const kf_knob *knobs; /**< n_knobs of them. */
    size_t n_knobs;       /**< May be 0. */
} kf_method;

/** The i-th method, or NULL past the end. */
KF_API const kf_method *kf_method_at(size_t i);

/* ---- recipes ---- */

/** A recipe: formats, methods, knobs; opaque. */
typedef struct kf_recipe kf_recipe;

/**
 * Reads a recipe: the name of one that comes with Kerf ("gptq-w4"), or a path to a JSON file
 * (anything with a '/' or ending in .json).
 *
 * @param[out] recipe   returned owned; free with kf_recipe_free()
 * @param[in]  name     borrowed
 * @param      alloc    borrowed by the recipe, or NULL
 * @param[out] err      failure report, or NULL
 *
 * @retval KF_OK
 * @retval KF_INVALID  no such recipe (the message lists the nearest names), an unknown key, method
 * or knob
 * @retval KF_RANGE    a knob out of its range
 * @retval KF_FORMAT   not JSON; err->offset is the byte
 * @retval KF_INPUT    file missing
 * @retval KF_NOMEM
 */
KF_API KF_NODISCARD kf_status kf_recipe_open(kf_recipe **recipe, const char *name,
                                             const kf_allocator *alloc, kf_error *err);
/** Frees a recipe; NULL is fine. */
KF_API void kf_recipe_free(kf_recipe *recipe);

/**
 * Changes one knob: "weights=int3g128a", "head=int4g64", "prefix=none", "calib.samples=128",
 * "gptq.damping=0.05".
 *
 * @retval KF_OK
 * @retval KF_INVALID  no such key, no '=', or not UTF-8
 * @retval KF_RANGE  value out of range
 * @retval KF_NOMEM
 */
KF_API KF_NODISCARD kf_status kf_recipe_set(kf_recipe *recipe, const char *assignment,
                                            kf_error *err);

/** "gptq-w4", or the file's name without .json. */
KF_API const char *kf_recipe_name(const kf_recipe *recipe);
/** The resolved recipe as JSON, NUL-terminated, borrowed until the next kf_recipe_set(). */
KF_API const char *kf_recipe_json(const kf_recipe *recipe);
/** Names the method that needs calibration text, or "act_clip" where only its search does, or NULL
 * when nothing does (prefix "start" and "auto" alone need none). */
KF_API const char *kf_recipe_calibrates(const kf_recipe *recipe);
/** Whether the seed changes what quantizing gives: it chooses calibration windows, or a method
 * draws by it. */
KF_API bool kf_recipe_draws(const kf_recipe *recipe);
/** "none", "start", "auto", or a text. */
KF_API const char *kf_recipe_prefix(const kf_recipe *recipe);
/** Calibration windows and tokens a window. */
KF_API void kf_recipe_calibration(const kf_recipe *recipe, size_t *samples, size_t *length);
/** Name and one-line description of the i-th recipe that comes with Kerf; false past the end. */
KF_API bool kf_recipe_at(size_t i, const char **name, const char **description);

/* ---- quantizing ---- */

/** What became of one layer; strings borrowed for the call. */
typedef struct kf_layer_report {
    const char *tensor;      /**< "model.layers.3.mlp.down_proj.weight" */
    const char *format;      /**< "int4g64", or the source's for a kept tensor */
    const char *method;      /**< The rounding method */
    const char *activations; /**< Of its input: "int8tg64", "int4tg64c85", "float" */
    uint64_t rows;           /**< Outputs. */
    uint64_t cols;           /**< Inputs. */
    double bits_per_weight;  /**< Everything that the tensor stores. */
    double weight_error;     /**< ||W - W~||^2 / ||W||^2 */
    double output_error;     /**< tr(E H E^T) / tr(W H W^T) on the calibration inputs; NaN without
                                calibration */
    double nearest_error;    /**< The same if the weights were rounded to the nearest; NaN where not
                                measured */
    bool exact; /**< Re-encoding reproduces the source: its weights already lie on this grid. */
    const char *repair; /**< The method that made a low-rank pair beside the matrix, or NULL. The
                           errors above, but for nearest_error, and the bits are with the pair. */
    uint64_t rank;      /**< Of that pair; 0: none. */
    double unrepaired_error; /**< output_error without the pair; NaN where not measured. */
    double seconds;          /**< Fitting, rounding, packing. */
} kf_layer_report;

/** The plan (dry run) or the result. */
typedef struct kf_quantize_result {
    uint64_t parameters;           /**< Weights, tied tensors once. */
    uint64_t source_bytes;         /**< Stored bytes of all tensors before. */
    uint64_t bytes;                /**< And after. */
    double bits_per_weight;        /**< 8 bytes / parameters. */
    double bits_per_weight_linear; /**< The same over the linear layers of the blocks. */
    size_t n_layers_resumed;       /**< Blocks taken over from OUT.partial. */
    const char *prefix;            /**< "none", "start" or "text": what was decided. Static. */
    size_t n_prefix;               /**< Its tokens. */
    double prefix_loss[2]; /**< "auto": nats a token of held-back windows without and with the start
                              token; else NaN. */
    double seconds;        /**< Dry run: an estimate. */
    uint64_t memory_bytes; /**< Peak of what the call takes, the source's decoded block with it (dry
                              run: an upper estimate). Code and pages of files come on top. */
    uint64_t disk_bytes;   /**< Needed at the output, and with spill at its directory. */
} kf_quantize_result;

/** How to quantize; start from #KF_QUANTIZE_OPTIONS_INIT. */
typedef struct kf_quantize_options {
    size_t size;                   /**< sizeof(kf_quantize_options), set by the initialiser. */
    const kf_allocator *alloc;     /**< Borrowed, or NULL. */
    const kf_callbacks *callbacks; /**< Borrowed, or NULL. */
    void (*layer)(void *ctx,
                  const kf_layer_report *report); /**< Called once a finished tensor, or NULL. */
    /** Called with the output directory before it gets its final name, to add the tokenizer's
     * files; or NULL. */
    kf_status (*finish)(void *ctx, const char *directory, kf_error *err);
    void *ctx; /**< For layer and finish. */
    const uint32_t
        *calibration;     /**< Token ids of the whole calibration text, borrowed; NULL when none. */
    size_t n_calibration; /**< Ids at calibration. */
    const uint32_t *prefix; /**< Ids of the prefix that the recipe names (start token, then its
                               text), borrowed; NULL when none is possible. */
    size_t n_prefix;        /**< Ids at prefix. */
    const char *spill; /**< Directory for the calibration stream, or NULL to keep it in memory. */
    uint64_t seed;     /**< Of the choice of calibration windows and of methods that draw. */
    bool resume;       /**< Take over the finished blocks of OUT.partial. */
    bool force;        /**< Replace an OUT and an OUT.partial that Kerf made, or that are empty. */
    bool dry_run; /**< Only fill in the result; write nothing. Refuses what would be refused. */
} kf_quantize_options;

/** The defaults. */
#define KF_QUANTIZE_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(kf_quantize_options), NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, 0,      \
            false, false, false                                                                    \
    }

/**
 * Quantizes a model into a directory.
 *
 * Works block by block: one block's weights, its statistics and the calibration stream are in
 * memory; decoded blocks that the source has kept are let go. A finished block is a synced file in
 * OUT.partial; at the end the directory gets its final name, so that no incomplete OUT ever exists.
 *
 * @param[out] result  may be NULL
 * @param      source  an open foreign model, borrowed; opened with KF_WEIGHTS_FLOAT; used by nobody
 *                     else meanwhile
 * @param[in]  out     directory to make
 * @param[in]  recipe  borrowed
 * @param[in]  options borrowed, or NULL
 * @param[out] err     failure report, or NULL
 *
 * @retval KF_OK         OUT is complete
 * @retval KF_INVALID    the recipe's method needs calibration text and there is none (says why);
 *                       it asks for a prefix and none is given; the source's weights are packed
 * @retval KF_RANGE      OUT exists and neither force nor resume is set; OUT.partial exists and
 *                       neither is; one of them, or the OUT.replaced in the way, is nothing that
 *                       Kerf made, or holds the source; another process works in OUT.partial;
 *                       out is no name; the text is too short
 * @retval KF_INPUT      resume: OUT.partial belongs to another recipe, source, calibration text or
 * seed
 * @retval KF_FORMAT     a weight is NaN or infinite (tensor and index)
 * @retval KF_UNSUPPORTED the source is a Kerf checkpoint already
 * @retval KF_CANCELLED  finished blocks are kept for resume
 * @retval KF_IO         the disk is full or gone; finished blocks are kept
 * @retval KF_NOMEM      no memory
 *
 * Source: the order of steps (true sequential) is GPTQ's, Frantar et al. 2022, arXiv:2210.17323.
 * Cost: some forward passes of the calibration tokens through each block, and the methods'.
 * Threads: uses the model's pool. Numerics: same inputs, recipe, seed and instruction set give the
 * same bytes for any number of threads, resumed or not.
 */
KF_API KF_NODISCARD kf_status kf_quantize(kf_quantize_result *result, kf_model *source,
                                          const char *out, const kf_recipe *recipe,
                                          const kf_quantize_options *options, kf_error *err);

/**
 * Checks a Kerf checkpoint whole: every checksum, shape, scale and code.
 *
 * @param[in]  path       directory, borrowed
 * @param[in]  callbacks  borrowed, or NULL
 * @param[out] err        failure report, or NULL
 *
 * @retval KF_OK         the whole checkpoint is as it was written
 * @retval KF_INPUT      not there, or without kerf.json
 * @retval KF_FORMAT     the first thing that is wrong: file, tensor, byte
 * @retval KF_UNSUPPORTED it is of a version to come
 * @retval KF_CANCELLED  as callbacks asked
 * @retval KF_NOMEM      no memory
 *
 * Cost: reads every file twice, for its checksum and its values. Threads: reentrant. Numerics:
 * values that the recipe does not keep must be finite.
 */
KF_API KF_NODISCARD kf_status kf_verify(const char *path, const kf_callbacks *callbacks,
                                        kf_error *err);

#ifdef __cplusplus
}
#endif
#endif /* KERF_QUANTIZE_H */
