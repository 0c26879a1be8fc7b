/* fuzz_packed.c - packed tensors. What was accepted reads to its last code, and written again it is
 * the same bytes, if and only if verifying finds its padding clean (and no ternary code of 3).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "format/format.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* All codes and grids; every weight must decode to what its code and grid say. */
static void read_all(uint8_t *codes, kfi_grid *grids, const kfi_packed *packed)
{
    const kfi_levels levels = kfi_packed_levels(packed);
    float *row = kfi_alloc(NULL, packed->cols * sizeof *row);
    require(row != NULL);
    for (size_t r = 0; r < packed->rows; r++) {
        uint8_t *row_codes = codes + r * packed->cols;
        kfi_grid *row_grids = grids + r * packed->n_groups;
        kfi_packed_read_row(row_codes, row_grids, packed, r);
        kfi_packed_decode_row(row, packed, r, 0, packed->cols);
        for (size_t c = 0; c < packed->cols; c++) {
            const float expected =
                kfi_grid_decode(&row_grids[c / packed->group], levels, row_codes[c]);
            require(memcmp(&row[c], &expected, sizeof expected) == 0);
        }
    }
    kfi_free(NULL, row, packed->cols * sizeof *row);
}

/* Whether the tensor written anew from its codes and grids is the same. */
static bool comes_back(const kfi_packed *packed, const void *data, size_t n)
{
    const size_t n_codes = packed->rows * packed->cols;
    const size_t n_grids = packed->rows * packed->n_groups;
    uint8_t *codes = kfi_alloc(NULL, n_codes);
    kfi_grid *grids = kfi_alloc(NULL, n_grids * sizeof *grids);
    void *again = kfi_alloc(NULL, n);
    require(codes != NULL && grids != NULL && again != NULL);
    read_all(codes, grids, packed);
    kfi_packed_begin(again, packed->format, packed->table, packed->rows, packed->cols);
    kfi_packed_write(again, 0, packed->n_panels, codes, grids);
    bool same = memcmp(again, data, n) == 0;
    for (size_t i = 0; i < n_codes; i++) {
        same = same && codes[i] <= kfi_packed_levels(packed).q_max;
    }
    kfi_free(NULL, codes, n_codes);
    kfi_free(NULL, grids, n_grids * sizeof *grids);
    kfi_free(NULL, again, n);
    return same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_packed packed;
    kf_error err = {0};
    uint8_t *copy = kfi_alloc(NULL, n); /* packed tensors are aligned, inputs need not be */
    require(copy != NULL);
    if (n > 0) {
        memcpy(copy, data, n);
    }
    if (kfi_packed_open(&packed, copy, n, false, &err) == KF_OK) {
        require(kfi_packed_bits(&packed) > 0.0);
        const bool same = comes_back(&packed, copy, n);
        require((kfi_packed_open(&packed, copy, n, true, &err) == KF_OK) == same);
    } else {
        require(err.code != KF_OK && err.msg[0] != '\0');
    }
    kfi_free(NULL, copy, n);
    return 0;
}
