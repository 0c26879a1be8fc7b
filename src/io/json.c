/* json.c - JSON with limits, over jansson.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/json.h"

#include <jansson.h>
#include <string.h>

#include "base/fail.h"
#include "base/file.h"
#include "io/json_scan.h"

/* jansson's iterators take a mutable object though they do not change it. */
static json_t *as_mutable(const kfi_json *value)
{
    return (json_t *)(uintptr_t)value;
}

kf_status kfi_json_parse(kfi_json **root, const char *text, size_t n, kf_error *err)
{
    *root = NULL;
    KFI_TRY(kfi_json_scan(text, n, err));
    json_error_t error;
    json_t *parsed =
        json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    if (parsed != NULL) {
        *root = parsed;
        return KF_OK;
    }
    if (json_error_code(&error) == json_error_out_of_memory) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for JSON of %zu bytes", n);
    }
    return kfi_fail(err, KF_FORMAT, error.position < 0 ? 0 : (uint64_t)error.position,
                    "line %d, column %d: %s", error.line, error.column, error.text);
}

kf_status kfi_json_read(kfi_json **root, const char *path, size_t max, kf_error *err)
{
    *root = NULL;
    kfi_buf buf;
    kfi_buf_init(&buf, NULL, max);
    kf_status status = kfi_file_read(&buf, path, err);
    if (status == KF_OK) {
        status = kfi_json_parse(root, buf.data == NULL ? "" : buf.data, buf.n, err);
        if (status != KF_OK) {
            kfi_fail_prefix(err, "%s: ", path);
        }
    }
    kfi_buf_deinit(&buf);
    return status;
}

void kfi_json_free(kfi_json *root)
{
    json_decref(root);
}

bool kfi_json_is_object(const kfi_json *value)
{
    return json_is_object(value);
}

bool kfi_json_is_array(const kfi_json *value)
{
    return json_is_array(value);
}

bool kfi_json_is_string(const kfi_json *value)
{
    return json_is_string(value);
}

bool kfi_json_is_integer(const kfi_json *value)
{
    return json_is_integer(value);
}

bool kfi_json_is_number(const kfi_json *value)
{
    return json_is_number(value);
}

bool kfi_json_is_bool(const kfi_json *value)
{
    return json_is_boolean(value);
}

bool kfi_json_is_null(const kfi_json *value)
{
    return json_is_null(value);
}

const kfi_json *kfi_json_get(const kfi_json *value, const char *key)
{
    return json_object_get(value, key);
}

size_t kfi_json_size(const kfi_json *value)
{
    return json_is_object(value) ? json_object_size(value) : json_array_size(value);
}

const kfi_json *kfi_json_at(const kfi_json *array, size_t i)
{
    return json_array_get(array, i);
}

kf_status kfi_json_each(const kfi_json *object,
                        kf_status (*visit)(void *ctx, const char *key, const kfi_json *member,
                                           kf_error *err),
                        void *ctx, kf_error *err)
{
    json_t *members = as_mutable(object);
    for (void *at = json_object_iter(members); at != NULL;
         at = json_object_iter_next(members, at)) {
        KFI_TRY(visit(ctx, json_object_iter_key(at), json_object_iter_value(at), err));
    }
    return KF_OK;
}

const char *kfi_json_string(const kfi_json *value, size_t *n)
{
    if (n != NULL) {
        *n = json_string_length(value);
    }
    return json_string_value(value);
}

const char *kfi_json_get_text(const kfi_json *value, const char *key)
{
    const json_t *member = json_object_get(value, key);
    const char *text = json_string_value(member);
    return text != NULL && strlen(text) == json_string_length(member) ? text : NULL;
}

int64_t kfi_json_integer(const kfi_json *value)
{
    return json_integer_value(value);
}

double kfi_json_number(const kfi_json *value)
{
    return json_number_value(value);
}

bool kfi_json_bool(const kfi_json *value)
{
    return json_is_true(value);
}

static void put_members(kfi_json_writer *writer, json_t *object)
{
    kfi_json_begin_object(writer);
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        kfi_json_key(writer, json_object_iter_key(at));
        kfi_json_put_value(writer, json_object_iter_value(at));
    }
    kfi_json_end_object(writer);
}

static void put_elements(kfi_json_writer *writer, const json_t *array)
{
    kfi_json_begin_array(writer);
    for (size_t i = 0; i < json_array_size(array); i++) {
        kfi_json_put_value(writer, json_array_get(array, i));
    }
    kfi_json_end_array(writer);
}

/* Recursion is bounded by the depth that kfi_json_scan allows. */
void kfi_json_put_value(kfi_json_writer *writer, const kfi_json *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        put_members(writer, as_mutable(value));
        break;
    case JSON_ARRAY:
        put_elements(writer, value);
        break;
    case JSON_STRING:
        kfi_json_put_string(writer, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        kfi_json_put_integer(writer, json_integer_value(value));
        break;
    case JSON_REAL:
        kfi_json_put_number(writer, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        kfi_json_put_bool(writer, json_is_true(value));
        break;
    case JSON_NULL:
        kfi_json_put_null(writer);
        break;
    }
}

double kfi_json_get_number(const kfi_json *object, const char *key, double fallback)
{
    const kfi_json *member = kfi_json_get(object, key);
    return kfi_json_is_number(member) ? kfi_json_number(member) : fallback;
}
