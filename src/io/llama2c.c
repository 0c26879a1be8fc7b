/* llama2c.c - reader of llama2.c model files, version 0.
 *
 *   seven int32: dim hidden_dim n_layers n_heads n_kv_heads ±vocab_size context
 *   float32 tensors without names, one kind after the other, each for all layers:
 *     token_embedding (vocab, dim)
 *     rms_att (L, dim)   wq (L, dim, dim)   wk, wv (L, kv_dim, dim)   wo (L, dim, dim)
 *     rms_ffn (L, dim)   w1 (L, hidden, dim)   w2 (L, dim, hidden)   w3 (L, hidden, dim)
 *     rms_final (dim)   two tables of the rotary embedding (context, head_dim / 2), unused
 *     wcls (vocab, dim), only where vocab_size is negative
 *
 * Source: github.com/karpathy/llama2.c, export.py legacy_export and run.c memory_map_weights.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/llama2c.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "io/bytes.h"

#define HEADER_BYTES      28u
#define TENSORS_PER_LAYER 9u
#define MAX_NAME          80u
#define ARENA_MAX         ((size_t)4 << 20)

/* Ceilings that keep every product far from overflow. */
#define MAX_WIDTH  ((int32_t)1 << 20)
#define MAX_LAYERS 1024
#define MAX_VOCAB  ((int32_t)1 << 24)

struct kfi_llama2c {
    const kf_allocator *alloc;
    kfi_arena arena;
    kfi_file_map map;
    kfi_llama2c_config config;
    kfi_tensor_table table;
};

/* One number of the header, 1 … max. */
static kf_status read_field(size_t *dst, const uint8_t *header, size_t i, const char *name,
                            int32_t max, kf_error *err)
{
    const int32_t value = (int32_t)kfi_load_u32(header + 4 * i);
    if (value < 1 || value > max) {
        return kfi_fail(err, KF_FORMAT, 4 * i,
                        "not a llama2.c file: %s is %" PRId32 ", expected 1 to %" PRId32, name,
                        value, max);
    }
    *dst = (size_t)value;
    return KF_OK;
}

static kf_status read_vocab_size(kfi_llama2c_config *config, const uint8_t *header, kf_error *err)
{
    const int32_t value = (int32_t)kfi_load_u32(header + 20);
    if (value == 0 || value > MAX_VOCAB || value < -MAX_VOCAB) {
        return kfi_fail(err, KF_FORMAT, 20,
                        "not a llama2.c file: vocab_size is %" PRId32 ", expected up to %" PRId32,
                        value, MAX_VOCAB);
    }
    config->shared_classifier = value > 0;
    config->vocab_size = (size_t)(value > 0 ? value : -value);
    return KF_OK;
}

static kf_status read_config(kfi_llama2c_config *config, const kfi_file_map *map, kf_error *err)
{
    const uint8_t *header = map->data;
    if (map->size < HEADER_BYTES) {
        return kfi_fail(err, KF_FORMAT, map->size,
                        "not a llama2.c file: %zu bytes, its header alone has %u", map->size,
                        HEADER_BYTES);
    }
    KFI_TRY(read_field(&config->dim, header, 0, "dim", MAX_WIDTH, err));
    KFI_TRY(read_field(&config->hidden_dim, header, 1, "hidden_dim", MAX_WIDTH, err));
    KFI_TRY(read_field(&config->n_layers, header, 2, "n_layers", MAX_LAYERS, err));
    KFI_TRY(read_field(&config->n_heads, header, 3, "n_heads", MAX_WIDTH, err));
    KFI_TRY(read_field(&config->n_kv_heads, header, 4, "n_kv_heads", MAX_WIDTH, err));
    KFI_TRY(read_vocab_size(config, header, err));
    KFI_TRY(read_field(&config->context, header, 6, "context", MAX_VOCAB, err));
    if (config->dim % config->n_heads != 0 || config->dim / config->n_heads % 2 != 0 ||
        config->n_heads % config->n_kv_heads != 0) {
        return kfi_fail(err, KF_FORMAT, 12,
                        "not a llama2.c file: %zu heads and %zu key heads do not divide dim %zu",
                        config->n_heads, config->n_kv_heads, config->dim);
    }
    return KF_OK;
}

/* Where the next tensor begins; after a failure it stays there. */
typedef struct layout {
    kfi_llama2c *file;
    size_t at;
    kf_status status;
} layout;

/* Steps over rows × columns floats. The ceilings keep the product below 2^46. */
static const uint8_t *take(layout *where, size_t rows, size_t columns)
{
    const size_t bytes = 4 * rows * columns;
    const uint8_t *data = where->file->map.data + where->at;
    if (where->status != KF_OK || bytes > where->file->map.size - where->at) {
        where->status = where->status == KF_OK ? KF_FORMAT : where->status;
        return NULL;
    }
    where->at += bytes;
    return data;
}

