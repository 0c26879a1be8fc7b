/* npy.h - writer of NumPy .npy files, float32 and C order.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_NPY_H
#define KFI_IO_NPY_H

#include "base/file.h"

/* A file written row by row; appears under its name at commit. */
typedef struct kfi_npy_writer {
    kfi_file_writer file;
    uint64_t rows, columns, n_written;
} kfi_npy_writer;

KF_NODISCARD kf_status kfi_npy_writer_open(kfi_npy_writer *writer, const char *path, uint64_t rows,
                                           uint64_t columns, const kf_allocator *alloc,
                                           kf_error *err);
KF_NODISCARD kf_status kfi_npy_writer_rows(kfi_npy_writer *writer, const float *data, size_t n_rows,
                                           kf_error *err);
/* KF_INTERNAL when not all rows were written. */
KF_NODISCARD kf_status kfi_npy_writer_commit(kfi_npy_writer *writer, kf_error *err);
void kfi_npy_writer_abort(kfi_npy_writer *writer);

#endif /* KFI_IO_NPY_H */
