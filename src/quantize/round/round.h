/* round.h - what rounding methods share: the job, grids to start from, nearest codes, errors.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_ROUND_H
#define KFI_QUANTIZE_ROUND_H

#include "base/alloc.h"
#include "base/threads.h"
#include "format/format.h"
#include "kerf/error.h"
#include "quantize/statistics.h"

/* Rows that one task takes. Every row is rounded by itself, so that no split changes a result. */
#define KFI_ROUND_ROWS 32u

/* What columns of outliers are rounded to: 8 bits, a scale a row. */
#define KFI_ROUND_OUTLIERS                                                                         \
    ((kf_format){KF_ELEMENT_INT, 8, KF_SCALE_FP16, KF_ZERO_NONE, KF_GROUP_ROW})

/* Single weights beside the matrix, as kfi_sparse has them, owned; made and filled by sparse.h.
 * What a weight stands for is the matrix's value plus this one's. */
typedef struct kfi_sparse_part {
    size_t n;                   /* 0: there are none, and nothing below is set */
    uint32_t *starts;           /* [rows + 1] */
    uint16_t *columns, *values; /* [n] */
    uint8_t *marks;             /* [rows][cols]: 1 where one stands; while the matrix is rounded */
    const float *whole;         /* the job's weights, whose place `rest` has taken */
    float *rest;                /* [rows][cols]: the weights, 0 where they stand beside */
} kfi_sparse_part;

/* One layer to round. */
typedef struct kfi_round_job {
    const float *weights; /* [rows][cols], finite, borrowed */
    size_t rows, cols;
    kf_format format;
    const kfi_statistics
        *statistics; /* of the layer's input, borrowed; NULL: none were asked for */
    const double *knobs;
    kf_pool *pool;
    const kf_allocator *alloc;
    uint8_t *codes;    /* [rows][cols], filled by the method */
    kfi_grid *grids;   /* [rows][kfi_format_groups()], filled by the method */
    size_t n_outliers; /* the last columns: 0 in the matrix, rounded apart to KFI_ROUND_OUTLIERS */
    uint8_t *outlier_codes;          /* [rows][n_outliers], filled by the method */
    kfi_grid *outlier_grids;         /* [rows], filled by the method */
    bool takes_sparse;               /* the layer can hold single weights beside the matrix */
    kfi_sparse_part sparse;          /* made by the method, where the layer takes them */
    int8_t table[KFI_TABLE_ENTRIES]; /* what codes stand for, where the tensor decides that */
    bool has_table;                  /* it was learned */
    bool is_fitted; /* grids hold what the method's grid() gives, dead columns not cleared */
    double output;  /* tr(W H W^T), kept by the first kfi_round_measure(); 0: not known yet */
    double loss;    /* what the method minimised, by its own formula; NaN where it has none */
} kfi_round_job;

/* What the job's codes stand for. */
kfi_levels kfi_round_levels(const kfi_round_job *job);

/* Memory for the codes and grids of a job whose rows, cols, n_outliers, format and alloc are set.
 * KF_NOMEM. */
KF_NODISCARD kf_status kfi_round_job_init(kfi_round_job *job, kf_error *err);
void kfi_round_job_deinit(kfi_round_job *job);

/* How grids are fitted to weights. */
typedef enum kfi_importance {
    KFI_IMPORTANCE_NONE,       /* every weight alike */
    KFI_IMPORTANCE_MEAN_SQUARE /* by E[x^2] of its input */
} kfi_importance;

typedef struct kfi_round_grid {
    kfi_fit fit;
    kfi_importance importance;
} kfi_round_grid;

/* The four knobs that describe a kfi_round_grid, for the tables of methods; they are read with
 * kfi_round_grid_read() from the first of the four. */
