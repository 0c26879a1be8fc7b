/* seeds_model.c - seeds of what holds weights: packed tensors, whole models, reference files.
 *
 * The smallest models there are, so that a mutation is likely to hit what matters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "build_safetensors.h"
#include "bundle.h"
#include "fixtures.h"
#include "model/checkpoint_names.h"
#include "random_packed.h"
#include "reference_key.h"
#include "seeds.h"
#include "tiny_kerf.h"

static void must(kf_status st, const kf_error *err)
{
    if (st != KF_OK) {
        (void)fprintf(stderr, "%s\n", err->msg);
        abort();
    }
}

/* ---- packed tensors ---- */

/* Rows and columns both end in padding. */
static void write_packed(const char *directory)
{
    static const char *const formats[] = {"int2g32a",   "int3g32o",    "int4g64",  "int5rowo",
                                          "mxint4g32",  "int8g32",     "int3g64r", "int4g32ar",
                                          "ternaryg64", "ternaryg32r", "nf4g64",   "fp4e2m1row",
                                          "cb4g32",     "cb8g128",     "cb16g64",  "fp6e3m2g32"};
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        kfi_buf buf;
        char name[64];
        (void)snprintf(name, sizeof name, "packed/%s", formats[i]);
        random_packed m = random_packed_make(formats[i], 3, 70, false, &rng);
        kfi_buf_init(&buf, NULL, BUILD_MAX);
        put_bytes(&buf, m.bytes, m.n_bytes);
        random_packed_free(&m);
        write_seed(directory, name, &buf);
    }
}

/* ---- models ---- */

static tiny_options small_options(const char *architecture, tiny_container container)
{
    tiny_options options = tiny_options_of(architecture);
    options.container = container;
    options.config.n_layers = 1;
    options.config.hidden = 8;
    options.config.feed_forward = 12;
    options.config.n_heads = 2;
    options.config.n_kv_heads = 1;
    options.config.head_dim = 4;
    options.config.vocabulary = 5;
    options.config.context = 8;
    return options;
}

typedef struct adding {
    const char *directory;
    kfi_buf *bundle;
} adding;

/* Every file but a tokenizer's. */
static kf_status add_file(void *ctx, const char *name, kf_error *err)
{
    const adding *a = ctx;
    char path[1024];
    kfi_buf content;
    if (strncmp(name, "tokenizer", 9) == 0) {
        return KF_OK;
    }
    (void)snprintf(path, sizeof path, "%s/%s", a->directory, name);
    kfi_buf_init(&content, NULL, BUILD_MAX);
    const kf_status st = kfi_file_read(&content, path, err);
    bundle_add(a->bundle, name, content.data, content.n);
    kfi_buf_deinit(&content);
    return st;
}

/* Bundles a model, which is a directory or one file, and frees it. */
static void write_model(const char *directory, const char *seed, tiny_model *model,
                        const char *file_name)
{
    kfi_buf bundle;
    kfi_buf content;
    kf_error err = {0};
    kfi_buf_init(&bundle, NULL, BUILD_MAX);
    if (file_name == NULL) {
        adding a = {model->path, &bundle};
        must(kfi_file_list(model->path, add_file, &a, &err), &err);
    } else {
        kfi_buf_init(&content, NULL, BUILD_MAX);
        must(kfi_file_read(&content, model->path, &err), &err);
        bundle_add(&bundle, file_name, content.data, content.n);
        kfi_buf_deinit(&content);
    }
    tiny_model_free(model);
    write_seed(directory, seed, &bundle);
}

static void write_kerf(const char *directory, const char *scratch, const char *seed,
                       const char *architecture, const tiny_kerf_options *kerf)
{
    const tiny_options options = small_options(architecture, TINY_GGUF);
    tiny_model *model = tiny_model_new(scratch, &options);
    (void)snprintf(model->path, sizeof model->path, "%s/%s", scratch, architecture);
    tiny_kerf_write(model->path, model, kerf);
    tiny_kerf_write_sums(model->path);
    write_model(directory, seed, model, NULL);
}

static void write_kerfs(const char *directory, const char *scratch)
{
    static const uint32_t ids[] = {1, 2};
    static const float rows[] = {0.5f, -0.25f, 1.0f, 2.0f, -1.0f, 0.125f, 3.0f, -0.5f};
    tiny_kerf_options kerf = tiny_kerf_defaults();
    kerf.more = ",\"kv\":\"q4\""
                ",\"activation_overrides\":{\"model.layers.0.mlp.down_proj.weight\":\"float\"}";
    kerf.n_prefix = 2;
    kerf.prefix_ids = ids;
    kerf.prefix_keys = rows;
    kerf.prefix_values = rows;
    write_kerf(directory, scratch, "checkpoint/kerf", "llama", &kerf);
    kerf = tiny_kerf_defaults();
    kerf.version = KFI_CHECKPOINT_VERSION_SIDE;
    kerf.rank = 3;
    kerf.n_outliers = 2;
    write_kerf(directory, scratch, "checkpoint/kerf_side", "llama", &kerf);
    kerf = tiny_kerf_defaults();
    kerf.version = KFI_CHECKPOINT_VERSION_INPUTS;
    kerf.n_outliers = 2;
    kerf.maps = kerf.rotated = true;
    write_kerf(directory, scratch, "checkpoint/kerf_maps", "llama", &kerf);
    kerf = tiny_kerf_defaults();
    kerf.version = KFI_CHECKPOINT_VERSION_SPARSE;
    kerf.rank = 3;
    kerf.sparse = true;
    write_kerf(directory, scratch, "checkpoint/kerf_sparse", "llama", &kerf);
    kerf = tiny_kerf_defaults();
    kerf.format = "mxint3g32";
    kerf.head = NULL;
    kerf.activations = "int4tg64ac90";
    write_kerf(directory, scratch, "checkpoint/kerf_qwen2", "qwen2", &kerf);
}

