/* accounting.c - what a model is and what it weighs.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "format/format.h"
#include "model/architecture.h"
#include "model/checkpoint_names.h"
#include "model/opened.h"

#define MAX_FORMATS 12

/* Sums over the tensors that the model uses, each once, and the formats of its matrices. */
typedef struct totals {
    const kfi_checkpoint *checkpoint;
    uint64_t parameters, bytes;
    uint64_t linear_parameters, linear_bytes;
    const char *formats[MAX_FORMATS];
    size_t n_formats;
    size_t n_packed, n_decoded; /* matrices that are not float32 as they lie there */
} totals;

static void note_format(totals *t, const kfi_tensor *tensor)
{
    const char *name = kfi_checkpoint_format(t->checkpoint, tensor);
    if (kfi_checkpoint_stored(t->checkpoint, tensor)->packed.codes != NULL) {
        t->n_packed++;
    } else if (tensor->dtype != KFI_DTYPE_F32) {
        t->n_decoded++;
    }
    for (size_t i = 0; i < t->n_formats; i++) {
        if (strcmp(t->formats[i], name) == 0) {
            return;
        }
    }
    if (t->n_formats < MAX_FORMATS) {
        t->formats[t->n_formats++] = name;
    }
}

/* Of side paths and the map of its input. */
static uint64_t bytes_beside(const kfi_checkpoint *checkpoint, const char *name)
{
    return kfi_checkpoint_side_bytes(checkpoint, name) +
           kfi_checkpoint_online_bytes(checkpoint, name);
}

static kf_status add_tensor(void *ctx, const char *name, size_t rows, size_t cols, kf_error *err)
{
    (void)err;
    totals *t = ctx;
    const kfi_tensor *tensor = kfi_checkpoint_find(t->checkpoint, name);
    const uint64_t n = (uint64_t)rows * cols;
    t->parameters += n;
    t->bytes += tensor->bytes;
    if (kfi_name_is_linear(name)) {
        const uint64_t beside = bytes_beside(t->checkpoint, name);
        t->bytes += beside;
        t->linear_parameters += n;
        t->linear_bytes += tensor->bytes + beside;
    }
    if (rows > 1) {
        note_format(t, tensor);
    }
    return KF_OK;
}

/* "GGUF, Q4_1 and Q8_0, dequantized to float32" */
static const char *describe_source(kf_model *model, const totals *t)
{
    char text[512];
    const kfi_checkpoint *c = &model->checkpoint;
    if (c->is_kerf) {
        (void)snprintf(text, sizeof text, "%s, recipe %s", c->container, c->recipe);
    } else {
        size_t n = (size_t)snprintf(text, sizeof text, "%s", c->container);
        for (size_t i = 0; i < t->n_formats; i++) {
            const char *between = i == 0 ? ", " : i + 1 == t->n_formats ? " and " : ", ";
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", between, t->formats[i]);
        }
        (void)snprintf(text + n, sizeof text - n, "%s",
                       t->n_packed > 0 && t->n_decoded > 0 ? ", packed or dequantized to float32"
                       : t->n_packed > 0                   ? ", packed"
                       : t->n_decoded > 0                  ? ", dequantized to float32"
                                                           : "");
    }
    return kfi_arena_strndup(&model->checkpoint.arena, text, strlen(text));
}

static bool is_same_but_clip(kf_activation a, kf_activation b)
{
    b.clip = a.clip;
    return kfi_activation_is_same(a, b);
}

/* The one format of all linear layers, also where each has a clip of its own, or "mixed". */
static const char *describe_activations(kf_model *model)
{
    char name[KF_FORMAT_NAME_BYTES];
    char text[2 * KF_FORMAT_NAME_BYTES];
    kf_activation first = model->blocks[0].linears[0].activation;
    bool clips_differ = false;
    for (size_t i = 0; i < model->checkpoint.config.n_layers; i++) {
        for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
            const kf_activation other = model->blocks[i].linears[role].activation;
            if (!is_same_but_clip(first, other)) {
                return "mixed";
            }
            clips_differ = clips_differ || other.clip != first.clip;
        }
    }
    first.clip = clips_differ ? 0 : first.clip;
    kf_activation_name(name, first);
    (void)snprintf(text, sizeof text, "%s%s", name, clips_differ ? " (clips differ)" : "");
    return kfi_arena_strndup(&model->checkpoint.arena, text, strlen(text));
}