/* One tensor; columns 0 makes a vector. */
static void add(layout *where, const char *name, size_t rows, size_t columns)
{
    kfi_tensor_table *table = &where->file->table;
    const size_t width = columns == 0 ? 1 : columns;
    const size_t begin = where->at;
    const uint8_t *data = take(where, rows, width);
    if (data == NULL) {
        return;
    }
    char *copy = kfi_arena_strndup(&where->file->arena, name, strlen(name));
    if (copy == NULL) {
        where->status = KF_NOMEM;
        return;
    }
    table->tensors[table->n++] = (kfi_tensor){
        .name = copy,
        .dtype = KFI_DTYPE_F32,
        .n_dims = columns == 0 ? 1 : 2,
        .shape = {rows, width, 1, 1},
        .n_elements = rows * width,
        .data = data,
        .bytes = 4 * rows * width,
        .offset = begin,
    };
}

/* One kind of tensor for every layer. */
static void add_stack(layout *where, const char *part, size_t rows, size_t columns)
{
    for (size_t i = 0; i < where->file->config.n_layers; i++) {
        char name[MAX_NAME];
        (void)snprintf(name, sizeof name, "model.layers.%zu.%s.weight", i, part);
        add(where, name, rows, columns);
    }
}

static kf_status place_tensors(kfi_llama2c *file, kf_error *err)
{
    const kfi_llama2c_config *c = &file->config;
    const size_t head_dim = c->dim / c->n_heads;
    const size_t kv_dim = head_dim * c->n_kv_heads;
    layout where = {.file = file, .at = HEADER_BYTES, .status = KF_OK};
    add(&where, "model.embed_tokens.weight", c->vocab_size, c->dim);
    add_stack(&where, "input_layernorm", c->dim, 0);
    add_stack(&where, "self_attn.q_proj", c->dim, c->dim);
    add_stack(&where, "self_attn.k_proj", kv_dim, c->dim);
    add_stack(&where, "self_attn.v_proj", kv_dim, c->dim);
    add_stack(&where, "self_attn.o_proj", c->dim, c->dim);
    add_stack(&where, "post_attention_layernorm", c->dim, 0);
    add_stack(&where, "mlp.gate_proj", c->hidden_dim, c->dim);
    add_stack(&where, "mlp.down_proj", c->dim, c->hidden_dim);
    add_stack(&where, "mlp.up_proj", c->hidden_dim, c->dim);
    add(&where, "model.norm.weight", c->dim, 0);
    (void)take(&where, c->context, head_dim); /* both rotary tables, half a head each */
    if (!c->shared_classifier) {
        add(&where, "lm_head.weight", c->vocab_size, c->dim);
    }
    if (where.status == KF_NOMEM) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
    }
    if (where.status != KF_OK || where.at != file->map.size) {
        return kfi_fail(err, KF_FORMAT, where.at,
                        "not a llama2.c file: %zu bytes, %s than its header says", file->map.size,
                        where.status == KF_OK ? "more" : "fewer");
    }
    return KF_OK;
}

static kf_status parse(kfi_llama2c *file, kf_error *err)
{
    KFI_TRY(read_config(&file->config, &file->map, err));
    const size_t n = TENSORS_PER_LAYER * file->config.n_layers + 3;
    file->table.tensors =
        kfi_arena_alloc(&file->arena, _Alignof(kfi_tensor), n * sizeof(kfi_tensor));
    if (file->table.tensors == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for %zu tensors", n);
    }
    KFI_TRY(place_tensors(file, err));
    return kfi_tensor_table_index(&file->table, &file->arena, err);
}

static kfi_llama2c *new_object(const kf_allocator *alloc, kf_error *err)
{
    kfi_llama2c *file = kfi_calloc(alloc, 1, sizeof *file);
    if (file == NULL) {
        (void)kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a reader");
        return NULL;
    }
    file->alloc = alloc;
    kfi_arena_init(&file->arena, alloc, ARENA_MAX);
    return file;
}

kf_status kfi_llama2c_open(kfi_llama2c **dst, const char *path, const kf_allocator *alloc,
                           kf_error *err)
{
    *dst = NULL;
    kfi_llama2c *file = new_object(alloc, err);
    if (file == NULL) {
        return KF_NOMEM;
    }
    kf_status status = kfi_file_map_open(&file->map, path, err);
    if (status != KF_OK) {
        goto done;
    }
    status = parse(file, err);
    if (status != KF_OK) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(path));
        goto done;
    }
    *dst = file;
    file = NULL;
done:
    kfi_llama2c_close(file);
    return status;
}

kf_status kfi_llama2c_parse(kfi_llama2c **dst, const uint8_t *data, size_t n,
                            const kf_allocator *alloc, kf_error *err)
{
    *dst = NULL;
    kfi_llama2c *file = new_object(alloc, err);
    if (file == NULL) {
        return KF_NOMEM;
    }
    file->map = (kfi_file_map){.data = data, .size = n};
    const kf_status status = parse(file, err);
    if (status != KF_OK) {
        kfi_llama2c_close(file);
        return status;
    }
    *dst = file;
    return KF_OK;
}

void kfi_llama2c_close(kfi_llama2c *file)
{
    if (file == NULL) {
        return;
    }
    kfi_file_map_close(&file->map);
    kfi_arena_deinit(&file->arena);
    kfi_free(file->alloc, file, sizeof *file);
}

const kfi_llama2c_config *kfi_llama2c_get_config(const kfi_llama2c *file)
{
    return &file->config;
}

const kfi_tensor_table *kfi_llama2c_tensors(const kfi_llama2c *file)
{
    return &file->table;
}

const kfi_file_map *kfi_llama2c_map(const kfi_llama2c *file)
{
    return &file->map;
}
