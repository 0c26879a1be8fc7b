/* seeds.c - writes the seeds of the readers' corpora; run by hand when a builder changes.
 *
 *     seeds tests/fuzz/corpus
 *
 * Files found by a fuzzer are added beside them by hand and are not overwritten.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "build_llama2c.h"
#include "build_safetensors.h"
#include "build_tokenizer.h"
#include "build_zip.h"
#include "seeds.h"

static bool all_written = true;

void write_seed(const char *directory, const char *name, kfi_buf *buf)
{
    char path[4096];
    kf_error err = {0};
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    kf_status status = kfi_file_make_directories(path, &err);
    *slash = '/';
    if (status == KF_OK) {
        status = kfi_file_write(path, buf->data, buf->n, &err);
    }
    if (status != KF_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        all_written = false;
    }
    kfi_buf_deinit(buf);
}

/* One tensor of each type that GGUF has, two blocks each. */
static void build_all_types(kfi_buf *buf)
{
    uint64_t offset = 0;
    uint64_t n = 0;
    for (uint32_t id = 0; id < 40; id++) {
        kfi_dtype dtype;
        n += kfi_dtype_from_ggml(&dtype, id);
    }
    gguf_begin(buf, 2, n, 1);
    gguf_key_text(buf, "general.architecture", "llama");
    for (uint32_t id = 0; id < 40; id++) {
        kfi_dtype dtype;
        if (kfi_dtype_from_ggml(&dtype, id)) {
            const kfi_dtype_info *info = kfi_dtype_get(dtype);
            gguf_tensor(buf, info->name, 2, info->block, id, offset);
            offset = (offset + 2 * info->block_bytes + 31) / 32 * 32;
        }
    }
    put_padding(buf, 32);
    put_data(buf, (size_t)offset);
}

static void build_text(kfi_buf *buf, const char *text)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    put_bytes(buf, text, strlen(text));
}

static void build_vocabulary(kfi_buf *buf)
{
    kfi_buf_init(buf, NULL, BUILD_MAX);
    put_u32(buf, 2); /* read as three tokens by the target */
    for (unsigned i = 0; i < 3; i++) {
        put_f32(buf, -(float)i);
        put_u32(buf, i);
        put_bytes(buf, "ab", i);
    }
}

static void build_tokenizers(const char *directory)
{
    static const char *const pieces[] = {("\xE2\x96\x81"
                                          "a"),
                                         "ab", "\xE2\x96\x81", "a", "b"};
    kfi_buf buf;
    tokenizer_spec spec = small_spec();
    spec.pre = "qwen2";
    spec.chat = "<|im_start|>{% for m in messages %}{{ m.content | trim }}{% endfor %}";
    build_tokenizer_gguf(&buf, &spec);
    write_seed(directory, "tokenizer_gguf/bytes", &buf);
    build_spm_gguf(&buf, pieces, 5, KFI_GGUF_F32);
    write_seed(directory, "tokenizer_gguf/pieces", &buf);
}

int main(int argc, char **argv)
{
    kfi_buf buf;
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    build_sample_gguf(&buf);
    write_seed(argv[1], "gguf/sample", &buf);
    build_all_types(&buf);
    write_seed(argv[1], "gguf/types", &buf);
    gguf_begin(&buf, 3, 0, 0);
    write_seed(argv[1], "gguf/empty", &buf);
    build_sample_safetensors(&buf);
    write_seed(argv[1], "safetensors/sample", &buf);
    build_safetensors(&buf, "{}", 0);
    write_seed(argv[1], "safetensors/empty", &buf);
    build_sample_llama2c(&buf, true);
    write_seed(argv[1], "llama2c/shared", &buf);
    build_sample_llama2c(&buf, false);
    write_seed(argv[1], "llama2c/own", &buf);
    build_vocabulary(&buf);
    write_seed(argv[1], "llama2c/vocabulary", &buf);
    build_text(&buf, SAMPLE_SAFETENSORS);
    write_seed(argv[1], "json/header", &buf);
    build_text(&buf,
               "[0, -1, 1.5e-3, 9223372036854775807, true, false, null, \"\\u00e9\\ud83d\\ude00"
               "\\\"\\\\\\/\\b\\f\\n\\r\\t\", {\"a\": [[], {}]}, \"\xC3\xA9\xE2\x82\xAC\"]");
    write_seed(argv[1], "json/values", &buf);
    build_tokenizers(argv[1]);
    build_sample_zip(&buf);
    write_seed(argv[1], "zip/sample", &buf);
    write_model_seeds(argv[1]);
    return all_written ? 0 : 1;
}
