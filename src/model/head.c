/* head.c - logits from final hidden states.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fail.h"
#include "linalg/matrix.h"
#include "model/opened.h"
#include "model/workspace.h"

/* A head that does not fit in memory: some rows at a time. */
static void head_in_pieces(kf_model *model, kfi_workspace *workspace, float *logits,
                           const float *hidden, size_t n)
{
    const size_t rows = model->head.rows;
    const size_t cols = model->head.cols;
    for (size_t begin = 0; begin < rows; begin += KFI_HEAD_ROWS) {
        const size_t n_rows = rows - begin < KFI_HEAD_ROWS ? rows - begin : KFI_HEAD_ROWS;
        kfi_model_decode_head(model, workspace->head_piece, begin, n_rows);
        const kfi_gemm product = {.kind = KFI_GEMM_NT,
                                  .m = n,
                                  .n = n_rows,
                                  .k = cols,
                                  .a = hidden,
                                  .ld_a = cols,
                                  .b = workspace->head_piece,
                                  .ld_b = cols,
                                  .c = logits + begin,
                                  .ld_c = rows};
        kfi_matrix_multiply(workspace->pool, &product);
    }
}

kf_status kfi_head_forward(kf_model *model, kfi_workspace *workspace, float *logits,
                           const float *hidden, size_t n, kf_error *err)
{
    kfi_linear head = model->head;
    if (head.packed.codes == NULL) {
        KFI_TRY(kfi_model_kept_head(model, &head.weights, err));
    }
    if (head.packed.codes == NULL && head.weights == NULL) {
        head_in_pieces(model, workspace, logits, hidden, n);
    } else {
        kfi_linear_forward(workspace, &head, logits, hidden, n);
    }
    return KF_OK;
}