#define KFI_ROUND_GRID_KNOBS(fit_default)                                                            \
    {"fit",                                                                                          \
     "How a group's range is chosen: its weights' own, or shrunk to the least error.",               \
     "minmax|mse",                                                                                   \
     0,                                                                                              \
     0,                                                                                              \
     fit_default},                                                                                   \
        {"exponent", "The clip search minimises the sum of |w - w~| to this power.", NULL, 1.0, 4.0, \
         "2.4"},                                                                                     \
        {"shrink", "Least part of the range that the clip search tries.", NULL, 0.1, 1.0, "0.45"},   \
    {                                                                                                \
        "importance", "Weights of the clip search: none, or the mean square of the input.",          \
            "none|mean_square", 0, 0, "none"                                                         \
    }
#define KFI_ROUND_GRID_N_KNOBS 4u

void kfi_round_grid_read(kfi_round_grid *grid, const double *knobs);

/* RTN: the nearest codes on the grids that a method's first knobs describe. It is a method's
 * round(); what it asks of calibration is its request(). */
KF_NODISCARD kf_status kfi_round_rtn(kfi_round_job *job, const void *shared, kf_error *err);
void kfi_round_grid_request(kfi_statistics_request *request, const double *knobs);

/* The two knobs that say how tokens count in a method's statistics, for the tables of methods; and
 * what they say, read from the first of the two. */
#define KFI_TOKEN_KNOBS                                                                            \
    {"first_token_weight",                                                                         \
     "Weight of each window's first token in H where no prefix is in front.",                      \
     NULL,                                                                                         \
     0.0,                                                                                          \
     10000.0,                                                                                      \
     "1"},                                                                                         \
    {                                                                                              \
        "prefix_in_gram", "Count the exact prefix's tokens in H, once a window.", "false|true", 0, \
            0, "true"                                                                              \
    }
#define KFI_TOKEN_N_KNOBS 2u
void kfi_token_request(kfi_statistics_request *request, const double *knobs);

/* Importance of each input column, [cols] values >= 0, from the Gram matrix or the mean squares; or
 * NULL in *importance where the grid wants none. Returned owned: free cols floats. */
KF_NODISCARD kf_status kfi_round_importance(float **importance, const kfi_round_grid *grid,
                                            const kfi_statistics *statistics, size_t cols,
                                            const kf_allocator *alloc, kf_error *err);

/* True while the job's format wants a codebook of the tensor's own that is not learned yet. */
bool kfi_round_wants_table(const kfi_round_job *job);

/* Fits job->grids to the job's weights, after learning their codebook where one is wanted, and the
 * grids of the outliers. Columns c with dead[c] count as 0 (dead may be NULL), and those of
 * outliers do in the matrix. */
KF_NODISCARD kf_status kfi_round_fit(kfi_round_job *job, const kfi_round_grid *grid,
                                     const uint8_t *dead, kf_error *err);
/* job->codes: the nearest on job->grids, and those of the outliers. */
void kfi_round_nearest(kfi_round_job *job);
/* Rounds a value of outlier column i of a row: sets its code, returns what it is read as. */
float kfi_round_outlier(const kfi_round_job *job, size_t row, size_t i, float value);

/* How far codes and grids are from the weights. */
typedef struct kfi_round_error {
    double weight; /* ||W - W~||^2 / ||W||^2 */
    double output; /* tr(E H E^T) / tr(W H W^T) with H the job's Gram matrix; NaN without */
    double error_sum, weight_sum; /* ||W - W~||^2 and ||W||^2, to join pieces of a matrix */
} kfi_round_error;

/* Cost: 2 rows cols^2 operations with a Gram matrix, twice that the first time; else O(rows cols).
 */
KF_NODISCARD kf_status kfi_round_measure(kfi_round_error *error, kfi_round_job *job, kf_error *err);
/* The same of another E, [rows][cols]: what codes and grids and more leave. */
KF_NODISCARD kf_status kfi_round_measure_matrix(kfi_round_error *error, kfi_round_job *job,
                                                const float *e, kf_error *err);
/* dst [end - begin][cols] = W - W~ of some rows. */
void kfi_round_error_rows(float *dst, const kfi_round_job *job, size_t begin, size_t end);

#endif /* KFI_QUANTIZE_ROUND_H */
