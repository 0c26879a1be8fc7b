/* gguf_metadata.c - the key-value part of a GGUF file: reading it, and typed access.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "io/bytes.h"
#include "io/gguf_reader.h"

/* The smallest pair: a key of one byte, its length, a type and a value of one byte. */
#define MIN_PAIR_BYTES 14u

typedef struct type_info {
    const char *name;
    size_t bytes; /* 0: no fixed size */
} type_info;

static const type_info types[] = {
    [KFI_GGUF_U8] = {"u8", 1},         [KFI_GGUF_I8] = {"i8", 1},
    [KFI_GGUF_U16] = {"u16", 2},       [KFI_GGUF_I16] = {"i16", 2},
    [KFI_GGUF_U32] = {"u32", 4},       [KFI_GGUF_I32] = {"i32", 4},
    [KFI_GGUF_F32] = {"f32", 4},       [KFI_GGUF_BOOL] = {"bool", 1},
    [KFI_GGUF_STRING] = {"string", 0}, [KFI_GGUF_ARRAY] = {"array", 0},
    [KFI_GGUF_U64] = {"u64", 8},       [KFI_GGUF_I64] = {"i64", 8},
    [KFI_GGUF_F64] = {"f64", 8},
};

#define N_TYPES (sizeof types / sizeof *types)

const char *kfi_gguf_type_name(uint32_t type)
{
    return type < N_TYPES ? types[type].name : "unknown";
}

static kf_status read_type(kfi_gguf_type *dst, kfi_gguf_cursor *cursor, const char *what,
                           kf_error *err)
{
    uint32_t type = 0;
    KFI_TRY(kfi_gguf_read_u32(&type, cursor, what, err));
    if (type >= N_TYPES) {
        return kfi_fail(err, KF_FORMAT, cursor->at - 4, "%s: value type %" PRIu32 " does not exist",
                        what, type);
    }
    *dst = (kfi_gguf_type)type;
    return KF_OK;
}

/* Steps over n numbers of a fixed size. */
static kf_status skip_numbers(const kfi_gguf_value *value, kfi_gguf_cursor *cursor,
                              kfi_gguf_type type, const char *what, kf_error *err)
{
    const size_t left = cursor->n - cursor->at;
    if (value->n > left / types[type].bytes) {
        return kfi_fail(err, KF_FORMAT, cursor->at,
                        "%s: %" PRIu64 " values of type %s need more than the %zu bytes left", what,
                        value->n, types[type].name, left);
    }
    cursor->at += (size_t)value->n * types[type].bytes;
    return KF_OK;
}

static kf_status read_texts(kfi_gguf *gguf, kfi_gguf_value *value, kfi_gguf_cursor *cursor,
                            const char *what, kf_error *err)
{
    const size_t left = cursor->n - cursor->at;
    if (value->n > left / 8) {
        return kfi_fail(err, KF_FORMAT, cursor->at,
                        "%s: %" PRIu64 " strings need more than the %zu bytes left", what, value->n,
                        left);
    }
    kfi_text *texts =
        kfi_arena_alloc(&gguf->arena, _Alignof(kfi_text), (size_t)value->n * sizeof *texts);
    if (texts == NULL) {
        return kfi_fail(err, KF_NOMEM, cursor->at, "%s: no memory for %" PRIu64 " strings", what,
                        value->n);
    }
    value->texts = texts;
    for (uint64_t i = 0; i < value->n; i++) {
        KFI_TRY(kfi_gguf_read_text(&texts[i], cursor, KFI_GGUF_MAX_STRING, what, err));
    }
    return KF_OK;
}

static kf_status read_array(kfi_gguf *gguf, kfi_gguf_value *value, kfi_gguf_cursor *cursor,
                            const char *what, kf_error *err)
{
    KFI_TRY(read_type(&value->element, cursor, what, err));
    if (value->element == KFI_GGUF_ARRAY) {
        return kfi_fail(err, KF_UNSUPPORTED, cursor->at - 4, "%s: an array of arrays", what);
    }
    KFI_TRY(kfi_gguf_read_u64(&value->n, cursor, what, err));
    if (value->n > KFI_GGUF_MAX_ARRAY) {
        return kfi_fail(err, KF_FORMAT, cursor->at - 8,
                        "%s: an array of %" PRIu64 " elements, at most %" PRIu64 " are allowed",
                        what, value->n, KFI_GGUF_MAX_ARRAY);
    }
    value->offset = cursor->at;
    value->data = cursor->data + cursor->at;
    if (value->element == KFI_GGUF_STRING) {
        return read_texts(gguf, value, cursor, what, err);
    }
    return skip_numbers(value, cursor, value->element, what, err);
}

