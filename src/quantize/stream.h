/* stream.h - values of all calibration tokens between two layers, in memory or in a file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_STREAM_H
#define KFI_QUANTIZE_STREAM_H

#include <stdbool.h>

#include "base/alloc.h"
#include "kerf/error.h"

typedef struct kfi_stream {
    const kf_allocator *alloc;
    size_t n_tokens, width;
    size_t bytes;
    bool is_mapped;
    float *data; /* [n_tokens][width] */
} kfi_stream;

/* Room for n_tokens rows. With a directory the rows lie in a file there that has no name and goes
 * with the process; the system writes its pages out when memory is short. KF_NOMEM, KF_RANGE,
 * KF_IO (no such directory, no space: found here, not at the first write). */
KF_NODISCARD kf_status kfi_stream_init(kfi_stream *stream, size_t n_tokens, size_t width,
                                       const char *spill, const kf_allocator *alloc, kf_error *err);
void kfi_stream_deinit(kfi_stream *stream);

static inline float *kfi_stream_row(const kfi_stream *stream, size_t i_token)
{
    return stream->data + i_token * stream->width;
}

#endif /* KFI_QUANTIZE_STREAM_H */
