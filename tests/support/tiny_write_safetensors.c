/* tiny_write_safetensors.c - a tiny model as a directory of Hugging Face's shape.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/config.h"
#include "tiny_write.h"

#define FILE_MAX    ((size_t)64 << 20)
#define MAX_TENSORS 256u

static void write_text(const tiny_model *model, const char *name, kfi_buf *buf)
{
    kf_error err = {0};
    char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", model->path, name);
    tiny_check(!buf->failed && kfi_file_write(path, buf->data, buf->n, &err) == KF_OK, path);
    kfi_buf_deinit(buf);
}

static void write_config(const tiny_model *model)
{
    kfi_buf buf;
    kfi_json_writer w;
    kfi_buf_init(&buf, NULL, FILE_MAX);
    kfi_json_writer_init(&w, &buf, 2);
    kfi_json_begin_object(&w);
    kfi_config_write_json(&w, &model->config);
    kfi_json_key(&w, "eos_token_id");
    kfi_json_put_integer(&w, TINY_END);
    kfi_json_end_object(&w);
    write_text(model, "config.json", &buf);
}

static void write_tokenizer(const tiny_model *model)
{
    kfi_buf buf;
    kfi_json_writer w;
    kfi_buf_init(&buf, NULL, FILE_MAX);
    (void)kfi_buf_append_text(
        &buf, "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":95,\"content\":\"<|endoftext|>\","
              "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
              "\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
              "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
              "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":"
              "true,\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\","
              "\"merges\":[],\"vocab\":");
    kfi_json_writer_init(&w, &buf, 0);
    kfi_json_begin_object(&w);
    for (size_t i = 0; i < TINY_VOCABULARY; i++) {
        char text[16];
        tiny_token(text, i);
        kfi_json_key(&w, text);
        kfi_json_put_integer(&w, (int64_t)i);
    }
    kfi_json_end_object(&w);
    (void)kfi_buf_append_text(&buf, "}}\n");
    write_text(model, "tokenizer.json", &buf);
    kfi_buf_init(&buf, NULL, FILE_MAX);
    (void)kfi_buf_append_text(&buf, "{\"bos_token\":\"<|endoftext|>\",\"eos_token\":"
                                    "\"<|endoftext|>\",\"add_bos_token\":false}\n");
    write_text(model, "tokenizer_config.json", &buf);
}

/* Tensors [begin, end) of the model in one file. */
static void write_file(const tiny_model *model, kfi_dtype dtype, const char *name, size_t begin,
                       size_t end)
{
    kf_error err = {0};
    char path[600];
    kfi_safetensors_entry entries[MAX_TENSORS];
    kfi_buf data[MAX_TENSORS];
    tiny_check(end - begin <= MAX_TENSORS, "too many tensors");
    for (size_t i = begin; i < end; i++) {
        const tiny_tensor *tensor = &model->tensors[i];
        const kfi_dtype own = tensor->rows == 1 ? KFI_DTYPE_F32 : dtype;
        kfi_buf *bytes = &data[i - begin];
        kfi_buf_init(bytes, NULL, FILE_MAX);
        tiny_encode(bytes, tensor->data, tensor->rows * tensor->cols, own);
        kfi_safetensors_entry *entry = &entries[i - begin];
        *entry = (kfi_safetensors_entry){.name = tensor->name,
                                         .dtype = own,
                                         .n_dims = 2,
                                         .data = bytes->data,
                                         .bytes = bytes->n};
        entry->shape[0] = tensor->rows;
        entry->shape[1] = tensor->cols;
        if (tensor->rows == 1) {
            entry->n_dims = 1;
            entry->shape[0] = tensor->cols;
            entry->shape[1] = 1;
        }
    }
    (void)snprintf(path, sizeof path, "%s/%s", model->path, name);
    tiny_check(kfi_safetensors_write(path, entries, end - begin, NULL, 0, NULL, &err) == KF_OK,
               err.msg);
    for (size_t i = begin; i < end; i++) {
        kfi_buf_deinit(&data[i - begin]);
    }
}

static void file_name(char *text, size_t n, size_t i_file, size_t n_files)
{
    if (n_files == 1) {
        (void)snprintf(text, n, "model.safetensors");
    } else {
        (void)snprintf(text, n, "model-%05zu-of-%05zu.safetensors", i_file + 1, n_files);
    }
}

static void write_index(const tiny_model *model, size_t n_files)
{
    kfi_buf buf;
    kfi_json_writer w;
    kfi_buf_init(&buf, NULL, FILE_MAX);
    kfi_json_writer_init(&w, &buf, 2);
    kfi_json_begin_object(&w);
    kfi_json_key(&w, "weight_map");
    kfi_json_begin_object(&w);
    for (size_t i = 0; i < model->n_tensors; i++) {
        char name[64];
        file_name(name, sizeof name, i * n_files / model->n_tensors, n_files);
        kfi_json_key(&w, model->tensors[i].name);
        kfi_json_put_text(&w, name);
    }
    kfi_json_end_object(&w);
    kfi_json_end_object(&w);
    write_text(model, "model.safetensors.index.json", &buf);
}

void tiny_write_safetensors(const tiny_model *model, kfi_dtype dtype, size_t n_files)
{
    kf_error err = {0};
    tiny_check(kfi_file_make_directories(model->path, &err) == KF_OK, err.msg);
    write_config(model);
    write_tokenizer(model);
    size_t begin = 0;
    for (size_t i_file = 0; i_file < n_files; i_file++) {
        size_t end = begin;
        while (end < model->n_tensors && end * n_files / model->n_tensors == i_file) {
            end++;
        }
        char name[64];
        file_name(name, sizeof name, i_file, n_files);
        write_file(model, dtype, name, begin, end);
        begin = end;
    }
    if (n_files > 1) {
        write_index(model, n_files);
    }
}
