/* npy.c - writer of NumPy .npy files.
 *
 * Source: the .npy format, version 1.0, numpy.org, numpy.lib.format.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/npy.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "io/bytes.h"

/* Magic, version, length of the text, text: a multiple of 64 in all, as NumPy writes it. */
#define HEADER_BYTES 128u
#define FIRST_TEXT   10u

static void make_header(uint8_t header[HEADER_BYTES], uint64_t rows, uint64_t columns)
{
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    kfi_store_u16(header + 8, HEADER_BYTES - FIRST_TEXT);
    char *text = (char *)header + FIRST_TEXT;
    memset(text, ' ', HEADER_BYTES - FIRST_TEXT);
    const int n =
        snprintf(text, HEADER_BYTES - FIRST_TEXT,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64 ", %" PRIu64 "), }",
                 rows, columns);
    text[n] = ' '; /* snprintf's NUL; two numbers of 20 digits leave room */
    header[HEADER_BYTES - 1] = '\n';
}

kf_status kfi_npy_writer_open(kfi_npy_writer *writer, const char *path, uint64_t rows,
                              uint64_t columns, const kf_allocator *alloc, kf_error *err)
{
    uint8_t header[HEADER_BYTES];
    *writer = (kfi_npy_writer){.file = {.fd = -1}, .rows = rows, .columns = columns};
    KFI_TRY(kfi_file_writer_open(&writer->file, path, alloc, err));
    make_header(header, rows, columns);
    const kf_status status = kfi_file_writer_write(&writer->file, header, sizeof header, err);
    if (status != KF_OK) {
        kfi_file_writer_abort(&writer->file);
    }
    return status;
}

kf_status kfi_npy_writer_rows(kfi_npy_writer *writer, const float *data, size_t n_rows,
                              kf_error *err)
{
    if (n_rows > writer->rows - writer->n_written) {
        return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET,
                        "%zu rows behind %" PRIu64 " of %" PRIu64 " in a .npy file", n_rows,
                        writer->n_written, writer->rows);
    }
    uint8_t piece[4096];
    const uint64_t n = n_rows * writer->columns;
    for (uint64_t begin = 0; begin < n; begin += sizeof piece / 4) {
        const size_t left = (size_t)(n - begin);
        const size_t n_piece = left < sizeof piece / 4 ? left : sizeof piece / 4;
        for (size_t i = 0; i < n_piece; i++) { /* little-endian on any host */
            kfi_store_u32(piece + 4 * i, kfi_float_bits(data[begin + i]));
        }
        KFI_TRY(kfi_file_writer_write(&writer->file, piece, 4 * n_piece, err));
    }
    writer->n_written += n_rows;
    return KF_OK;
}

kf_status kfi_npy_writer_commit(kfi_npy_writer *writer, kf_error *err)
{
    if (writer->n_written != writer->rows) {
        kfi_file_writer_abort(&writer->file);
        return kfi_fail(err, KF_INTERNAL, KF_NO_OFFSET,
                        "only %" PRIu64 " of %" PRIu64 " rows were written to a .npy file",
                        writer->n_written, writer->rows);
    }
    return kfi_file_writer_commit(&writer->file, err);
}

void kfi_npy_writer_abort(kfi_npy_writer *writer)
{
    kfi_file_writer_abort(&writer->file);
}
