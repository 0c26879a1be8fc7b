/* json.h - JSON with limits, over jansson; other rooms see only this.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_JSON_H
#define KFI_IO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "kerf/error.h"

/* A value of a parsed document; all but the root are borrowed from it. */
typedef struct json_t kfi_json;

/* Parses n bytes of strict JSON (UTF-8; duplicate keys and trailing text refused). KF_FORMAT with
 * the byte offset. Nesting is bounded. */
KF_NODISCARD kf_status kfi_json_parse(kfi_json **root, const char *text, size_t n, kf_error *err);
/* Reads and parses a file of at most max bytes; the message names the file. KF_INPUT, KF_RANGE,
 * KF_FORMAT, KF_NOMEM. */
KF_NODISCARD kf_status kfi_json_read(kfi_json **root, const char *path, size_t max, kf_error *err);
/* Frees a root; NULL is fine. */
void kfi_json_free(kfi_json *root);

bool kfi_json_is_object(const kfi_json *value);
bool kfi_json_is_array(const kfi_json *value);
bool kfi_json_is_string(const kfi_json *value);
bool kfi_json_is_integer(const kfi_json *value);
bool kfi_json_is_number(const kfi_json *value);
bool kfi_json_is_bool(const kfi_json *value);
bool kfi_json_is_null(const kfi_json *value);

/* Member of an object, or NULL (also when value is NULL or no object). */
const kfi_json *kfi_json_get(const kfi_json *value, const char *key);
/* The same, of a member that is a string without NUL, else NULL. */
const char *kfi_json_get_text(const kfi_json *value, const char *key);
/* Elements of an array or members of an object, else 0. */
size_t kfi_json_size(const kfi_json *value);
const kfi_json *kfi_json_at(const kfi_json *array, size_t i);
/* Members in document order: visit(ctx, key, member); stops at the first failure. */
KF_NODISCARD kf_status kfi_json_each(const kfi_json *object,
                                     kf_status (*visit)(void *ctx, const char *key,
                                                        const kfi_json *member, kf_error *err),
                                     void *ctx, kf_error *err);
/* Contents; the caller has checked the kind. A string may hold NUL; n (may be NULL) is its length.
 */
const char *kfi_json_string(const kfi_json *value, size_t *n);
int64_t kfi_json_integer(const kfi_json *value);
double kfi_json_number(const kfi_json *value);
bool kfi_json_bool(const kfi_json *value);

/* The number under a key, or fallback where there is none. */
double kfi_json_get_number(const kfi_json *object, const char *key, double fallback);

/* A writer that appends to a buffer: commas and quoting are its work. Errors show as buf->failed.
 * indent 0 writes one line. */
typedef struct kfi_json_writer {
    kfi_buf *buf;
    int indent;
    int depth;
    bool need_comma;
    bool after_key;
} kfi_json_writer;

void kfi_json_writer_init(kfi_json_writer *writer, kfi_buf *buf, int indent);
void kfi_json_begin_object(kfi_json_writer *writer);
void kfi_json_end_object(kfi_json_writer *writer);
void kfi_json_begin_array(kfi_json_writer *writer);
void kfi_json_end_array(kfi_json_writer *writer);
void kfi_json_key(kfi_json_writer *writer, const char *key);
void kfi_json_key_n(kfi_json_writer *writer, const char *key, size_t n);
/* Invalid UTF-8 is written as U+FFFD, one for each part that kfi_utf8_decode finds. */
void kfi_json_put_string(kfi_json_writer *writer, const char *text, size_t n);
void kfi_json_put_text(kfi_json_writer *writer, const char *text);
void kfi_json_put_integer(kfi_json_writer *writer, int64_t value);
/* Shortest digits that read back equal; NaN and infinity become null. */
void kfi_json_put_number(kfi_json_writer *writer, double value);
void kfi_json_put_bool(kfi_json_writer *writer, bool value);
void kfi_json_put_null(kfi_json_writer *writer);
/* A key and its value at once. */
void kfi_json_member_text(kfi_json_writer *writer, const char *key, const char *text);
void kfi_json_member_integer(kfi_json_writer *writer, const char *key, int64_t value);
void kfi_json_member_number(kfi_json_writer *writer, const char *key, double value);
void kfi_json_member_bool(kfi_json_writer *writer, const char *key, bool value);
/* A parsed value, copied as it is (members in document order). */
void kfi_json_put_value(kfi_json_writer *writer, const kfi_json *value);

#endif /* KFI_IO_JSON_H */
