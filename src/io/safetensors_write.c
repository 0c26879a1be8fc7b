/* safetensors_write.c - a writer of safetensors files.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/bytes.h"
#include "io/safetensors_reader.h"

#define DATA_ALIGNMENT 64u

static kf_status check_entry(const kfi_safetensors_entry *entry, kf_error *err)
{
    const kfi_dtype_info *info = kfi_dtype_get(entry->dtype);
    size_t bytes = info->block_bytes;
    bool fits = info->block == 1 && entry->n_dims <= KFI_TENSOR_MAX_DIMS;
    for (uint32_t i = 0; fits && i < entry->n_dims; i++) {
        fits = kfi_mul_size(bytes, entry->shape[i], &bytes);
    }
    if (!fits || bytes != entry->bytes) {
        return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                        "tensor '%s': %zu bytes of %s do not make its shape",
                        kfi_string_show(entry->name).text, entry->bytes, info->name);
    }
    return KF_OK;
}

static void put_entry(kfi_json_writer *writer, const kfi_safetensors_entry *entry, uint64_t begin)
{
    kfi_json_key(writer, entry->name);
    kfi_json_begin_object(writer);
    kfi_json_member_text(writer, "dtype", kfi_dtype_get(entry->dtype)->name);
    kfi_json_key(writer, "shape");
    kfi_json_begin_array(writer);
    for (uint32_t i = 0; i < entry->n_dims; i++) {
        kfi_json_put_integer(writer, (int64_t)entry->shape[i]);
    }
    kfi_json_end_array(writer);
    kfi_json_key(writer, "data_offsets");
    kfi_json_begin_array(writer);
    kfi_json_put_integer(writer, (int64_t)begin);
    kfi_json_put_integer(writer, (int64_t)(begin + entry->bytes));
    kfi_json_end_array(writer);
    kfi_json_end_object(writer);
}

static void put_metadata(kfi_json_writer *writer, const char *const *metadata, size_t n)
{
    if (n == 0) {
        return;
    }
    kfi_json_key(writer, "__metadata__");
    kfi_json_begin_object(writer);
    for (size_t i = 0; i < n; i++) {
        kfi_json_member_text(writer, metadata[2 * i], metadata[2 * i + 1]);
    }
    kfi_json_end_object(writer);
}

/* Eight bytes of length, the header, and spaces up to the alignment of the data. */
static kf_status make_header(kfi_buf *buf, const kfi_safetensors_entry *entries, size_t n,
                             const char *const *metadata, size_t n_metadata, kf_error *err)
{
    uint8_t length[8] = {0};
    kfi_json_writer writer;
    (void)kfi_buf_append(buf, length, sizeof length);
    kfi_json_writer_init(&writer, buf, 0);
    kfi_json_begin_object(&writer);
    put_metadata(&writer, metadata, n_metadata);
    uint64_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        KFI_TRY(check_entry(&entries[i], err));
        put_entry(&writer, &entries[i], begin);
        begin += entries[i].bytes;
    }
    kfi_json_end_object(&writer);
    while (!buf->failed && buf->n % DATA_ALIGNMENT != 0) {
        (void)kfi_buf_append_byte(buf, ' ');
    }
    if (buf->failed) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the header of %zu tensors", n);
    }
    kfi_store_u64((uint8_t *)buf->data, buf->n - sizeof length);
    return KF_OK;
}

kf_status kfi_safetensors_write(const char *path, const kfi_safetensors_entry *entries, size_t n,
                                const char *const *metadata, size_t n_metadata,
                                const kf_allocator *alloc, kf_error *err)
{
    kfi_buf header;
    kfi_file_writer file;
    kfi_buf_init(&header, alloc, KFI_SAFETENSORS_MAX_HEADER);
    kf_status status = make_header(&header, entries, n, metadata, n_metadata, err);
    if (status != KF_OK) {
        goto done;
    }
    status = kfi_file_writer_open(&file, path, alloc, err);
    if (status != KF_OK) {
        goto done;
    }
    status = kfi_file_writer_write(&file, header.data, header.n, err);
    for (size_t i = 0; status == KF_OK && i < n; i++) {
        status = kfi_file_writer_write(&file, entries[i].data, entries[i].bytes, err);
    }
    if (status == KF_OK) {
        status = kfi_file_writer_commit(&file, err);
    } else {
        kfi_file_writer_abort(&file);
    }
done:
    kfi_buf_deinit(&header);
    return status;
}
