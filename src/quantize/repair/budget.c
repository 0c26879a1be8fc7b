/* budget.c - ranks of a block's low-rank pairs by what they gain for their bytes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/repair/budget.h"

#include <stdbool.h>

#include "base/fail.h"
#include "kernels/packed.h"

kf_status kfi_pair_bytes(uint64_t *bytes, kf_format factors, size_t rows, size_t cols, size_t rank,
                         kf_error *err)
{
    uint64_t of_a = 0;
    uint64_t of_b = 0;
    if (rank > 0) {
        KFI_TRY(kf_format_bytes(&of_a, factors, rank, cols, err));
        KFI_TRY(kf_format_bytes(&of_b, factors, rows, rank, err));
    }
    *bytes = of_a + of_b;
    return KF_OK;
}

/* More ranks for a layer. */
typedef struct offer {
    kfi_budget_layer *layer; /* NULL: none */
    size_t rank;             /* with them */
    uint64_t bytes;          /* that they add */
    double gain;             /* a byte */
} offer;

static bool is_better(const offer *a, const offer *b)
{
    return b->layer == NULL || a->gain > b->gain ||
           (a->gain == b->gain && a->layer->rank < b->layer->rank); /* exact: the same spectra */
}

/* Takes `more` ranks of a layer as the best offer if they fit and gain the most. */
static kf_status consider(offer *best, kfi_budget_layer *layer, size_t more, uint64_t left,
                          kf_error *err)
{
    const size_t rank = layer->most - layer->rank < more ? layer->most : layer->rank + more;
    uint64_t now = 0;
    uint64_t then = 0;
    double gain = 0.0;
    KFI_TRY(kfi_pair_bytes(&now, layer->factors, layer->rows, layer->cols, layer->rank, err));
    KFI_TRY(kfi_pair_bytes(&then, layer->factors, layer->rows, layer->cols, rank, err));
    for (size_t i = layer->rank; i < rank; i++) {
        gain += layer->gains[i];
    }
    const offer found = {layer, rank, then - now, then > now ? gain / (double)(then - now) : 0.0};
    if (found.bytes <= left && found.gain > 0.0 && is_better(&found, best)) {
        *best = found;
    }
    return KF_OK;
}

kf_status kfi_budget_spend(uint64_t *spent, kfi_budget_layer *layers, size_t n, uint64_t budget,
                           kf_error *err)
{
    offer best;
    *spent = 0;
    for (size_t l = 0; l < n; l++) {
        layers[l].rank = 0;
    }
    do {
        best = (offer){0};
        for (size_t l = 0; l < n; l++) {
            KFI_TRY(consider(&best, &layers[l], KFI_PANEL_ROWS, budget - *spent, err));
            KFI_TRY(consider(&best, &layers[l], KFI_CHUNK_COLS, budget - *spent, err));
        }
        if (best.layer != NULL) {
            best.layer->rank = best.rank;
            *spent += best.bytes;
        }
    } while (best.layer != NULL);
    return KF_OK;
}
