/* reference.c - a file of a reference model's final hidden states.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "eval/reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "io/json.h"

#define HEADER_MAX ((size_t)4096)

static void put_count(kfi_json_writer *json, const char *key, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    kfi_json_member_text(json, key, text);
}

static void put_counts(kfi_json_writer *json, const char *key, const uint64_t *values, size_t n)
{
    kfi_json_key(json, key);
    kfi_json_begin_array(json);
    for (size_t i = 0; i < n; i++) {
        kfi_json_put_integer(json, (int64_t)values[i]);
    }
    kfi_json_end_array(json);
}

/* The file's header: all sizes are known before the first state is. */
static void put_header(kfi_json_writer *json, const kfi_reference_key *key)
{
    const uint64_t shape[] = {key->windows, key->window - 1, key->hidden};
    const uint64_t offsets[] = {0, shape[0] * shape[1] * shape[2] * sizeof(float)};
    kfi_json_begin_object(json);
    kfi_json_key(json, "__metadata__");
    kfi_json_begin_object(json);
    kfi_json_member_text(json, "kind", "kerf reference hidden states");
    kfi_json_member_text(json, "model", key->model);
    kfi_json_member_text(json, "activations", key->activations);
    kfi_json_member_text(json, "kv", key->kv);
    kfi_json_member_text(json, "text", key->text);
    kfi_json_member_text(json, "front", key->front);
    put_count(json, "prefix", key->n_prefix);
    put_count(json, "window", key->window);
    kfi_json_end_object(json);
    kfi_json_key(json, "hidden");
    kfi_json_begin_object(json);
    kfi_json_member_text(json, "dtype", "F32");
    put_counts(json, "shape", shape, 3);
    put_counts(json, "data_offsets", offsets, 2);
    kfi_json_end_object(json);
    kfi_json_end_object(json);
}

kf_status kfi_reference_create(kfi_reference_writer *writer, const char *path,
                               const kfi_reference_key *key, const kf_allocator *alloc,
                               kf_error *err)
{
    kfi_buf header;
    kfi_json_writer json;
    kf_status st = KF_OK;
    *writer = (kfi_reference_writer){.key = *key, .file = {.fd = -1}};
    kfi_buf_init(&header, alloc, HEADER_MAX);
    kfi_json_writer_init(&json, &header, 0);
    put_header(&json, key);
    while (!header.failed && (header.n + 8) % 64 != 0) {
        (void)kfi_buf_append_byte(&header, ' ');
    }
    if (header.failed) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "header of '%s'", path);
        goto done;
    }
    uint8_t length[8];
    for (size_t i = 0; i < sizeof length; i++) {
        length[i] = (uint8_t)((uint64_t)header.n >> 8 * i);
    }
    st = kfi_file_writer_open(&writer->file, path, alloc, err);
    if (st == KF_OK) {
        st = kfi_file_writer_write(&writer->file, length, sizeof length, err);
    }
    if (st == KF_OK) {
        st = kfi_file_writer_write(&writer->file, header.data, header.n, err);
    }
    if (st != KF_OK) {
        kfi_file_writer_abort(&writer->file); /* fine where it was not opened */
    }
done:
    kfi_buf_deinit(&header);
    return st;
}

kf_status kfi_reference_append(kfi_reference_writer *writer, const float *hidden, size_t n,
                               kf_error *err)
{
    return kfi_file_writer_write(&writer->file, hidden, n * writer->key.hidden * sizeof *hidden,
                                 err);
}

kf_status kfi_reference_commit(kfi_reference_writer *writer, kf_error *err)
{
    return kfi_file_writer_commit(&writer->file, err);
}

void kfi_reference_abort(kfi_reference_writer *writer)
{
    kfi_file_writer_abort(&writer->file);
}

/* Compares one metadata entry; KF_FORMAT names what differs. */
static kf_status check_text(const kfi_safetensors *file, const char *path, const char *key,
                            const char *expected, const char *meaning, kf_error *err)
{
    const char *found = kfi_safetensors_metadata(file, 0, key);
    if (found == NULL || strcmp(found, expected) != 0) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "'%s' was saved with another %s; save it again with --save-reference", path,
                        meaning);
    }
    return KF_OK;
}

static kf_status check_count(const kfi_safetensors *file, const char *path, const char *key,
                             uint64_t expected, const char *meaning, kf_error *err)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, expected);
    return check_text(file, path, key, text, meaning, err);
}

/* Files of before there was a choice do not tell: float32. */
static kf_status check_kv(const kfi_safetensors *file, const char *path, const char *expected,
                          kf_error *err)
{
    const bool told = kfi_safetensors_metadata(file, 0, "kv") != NULL;
    return !told && strcmp(expected, "f32") == 0
               ? KF_OK
               : check_text(file, path, "kv", expected, "KV cache", err);
}

static kf_status check_key(kfi_reference *r, const char *path, const kfi_reference_key *key,
                           kf_error *err)
{
    KFI_TRY(check_text(r->file, path, "kind", "kerf reference hidden states", "program", err));
    KFI_TRY(check_text(r->file, path, "model", key->model, "reference model", err));
    KFI_TRY(check_text(r->file, path, "activations", key->activations, "activation format", err));
    KFI_TRY(check_kv(r->file, path, key->kv, err));
    KFI_TRY(check_count(r->file, path, "window", key->window, "window", err));
    KFI_TRY(check_text(r->file, path, "front", key->front, "start", err));
    KFI_TRY(check_count(r->file, path, "prefix", key->n_prefix, "prefix", err));
    KFI_TRY(check_text(r->file, path, "text", key->text, "text or number of windows", err));
    r->hidden = kfi_tensor_find(kfi_safetensors_tensors(r->file), "hidden");
    if (r->hidden == NULL || r->hidden->dtype != KFI_DTYPE_F32 || r->hidden->n_dims != 3 ||
        r->hidden->shape[0] != key->windows || r->hidden->shape[1] != key->window - 1 ||
        r->hidden->shape[2] != key->hidden) {
        return kfi_fail(err, KF_FORMAT, 8, "'%s': tensor 'hidden' is missing or has another shape",
                        path);
    }
    return KF_OK;
}

kf_status kfi_reference_open(kfi_reference *reference, const char *path,
                             const kfi_reference_key *key, const kf_allocator *alloc, kf_error *err)
{
    *reference = (kfi_reference){.key = *key};
    KFI_TRY(kfi_safetensors_open(&reference->file, path, alloc, err));
    return check_key(reference, path, key, err);
}

kf_status kfi_reference_read(const kfi_reference *reference, float *dst, size_t i_window,
                             size_t begin, size_t n, kf_error *err)
{
    const kfi_reference_key *key = &reference->key;
    const size_t first = (i_window * (key->window - 1) + begin) * key->hidden;
    return kfi_tensor_decode(dst, reference->hidden, first, n * key->hidden, err);
}

void kfi_reference_close(kfi_reference *reference)
{
    kfi_safetensors_close(reference->file);
    reference->file = NULL;
}
