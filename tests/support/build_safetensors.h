/* build_safetensors.h - safetensors files in memory, from any header text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_BUILD_SAFETENSORS_H
#define KERF_TESTS_BUILD_SAFETENSORS_H

#include "build_gguf.h"

/* Length, header, data_bytes bytes that count up. */
static inline void build_safetensors(kfi_buf *buf, const char *header, size_t data_bytes)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    put_u64(buf, strlen(header));
    put_bytes(buf, header, strlen(header));
    put_data(buf, data_bytes);
}

#define SAMPLE_SAFETENSORS                                                                         \
    "{\"__metadata__\": {\"format\": \"pt\"}, "                                                    \
    "\"b\": {\"dtype\": \"F16\", \"shape\": [2, 3], \"data_offsets\": [16, 28]}, "                 \
    "\"a\": {\"dtype\": \"F32\", \"shape\": [4], \"data_offsets\": [0, 16]}, "                     \
    "\"empty\": {\"dtype\": \"BF16\", \"shape\": [0, 7], \"data_offsets\": [28, 28]}, "            \
    "\"scalar\": {\"dtype\": \"U8\", \"shape\": [], \"data_offsets\": [28, 29]}}   "

static inline void build_sample_safetensors(kfi_buf *buf)
{
    build_safetensors(buf, SAMPLE_SAFETENSORS, 29);
}

#endif /* KERF_TESTS_BUILD_SAFETENSORS_H */
