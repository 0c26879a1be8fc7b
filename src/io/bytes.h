/* bytes.h - little-endian numbers at any address of a file.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_BYTES_H
#define KFI_IO_BYTES_H

#include <stdint.h>

/* Built from bytes: right on any host, at any alignment; compilers make one load of each. */
static inline uint16_t kfi_load_u16(const uint8_t *src)
{
    return (uint16_t)(src[0] | src[1] << 8);
}

static inline uint32_t kfi_load_u32(const uint8_t *src)
{
    return kfi_load_u16(src) | (uint32_t)kfi_load_u16(src + 2) << 16;
}

static inline uint64_t kfi_load_u64(const uint8_t *src)
{
    return kfi_load_u32(src) | (uint64_t)kfi_load_u32(src + 4) << 32;
}

static inline void kfi_store_u16(uint8_t *dst, uint16_t value)
{
    dst[0] = (uint8_t)value;
    dst[1] = (uint8_t)(value >> 8);
}

static inline void kfi_store_u32(uint8_t *dst, uint32_t value)
{
    kfi_store_u16(dst, (uint16_t)value);
    kfi_store_u16(dst + 2, (uint16_t)(value >> 16));
}

static inline void kfi_store_u64(uint8_t *dst, uint64_t value)
{
    kfi_store_u32(dst, (uint32_t)value);
    kfi_store_u32(dst + 4, (uint32_t)(value >> 32));
}

#endif /* KFI_IO_BYTES_H */
