/* gguf_value.c - typed reads of GGUF metadata.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/half.h"
#include "io/bytes.h"
#include "io/gguf_reader.h"

/* Puts the file's name in front of a message. */
static kf_status from_file(const kfi_gguf *gguf, kf_status status, kf_error *err)
{
    if (gguf->path != NULL) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(gguf->path));
    }
    return status;
}

static kf_status find(const kfi_gguf_value **value, const kfi_gguf *gguf, const char *key,
                      kf_error *err)
{
    *value = kfi_gguf_find(gguf, key);
    if (*value == NULL) {
        return from_file(
            gguf, kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "metadata key '%s' is missing", key), err);
    }
    return KF_OK;
}

static kf_status fail_type(const kfi_gguf *gguf, const kfi_gguf_value *value, const char *expected,
                           kf_error *err)
{
    const char *kind = value->type == KFI_GGUF_ARRAY ? "array of " : "";
    const kf_status status = kfi_fail(
        err, KF_FORMAT, value->offset, "metadata key '%s' is %s%s, expected %s",
        kfi_text_show(value->key).text, kind, kfi_gguf_type_name(value->element), expected);
    return from_file(gguf, status, err);
}

static bool is_integer(kfi_gguf_type type)
{
    return type != KFI_GGUF_F32 && type != KFI_GGUF_F64 && type != KFI_GGUF_BOOL &&
           type != KFI_GGUF_STRING && type != KFI_GGUF_ARRAY;
}

static double load_f64(const uint8_t *src)
{
    const uint64_t bits = kfi_load_u64(src);
    double value = 0.0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The nearest int64: 0 for NaN. */
static int64_t saturate(double value)
{
    if (value >= 0x1p63) {
        return INT64_MAX;
    }
    if (value < -0x1p63) {
        return INT64_MIN;
    }
    return value == value ? (int64_t)value : 0; /* only NaN differs from itself */
}

int64_t kfi_gguf_element_i64(const kfi_gguf_value *value, uint64_t i)
{
    const uint8_t *data = value->data;
    switch (value->element) {
    case KFI_GGUF_U8:
        return data[i];
    case KFI_GGUF_BOOL:
        return data[i] != 0;
    case KFI_GGUF_I8:
        return (int8_t)data[i];
    case KFI_GGUF_U16:
        return kfi_load_u16(data + 2 * i);
    case KFI_GGUF_I16:
        return (int16_t)kfi_load_u16(data + 2 * i);
    case KFI_GGUF_U32:
        return kfi_load_u32(data + 4 * i);
    case KFI_GGUF_I32:
        return (int32_t)kfi_load_u32(data + 4 * i);
    case KFI_GGUF_U64: {
        const uint64_t number = kfi_load_u64(data + 8 * i);
        return number > INT64_MAX ? INT64_MAX : (int64_t)number;
    }
    case KFI_GGUF_I64:
        return (int64_t)kfi_load_u64(data + 8 * i);
    case KFI_GGUF_F32:
    case KFI_GGUF_F64:
        return saturate(kfi_gguf_element_f64(value, i));
    case KFI_GGUF_STRING:
    case KFI_GGUF_ARRAY:
        break;
    }
    return 0;
}

double kfi_gguf_element_f64(const kfi_gguf_value *value, uint64_t i)
{
    switch (value->element) {
    case KFI_GGUF_F32:
        return (double)kfi_bits_float(kfi_load_u32(value->data + 4 * i));
    case KFI_GGUF_F64:
        return load_f64(value->data + 8 * i);
    case KFI_GGUF_U64:
        return (double)kfi_load_u64(value->data + 8 * i);
    default:
        return (double)kfi_gguf_element_i64(value, i);
    }
}

kf_status kfi_gguf_u64(uint64_t *dst, const kfi_gguf *gguf, const char *key, kf_error *err)
{
    const kfi_gguf_value *value = NULL;
    KFI_TRY(find(&value, gguf, key, err));
    if (!is_integer(value->type)) {
        return fail_type(gguf, value, "an integer", err);
    }
    if (value->type == KFI_GGUF_U64) {
        *dst = kfi_load_u64(value->data);
        return KF_OK;
    }
    const int64_t number = kfi_gguf_element_i64(value, 0);
    if (number < 0) {
        const kf_status status =
            kfi_fail(err, KF_FORMAT, value->offset,
                     "metadata key '%s' is %s %" PRId64 ", expected at least 0", key,
                     kfi_gguf_type_name(value->type), number);
        return from_file(gguf, status, err);
    }
    *dst = (uint64_t)number;
    return KF_OK;
}

kf_status kfi_gguf_f64(double *dst, const kfi_gguf *gguf, const char *key, kf_error *err)
{
    const kfi_gguf_value *value = NULL;
    KFI_TRY(find(&value, gguf, key, err));
    if (!is_integer(value->type) && value->type != KFI_GGUF_F32 && value->type != KFI_GGUF_F64) {
        return fail_type(gguf, value, "a number", err);
    }
    *dst = kfi_gguf_element_f64(value, 0);
    return KF_OK;
}

kf_status kfi_gguf_bool(bool *dst, const kfi_gguf *gguf, const char *key, kf_error *err)
{
    const kfi_gguf_value *value = NULL;
    KFI_TRY(find(&value, gguf, key, err));
    if (value->type != KFI_GGUF_BOOL) {
        return fail_type(gguf, value, "a bool", err);
    }
    *dst = value->data[0] != 0;
    return KF_OK;
}

kf_status kfi_gguf_text(kfi_text *dst, const kfi_gguf *gguf, const char *key, kf_error *err)
{
    const kfi_gguf_value *value = NULL;
    KFI_TRY(find(&value, gguf, key, err));
    if (value->type != KFI_GGUF_STRING) {
        return fail_type(gguf, value, "a string", err);
    }
    /* The length was checked when the file was opened; the bytes follow it. */
    *dst = (kfi_text){(const char *)value->data + 8, (size_t)kfi_load_u64(value->data)};
    return KF_OK;
}
