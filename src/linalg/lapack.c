/* lapack.c - OpenBLAS on one thread.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/lapack.h"

#include <cblas.h>

#include "base/once.h"

static kfi_once single_thread_once = KFI_ONCE_INIT;

static void use_single_thread(void)
{
    openblas_set_num_threads(1);
}

void kfi_lapack_begin(void)
{
    kfi_once_run(&single_thread_once, use_single_thread);
}