static void write_others(const char *directory, const char *scratch)
{
    tiny_options options = small_options("llama", TINY_GGUF);
    options.dtype = KFI_DTYPE_Q8_0;
    options.config.hidden = 32; /* a block of Q8_0 */
    options.config.feed_forward = 32;
    options.config.head_dim = 16;
    write_model(directory, "checkpoint/gguf", tiny_model_new(scratch, &options), "model.gguf");
    options = small_options("llama", TINY_LLAMA2C);
    write_model(directory, "checkpoint/llama2c", tiny_model_new(scratch, &options), "model.bin");
    options = small_options("qwen2", TINY_SHARDED);
    options.dtype = KFI_DTYPE_BF16;
    write_model(directory, "checkpoint/shards", tiny_model_new(scratch, &options), NULL);
}

/* ---- llama2.c's tokenizer, which goes by the model beside it ---- */

#define N_TOKENS 260u

/* Three special tokens, the bytes, and one piece. */
static void add_vocabulary(kfi_buf *bundle)
{
    kfi_buf file;
    kfi_buf_init(&file, NULL, BUILD_MAX);
    put_u32(&file, 6);
    for (unsigned i = 0; i < N_TOKENS; i++) {
        char text[8] = " b";
        if (i + 1 < N_TOKENS) {
            (void)snprintf(text, sizeof text, "<0x%02X>", i < 3 ? 0 : i - 3);
        }
        put_f32(&file, -(float)i);
        put_u32(&file, (uint32_t)strlen(text));
        put_bytes(&file, text, strlen(text));
    }
    bundle_add(bundle, "tokenizer.bin", file.data, file.n);
    kfi_buf_deinit(&file);
}

static void write_llama2c_tokenizer(const char *directory, const char *scratch)
{
    kfi_buf bundle;
    kfi_buf model;
    kf_error err = {0};
    tiny_options options = small_options("llama", TINY_LLAMA2C);
    options.config.vocabulary = N_TOKENS;
    options.config.hidden = 2;
    options.config.n_heads = 1;
    options.config.head_dim = 2;
    tiny_model *tiny = tiny_model_new(scratch, &options);
    kfi_buf_init(&bundle, NULL, BUILD_MAX);
    kfi_buf_init(&model, NULL, BUILD_MAX);
    must(kfi_file_read(&model, tiny->path, &err), &err);
    bundle_add(&bundle, "model.bin", model.data, model.n);
    add_vocabulary(&bundle);
    kfi_buf_deinit(&model);
    tiny_model_free(tiny);
    write_seed(directory, "tokenizer_files/llama2c", &bundle);
}

/* ---- shards ---- */

#define INDEX_TEXT                                                                                 \
    "{\"metadata\": {\"total_size\": 29}, \"weight_map\": {\"a\": \"1.safetensors\", "             \
    "\"b\": \"1.safetensors\", \"empty\": \"1.safetensors\", \"scalar\": \"1.safetensors\", "      \
    "\"c\": \"2.safetensors\"}}"

static void write_shards(const char *directory)
{
    kfi_buf bundle;
    kfi_buf file;
    kfi_buf_init(&bundle, NULL, BUILD_MAX);
    bundle_add(&bundle, "model.safetensors.index.json", INDEX_TEXT, strlen(INDEX_TEXT));
    build_sample_safetensors(&file);
    bundle_add(&bundle, "1.safetensors", file.data, file.n);
    kfi_buf_deinit(&file);
    build_safetensors(
        &file, "{\"c\": {\"dtype\": \"BF16\", \"shape\": [2, 2], \"data_offsets\": [0, 8]}}", 8);
    bundle_add(&bundle, "2.safetensors", file.data, file.n);
    kfi_buf_deinit(&file);
    write_seed(directory, "shards/two", &bundle);
    kfi_buf_init(&bundle, NULL, BUILD_MAX);
    build_sample_safetensors(&file);
    bundle_add(&bundle, "model.safetensors", file.data, file.n);
    kfi_buf_deinit(&file);
    write_seed(directory, "shards/single", &bundle);
}

/* ---- reference ---- */

static void write_reference(const char *directory, const char *scratch)
{
    char path[1024];
    float hidden[2 * 2 * 4];
    kfi_buf buf;
    kf_error err = {0};
    kfi_reference_writer writer;
    const kfi_reference_key key = reference_key();
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        hidden[i] = (float)i;
    }
    (void)snprintf(path, sizeof path, "%s/reference", scratch);
    must(kfi_reference_create(&writer, path, &key, NULL, &err), &err);
    must(kfi_reference_append(&writer, hidden, 4, &err), &err);
    must(kfi_reference_commit(&writer, &err), &err);
    kfi_buf_init(&buf, NULL, BUILD_MAX);
    must(kfi_file_read(&buf, path, &err), &err);
    write_seed(directory, "reference/saved", &buf);
}

void write_model_seeds(const char *directory)
{
    char *scratch = fixture_directory_new();
    write_packed(directory);
    write_kerfs(directory, scratch);
    write_others(directory, scratch);
    write_llama2c_tokenizer(directory, scratch);
    write_shards(directory);
    write_reference(directory, scratch);
    fixture_directory_free(scratch);
}
