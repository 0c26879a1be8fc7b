/* lqlora.c - LQ-LoRA: rounding and the pair in turns, in a norm that weights columns, while it
 * helps.
 *
 * Source: H. Guo, P. Greengard, E. P. Xing, Y. Kim, "LQ-LoRA: Low-rank Plus Quantized Matrix
 *         Decomposition for Efficient Language Model Finetuning", 2023, arXiv:2311.12023,
 *         algorithm 2 and section 3.3: LoftQ's turns on || D_row (W - W~ - B A) D_col ||, D from
 * the row and column means of the Fisher information, ended by the first turn that raises it.
 *
 * Differences: D_col^2 is the mean square of the inputs, which for one row is the Fisher
 * information up to a factor, and D_row is 1: squared gradients are not gathered. The turn that
 * raised the objective is taken back by making the one before it again.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "quantize/method.h"

enum {
    KNOB_TURNS = KFI_REPAIR_N_KNOBS
};

static const kf_knob knobs[] = {
    KFI_REPAIR_KNOBS,
    {"iterations", "Most times that the weights are rounded.", NULL, 1.0, 100.0, "10"},
};

static void lqlora_request(kfi_statistics_request *request, const double *values)
{
    (void)values;
    if ((request->needs & KFI_NEED_GRAM) == 0) { /* whose diagonal does it too */
        request->needs |= KFI_NEED_MEAN_SQUARE;
    }
}

/* What is left of the error behind the pair. */
static double objective(const kfi_low_rank *problem)
{
    double rest = problem->total;
    for (size_t k = 0; k < problem->rank; k++) {
        rest -= problem->energy[k];
    }
    return rest;
}

/* A, then B. */
static void save_pair(float *dst, const kfi_repair_job *job)
{
    const size_t n_a = job->rank * job->round->cols;
    memcpy(dst, job->a, n_a * sizeof *dst);
    memcpy(dst + n_a, job->b, job->round->rows * job->rank * sizeof *dst);
}

static void restore_pair(kfi_repair_job *job, const float *src)
{
    const size_t n_a = job->rank * job->round->cols;
    memcpy(job->a, src, n_a * sizeof *src);
    memcpy(job->b, src + n_a, job->round->rows * job->rank * sizeof *src);
}

/* before, after: the pairs in front of the last rounding and of the next one. */
static kf_status take_turns(kfi_repair_job *job, kfi_low_rank *problem, float *before, float *after,
                            kf_error *err)
{
    const size_t n = (size_t)job->knobs[KNOB_TURNS];
    KFI_TRY(kfi_low_rank_solve(problem, err));
    for (size_t i = 1; i < n; i++) {
        const double last = objective(problem);
        save_pair(after, job);
        KFI_TRY(kfi_repair_round_again(job, err));
        KFI_TRY(kfi_low_rank_solve(problem, err));
        if (objective(problem) > last) {
            restore_pair(job, before);
            KFI_TRY(kfi_repair_round_again(job, err));
            return kfi_low_rank_solve(problem, err);
        }
        float *const oldest = before;
        before = after;
        after = oldest;
    }
    return KF_OK;
}

static kf_status lqlora_repair(kfi_repair_job *job, kf_error *err)
{
    kfi_low_rank problem = kfi_repair_problem(job);
    const size_t n = job->rank * (problem.rows + problem.cols);
    double *squares = NULL;
    KFI_TRY(kfi_repair_squares(&squares, job, err));
    problem.squares = squares;
    float *pairs =
        kfi_calloc(problem.alloc, 2 * n, sizeof *pairs); /* the first rounding: no pair */
    const kf_status st =
        pairs != NULL ? take_turns(job, &problem, pairs, pairs + n, err)
                      : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "two pairs of rank %zu", job->rank);
    kfi_free(problem.alloc, pairs, 2 * n * sizeof *pairs);
    kfi_free(problem.alloc, squares, problem.cols * sizeof *squares);
    return st;
}

const kfi_method kfi_method_lqlora = {
    .about = {.name = "lqlora",
              .stage = "repair",
              .summary = "Rounds and decomposes in turns, inputs by their mean square, while it "
                         "helps.",
              .paper = "H. Guo, P. Greengard, E. P. Xing, Y. Kim, LQ-LoRA: Low-rank Plus Quantized "
                       "Matrix Decomposition for Efficient Language Model Finetuning, 2023, "
                       "arXiv:2311.12023",
              .statistics = "mean square",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_REPAIR,
    .request = lqlora_request,
    .repair = lqlora_repair,
};
