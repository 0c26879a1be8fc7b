/* tensor.c - element types, lookup of tensors by name, decoding to float.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/tensor.h"

#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "io/bytes.h"
#include "io/names.h"

static const kfi_dtype_info dtypes[KFI_DTYPE_COUNT] = {
#define DTYPE_ROW(constant, name, ggml_id, elements, bytes)                                        \
    [KFI_DTYPE_##constant] = {name, ggml_id, elements, bytes},
    KFI_DTYPE_MAP(DTYPE_ROW)
#undef DTYPE_ROW
};

const kfi_dtype_info *kfi_dtype_get(kfi_dtype dtype)
{
    return &dtypes[dtype];
}

bool kfi_dtype_from_ggml(kfi_dtype *dtype, uint32_t ggml_id)
{
    for (size_t i = 0; i < KFI_DTYPE_COUNT; i++) {
        if (dtypes[i].ggml_id >= 0 && (uint32_t)dtypes[i].ggml_id == ggml_id) {
            *dtype = (kfi_dtype)i;
            return true;
        }
    }
    return false;
}

bool kfi_dtype_from_name(kfi_dtype *dtype, const char *name, size_t n)
{
    for (size_t i = 0; i < KFI_DTYPE_COUNT; i++) {
        if (strlen(dtypes[i].name) == n && memcmp(dtypes[i].name, name, n) == 0) {
            *dtype = (kfi_dtype)i;
            return true;
        }
    }
    return false;
}

bool kfi_dtype_is_decodable(kfi_dtype dtype)
{
    return dtypes[dtype].block > 1 || dtype == KFI_DTYPE_F32 || dtype == KFI_DTYPE_F16 ||
           dtype == KFI_DTYPE_BF16 || dtype == KFI_DTYPE_F64;
}

static kfi_text tensor_name(const void *items, size_t i)
{
    const char *name = ((const kfi_tensor *)items)[i].name;
    return (kfi_text){name, strlen(name)};
}

kf_status kfi_tensor_table_index(kfi_tensor_table *table, kfi_arena *arena, kf_error *err)
{
    if (table->n > UINT32_MAX / 4) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%zu tensors are too many", table->n);
    }
    table->n_slots = kfi_names_slots(table->n);
    table->slots = kfi_arena_alloc(arena, _Alignof(uint32_t), table->n_slots * sizeof(uint32_t));
    if (table->slots == NULL) {
        table->n_slots = 0;
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory to index %zu tensors", table->n);
    }
    memset(table->slots, 0, table->n_slots * sizeof(uint32_t));
    kfi_names names = {table->tensors, tensor_name, table->slots, table->n_slots};
    for (size_t i = 0; i < table->n; i++) {
        const kfi_names_result result = kfi_names_add(&names, i);
        if (result != KFI_NAMES_ADDED) {
            return kfi_fail(err, KF_FORMAT, table->tensors[i].offset, "tensor '%s': %s",
                            kfi_string_show(table->tensors[i].name).text,
                            result == KFI_NAMES_DUPLICATE ? "its name occurs twice"
                                                          : "too many names with equal hashes");
        }
    }
    return KF_OK;
}

const kfi_tensor *kfi_tensor_find(const kfi_tensor_table *table, const char *name)
{
    const kfi_names names = {table->tensors, tensor_name, table->slots, table->n_slots};
    const size_t i = kfi_names_find(&names, (kfi_text){name, strlen(name)});
    return i == SIZE_MAX ? NULL : &table->tensors[i];
}

static void decode_f32(float *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = kfi_bits_float(kfi_load_u32(src + 4 * i));
    }
}

static void decode_f16(float *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = kfi_half_to_float(kfi_load_u16(src + 2 * i));
    }
}

static void decode_bf16(float *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = kfi_bfloat_to_float(kfi_load_u16(src + 2 * i));
    }
}

static void decode_f64(float *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t bits = kfi_load_u64(src + 8 * i);
        double value = 0.0;
        memcpy(&value, &bits, sizeof value);
        dst[i] = (float)value;
    }
}

kf_status kfi_tensor_decode(float *dst, const kfi_tensor *tensor, size_t begin, size_t n,
                            kf_error *err)
{
    const kfi_dtype_info *info = &dtypes[tensor->dtype];
    if (!kfi_dtype_is_decodable(tensor->dtype)) {
        return kfi_fail(err, KF_UNSUPPORTED, tensor->offset,
                        "tensor '%s' is %s, which is not a type of weights",
                        kfi_string_show(tensor->name).text, info->name);
    }
    if (begin > tensor->n_elements || n > tensor->n_elements - begin || begin % info->block != 0 ||
        n % info->block != 0) {
        return kfi_fail(err, KF_RANGE, tensor->offset,
                        "tensor '%s' has %zu elements in blocks of %zu: no range of %zu from %zu",
                        kfi_string_show(tensor->name).text, tensor->n_elements, info->block, n,
                        begin);
    }
    if (n == 0) {
        return KF_OK; /* an empty tensor may have no data pointer */
    }
    const uint8_t *src = tensor->data + begin / info->block * info->block_bytes;
    switch (tensor->dtype) {
    case KFI_DTYPE_F32:
        decode_f32(dst, src, n);
        break;
    case KFI_DTYPE_F16:
        decode_f16(dst, src, n);
        break;
    case KFI_DTYPE_BF16:
        decode_bf16(dst, src, n);
        break;
    case KFI_DTYPE_F64:
        decode_f64(dst, src, n);
        break;
    default:
        kfi_ggml_decode(dst, tensor->dtype, src, n);
    }
    return KF_OK;
}
