/* tiny_sparse.c - single weights beside the matrices of tiny models.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_sparse.h"

#include "base/half.h"
#include "tiny_write.h"

void tiny_sparse_init(tiny_sparse *s, size_t rows, size_t cols, bool (*is_taken)(size_t, size_t),
                      size_t n_taken)
{
    *s = (tiny_sparse){.rows = rows, .cols = cols};
    tiny_check(rows < sizeof s->starts / sizeof s->starts[0], "too many rows");
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols && r % 5 != 4; c++) {
            if ((c + 2 * r) % 9 == 0 && !is_taken(c, n_taken)) {
                tiny_check(s->n < TINY_SPARSE_MOST, "too many weights");
                s->columns[s->n] = (uint16_t)c;
                s->values[s->n++] = kfi_half_from_float(0.03f * (float)((int)(r + c) % 7 - 3));
            }
        }
        s->starts[r + 1] = (uint32_t)s->n;
    }
}

void tiny_sparse_fold(tiny_tensor *t, const tiny_sparse *s)
{
    for (size_t r = 0; r < s->rows; r++) {
        for (size_t i = s->starts[r]; i < s->starts[r + 1]; i++) {
            t->data[r * t->cols + s->columns[i]] += kfi_half_to_float(s->values[i]);
        }
    }
}
