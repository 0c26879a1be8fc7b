/* quantile.c - the value below which a part of some numbers lies.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/quantile.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

double kfi_quantile(double *values, size_t n, double part)
{
    qsort(values, n, sizeof *values, compare_doubles);
    const double place = part * (double)(n - 1);
    const size_t below = (size_t)place;
    const size_t above = below + 1 < n ? below + 1 : below;
    const double part_above = place - (double)below;
    /* Between infinities there is no difference, and none of it is NaN. */
    return part_above > 0 && values[below] < values[above]
               ? values[below] + part_above * (values[above] - values[below])
               : values[below];
}