static kf_status read_value(kfi_gguf *gguf, kfi_gguf_value *value, kfi_gguf_cursor *cursor,
                            kf_error *err)
{
    char what[112];
    (void)snprintf(what, sizeof what, "metadata key '%s'", kfi_text_show(value->key).text);
    KFI_TRY(read_type(&value->type, cursor, what, err));
    value->element = value->type;
    value->n = 1;
    value->offset = cursor->at;
    value->data = cursor->data + cursor->at;
    if (value->type == KFI_GGUF_ARRAY) {
        return read_array(gguf, value, cursor, what, err);
    }
    if (value->type == KFI_GGUF_STRING) {
        kfi_text text = {NULL, 0};
        return kfi_gguf_read_text(&text, cursor, KFI_GGUF_MAX_STRING, what, err);
    }
    return skip_numbers(value, cursor, value->type, what, err);
}

static kfi_text value_key(const void *items, size_t i)
{
    return ((const kfi_gguf_value *)items)[i].key;
}

/* One pair: key, type, value; the key must be new. */
static kf_status read_pair(kfi_gguf *gguf, kfi_names *names, size_t i, uint64_t n_kv,
                           kfi_gguf_cursor *cursor, kf_error *err)
{
    char what[64];
    (void)snprintf(what, sizeof what, "metadata key %zu of %" PRIu64, i + 1, n_kv);
    const size_t begin = cursor->at;
    kfi_gguf_value *value = &gguf->values[i];
    KFI_TRY(kfi_gguf_read_text(&value->key, cursor, KFI_GGUF_MAX_KEY, what, err));
    if (value->key.n == 0) {
        return kfi_fail(err, KF_FORMAT, begin, "%s: its name is empty", what);
    }
    const kfi_names_result result = kfi_names_add(names, i);
    if (result != KFI_NAMES_ADDED) {
        return kfi_fail(
            err, KF_FORMAT, begin, "metadata key '%s': %s", kfi_text_show(value->key).text,
            result == KFI_NAMES_DUPLICATE ? "it occurs twice" : "too many keys with equal hashes");
    }
    return read_value(gguf, value, cursor, err);
}

kf_status kfi_gguf_read_metadata(kfi_gguf *gguf, kfi_gguf_cursor *cursor, uint64_t n_kv,
                                 kf_error *err)
{
    const size_t left = cursor->n - cursor->at;
    if (n_kv > left / MIN_PAIR_BYTES) {
        return kfi_fail(err, KF_FORMAT, 16,
                        "%" PRIu64 " metadata keys declared, but only %zu bytes are left", n_kv,
                        left);
    }
    const size_t n = (size_t)n_kv;
    gguf->n_slots = kfi_names_slots(n);
    gguf->values =
        kfi_arena_alloc(&gguf->arena, _Alignof(kfi_gguf_value), n * sizeof *gguf->values);
    gguf->slots =
        kfi_arena_alloc(&gguf->arena, _Alignof(uint32_t), gguf->n_slots * sizeof *gguf->slots);
    if (gguf->values == NULL || gguf->slots == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for %zu metadata keys", n);
    }
    memset(gguf->values, 0, n * sizeof *gguf->values);
    memset(gguf->slots, 0, gguf->n_slots * sizeof *gguf->slots);
    gguf->n_values = n;
    kfi_names names = {gguf->values, value_key, gguf->slots, gguf->n_slots};
    for (size_t i = 0; i < n; i++) {
        KFI_TRY(read_pair(gguf, &names, i, n_kv, cursor, err));
    }
    return KF_OK;
}

size_t kfi_gguf_count(const kfi_gguf *gguf)
{
    return gguf->n_values;
}

const kfi_gguf_value *kfi_gguf_at(const kfi_gguf *gguf, size_t i)
{
    return &gguf->values[i];
}

const kfi_gguf_value *kfi_gguf_find(const kfi_gguf *gguf, const char *key)
{
    const kfi_names names = {gguf->values, value_key, gguf->slots, gguf->n_slots};
    const size_t i = kfi_names_find(&names, (kfi_text){key, strlen(key)});
    return i == SIZE_MAX ? NULL : &gguf->values[i];
}
