/* compare_page.h - kerf compare's table as one page with charts.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_COMPARE_PAGE_H
#define KERF_CLI_COMPARE_PAGE_H

#include "compare_table.h"

/* What the page says above its table. */
typedef struct compare_page {
    const char *model, *source, *calibration; /* calibration NULL: the first half of the text */
    const compare_layout *layout;
} compare_page;

/* Writes the page, which needs nothing but itself; it gets its name when it is whole. KF_IO. */
kf_status compare_page_write(const char *path, const compare_page *page, const compare_rows *rows,
                             kf_error *err);

#endif /* KERF_CLI_COMPARE_PAGE_H */