static uint64_t bytes_read(const kfi_checkpoint *checkpoint, const kfi_linear *linear,
                           const kfi_tensor *tensor)
{
    const kfi_stored *stored = kfi_checkpoint_stored(checkpoint, tensor);
    if (stored->packed.codes == NULL) {
        return (uint64_t)linear->rows * linear->cols * sizeof(float);
    }
    return stored->memory != NULL ? stored->memory_bytes : tensor->bytes;
}

static uint64_t count_bytes_per_token(const kf_model *model)
{
    const kfi_checkpoint *checkpoint = &model->checkpoint;
    uint64_t bytes = bytes_read(checkpoint, &model->head, model->head_tensor);
    for (size_t i = 0; i < model->checkpoint.config.n_layers; i++) {
        for (size_t role = 0; role < KFI_LINEAR_COUNT; role++) {
            const kfi_tensor *tensor = model->sources[i].linears[role];
            bytes += bytes_read(checkpoint, &model->blocks[i].linears[role], tensor) +
                     bytes_beside(checkpoint, tensor->name);
        }
    }
    return bytes;
}

static uint64_t prefix_bytes(const kfi_checkpoint *checkpoint)
{
    const kfi_config *config = &checkpoint->config;
    const uint64_t width = config->n_kv_heads * config->head_dim;
    return checkpoint->prefix.n * (sizeof(uint32_t) + 2 * config->n_layers * width * sizeof(float));
}

kf_status kfi_model_account(kf_model *model, kf_error *err)
{
    const kfi_checkpoint *checkpoint = &model->checkpoint;
    const kfi_config *config = &checkpoint->config;
    totals t = {.checkpoint = checkpoint};
    KFI_TRY(kfi_config_each_tensor(config, add_tensor, &t, err));
    t.bytes += prefix_bytes(checkpoint);
    t.bytes += checkpoint->residual_signs == NULL ? 0 : config->hidden;
    model->bytes_per_token = count_bytes_per_token(model);
    model->info = (kf_model_info){
        .architecture = config->architecture->name,
        .name = checkpoint->name,
        .source = describe_source(model, &t),
        .activations = describe_activations(model),
        .n_layers = config->n_layers,
        .hidden = config->hidden,
        .feed_forward = config->feed_forward,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .head_dim = config->head_dim,
        .vocabulary = config->vocabulary,
        .context = config->context,
        .tied = config->tied,
        .is_kerf = checkpoint->is_kerf,
        .n_prefix = checkpoint->prefix.n,
        .parameters = t.parameters,
        .bytes = t.bytes,
        .bits_per_weight = 8.0 * (double)t.bytes / (double)t.parameters,
        .bits_per_weight_linear = 8.0 * (double)t.linear_bytes / (double)t.linear_parameters,
    };
    model->linear_parameters = t.linear_parameters;
    if (model->info.source == NULL || model->info.activations == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a model's description");
    }
    return KF_OK;
}

void kf_model_get_info(const kf_model *model, kf_model_info *info)
{
    *info = model->info;
}

uint64_t kf_model_bytes_per_token(const kf_model *model)
{
    return model->bytes_per_token;
}

uint64_t kf_model_operations_per_token(const kf_model *model)
{
    return 2 * (model->linear_parameters + (uint64_t)model->head.rows * model->head.cols);
}

size_t kf_model_tensor_count(const kf_model *model)
{
    return model->checkpoint.table.n;
}

void kf_model_get_tensor(const kf_model *model, size_t i, kf_model_tensor *tensor)
{
    const kfi_tensor *stored = &model->checkpoint.table.tensors[i];
    size_t rows = 1;
    size_t cols = stored->n_elements;
    if (!kfi_checkpoint_shape(&model->checkpoint, stored, &rows, &cols) && stored->n_dims > 0) {
        cols = stored->shape[stored->n_dims - 1];
        rows = cols == 0 ? 0 : stored->n_elements / cols;
    }
    *tensor =
        (kf_model_tensor){.name = stored->name, .rows = rows, .cols = cols, .bytes = stored->bytes};
    (void)snprintf(tensor->format, sizeof tensor->format, "%s",
                   kfi_checkpoint_format(&model->checkpoint, stored));
}

const char *kfi_model_source_format(const kf_model *model, const char *name)
{
    const kfi_tensor *tensor = kfi_checkpoint_find(&model->checkpoint, name);
    return tensor == NULL ? NULL : kfi_checkpoint_format(&model->checkpoint, tensor);
}

uint64_t kfi_model_linear_parameters(const kf_model *model)
{
    return model->linear_parameters;
}
