/* head.c - logits from final hidden states.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "linalg/matrix.h"
#include "model/opened.h"
#include "model/workspace.h"

static kf_status float_head(kf_model *model, kfi_workspace *workspace, float *logits,
                            const float *hidden, size_t n, kf_error *err)
{
    const size_t rows = model->head.rows;
    const size_t cols = model->head.cols;
    for (size_t begin = 0; begin < rows; begin += KFI_HEAD_ROWS) {
        const size_t n_rows = rows - begin < KFI_HEAD_ROWS ? rows - begin : KFI_HEAD_ROWS;
        const float *weights = NULL;
        KFI_TRY(kfi_model_head_rows(model, &weights, workspace->head_piece, begin, n_rows, err));
        const kfi_gemm product = {.kind = KFI_GEMM_NT,
                                  .m = n,
                                  .n = n_rows,
                                  .k = cols,
                                  .a = hidden,
                                  .ld_a = cols,
                                  .b = weights,
                                  .ld_b = cols,
                                  .c = logits + begin,
                                  .ld_c = rows};
        kfi_matrix_multiply(workspace->pool, &product);
    }
    return KF_OK;
}

kf_status kfi_head_forward(kf_model *model, kfi_workspace *workspace, float *logits,
                           const float *hidden, size_t n, kf_error *err)
{
    if (model->head.packed.codes == NULL) {
        return float_head(model, workspace, logits, hidden, n, err);
    }
    kfi_linear_forward(workspace, &model->head, logits, hidden, n);
    return KF_OK;
}
