/* checkpoint_gguf.c - a GGUF behind the lookup by Hugging Face's names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "model/architecture.h"
#include "model/checkpoint.h"
#include "model/checkpoint_names.h"
#include "model/config.h"

/* Splits "blk.12.attn_q.weight" into the block's number (digits, as they are) and the rest. */
typedef struct parsed {
    const char *number;
    size_t n_number;
    const char *module; /* "attn_q" */
    size_t n_module;
    const char *kind; /* ".weight" */
} parsed;

static bool parse(parsed *p, const char *name)
{
    *p = (parsed){.module = name};
    if (strncmp(name, "blk.", 4) == 0) {
        p->number = name + 4;
        p->n_number = strspn(p->number, "0123456789");
        if (p->n_number == 0 || p->n_number > 4 || p->number[p->n_number] != '.') {
            return false;
        }
        p->module = p->number + p->n_number + 1;
    }
    p->kind = strrchr(p->module, '.');
    if (p->kind == NULL || (strcmp(p->kind, ".weight") != 0 && strcmp(p->kind, ".bias") != 0)) {
        return false;
    }
    p->n_module = (size_t)(p->kind - p->module);
    return true;
}

static bool matches(const parsed *p, const char *pattern)
{
    const char *star = strchr(pattern, '*');
    const char *module = star == NULL ? pattern : star + 2;
    return (star != NULL) == (p->number != NULL) && strlen(module) == p->n_module &&
           memcmp(module, p->module, p->n_module) == 0;
}

/* Hugging Face's name in the arena; the name itself where it has none; NULL without memory. */
static const char *translate(kfi_arena *arena, const kfi_gguf_name *names, const char *name)
{
    parsed p;
    if (!parse(&p, name)) {
        return name;
    }
    for (; names->gguf != NULL; names++) {
        if (!matches(&p, names->gguf)) {
            continue;
        }
        kfi_name result;
        const char *star = strchr(names->hugging_face, '*');
        if (star == NULL) {
            (void)snprintf(result.text, sizeof result.text, "%s%s", names->hugging_face, p.kind);
        } else {
            (void)snprintf(result.text, sizeof result.text, "%.*s%.*s%s%s",
                           (int)(star - names->hugging_face), names->hugging_face, (int)p.n_number,
                           p.number, star + 1, p.kind);
        }
        return kfi_arena_strndup(arena, result.text, strlen(result.text));
    }
    return name;
}

static kf_status take_name(kfi_checkpoint *checkpoint, kf_error *err)
{
    kfi_text name = {NULL, 0};
    const kfi_gguf_value *value = kfi_gguf_find(checkpoint->gguf, "general.name");
    if (value == NULL || value->type != KFI_GGUF_STRING) {
        return KF_OK;
    }
    KFI_TRY(kfi_gguf_text(&name, checkpoint->gguf, "general.name", err));
    checkpoint->name = kfi_arena_strndup(&checkpoint->arena, name.data, name.n);
    if (checkpoint->name == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the model's name");
    }
    return KF_OK;
}

static kf_status rename_tensors(kfi_checkpoint *checkpoint, kf_error *err)
{
    const kfi_gguf_name *names = checkpoint->config.architecture->gguf_names;
    for (size_t i = 0; i < checkpoint->table.n; i++) {
        kfi_tensor *tensor = &checkpoint->table.tensors[i];
        tensor->name = translate(&checkpoint->arena, names, tensor->name);
        if (tensor->name == NULL) {
            return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for the names of tensors");
        }
        checkpoint->stored[i].map = kfi_gguf_map(checkpoint->gguf);
    }
    return KF_OK;
}

kf_status kfi_checkpoint_load_gguf(kfi_checkpoint *checkpoint, const char *path, kf_error *err)
{
    KFI_TRY(kfi_gguf_open(&checkpoint->gguf, path, checkpoint->alloc, err));
    checkpoint->container = "GGUF";
    kf_status st = kfi_config_from_gguf(&checkpoint->config, checkpoint->gguf, err);
    if (st != KF_OK) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(path));
        return st;
    }
    KFI_TRY(take_name(checkpoint, err));
    KFI_TRY(kfi_checkpoint_take_table(checkpoint, kfi_gguf_tensors(checkpoint->gguf), err));
    KFI_TRY(rename_tensors(checkpoint, err));
    KFI_TRY(kfi_checkpoint_index(checkpoint, err));
    if (checkpoint->config.architecture->gguf_permuted) {
        kfi_checkpoint_mark_permuted(checkpoint);
    }
    return KF_OK;
}
