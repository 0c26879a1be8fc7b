/* tiny_kerf_map.c - maps of tiny Kerf checkpoints, right or wrong on purpose.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_kerf_parts.h"

#include <string.h>

#include "base/alloc.h"
#include "format/format.h"
#include "model/checkpoint_names.h"
#include "tiny_maps.h"
#include "tiny_sparse.h"

static tiny_map_flaw map_flaw_of(const tiny_kerf_options *o, const tiny_tensor *t)
{
    const bool is_flawed = strcmp(t->name, "model.layers.0.mlp.down_proj.weight") == 0 ||
                           strcmp(t->name, "model.layers.0.self_attn.q_proj.weight") == 0;
    return is_flawed && o->map_flaw < TINY_MAP_FEW_RESIDUAL_SIGNS ? o->map_flaw : TINY_MAP_RIGHT;
}

void tiny_add_signs(tiny_entries *f, const char *name, const int8_t *signs, size_t n,
                    tiny_map_flaw flaw)
{
    int8_t copy[TINY_MAP_MOST];
    memcpy(copy, signs, n);
    copy[3] = flaw == TINY_MAP_SIGN_0 ? 0 : flaw == TINY_MAP_RESIDUAL_SIGN_2 ? 2 : copy[3];
    n -= flaw == TINY_MAP_FEW_SIGNS || flaw == TINY_MAP_FEW_RESIDUAL_SIGNS;
    (void)tiny_add_copy(f, name, flaw == TINY_MAP_SIGNS_U32 ? KFI_DTYPE_U32 : KFI_DTYPE_I8, copy,
                        flaw == TINY_MAP_SIGNS_U32 ? n / 4 : n);
}

void tiny_add_map(tiny_entries *f, const tiny_tensor *t, const tiny_kerf_options *o)
{
    static tiny_map map;
    const tiny_map_flaw flaw = map_flaw_of(o, t);
    tiny_map_init(&map, t);
    const kfi_online *online = &map.online;
    const kfi_name columns = kfi_name_online(t->name, KFI_ONLINE_COLUMNS);
    const kfi_name second = kfi_name_online(t->name, KFI_ONLINE_SECOND);
    size_t n = online->n_outputs;
    if (online->signs != NULL) {
        tiny_add_signs(f, kfi_name_online(t->name, KFI_ONLINE_SIGNS).text, online->signs, n, flaw);
    }
    if (online->columns != NULL || flaw == TINY_MAP_BOTH) {
        map.columns[2] = flaw == TINY_MAP_BEYOND ? (uint32_t)t->cols : map.columns[2];
        n = flaw == TINY_MAP_FEW_COLUMNS  ? n - 1
            : flaw == TINY_MAP_NO_COLUMNS ? 0
            : flaw == TINY_MAP_WIDE       ? 5 * t->cols
                                          : n;
        (void)tiny_add_copy(f, columns.text,
                            flaw == TINY_MAP_COLUMNS_F32 ? KFI_DTYPE_F32 : KFI_DTYPE_U32,
                            map.columns, n);
    }
    if (online->second != NULL || flaw == TINY_MAP_LONE_SECOND) {
        (void)tiny_add_copy(f, second.text, KFI_DTYPE_U32, map.second, online->n_outputs);
    }
}

size_t tiny_cols_behind_map(const tiny_tensor *t)
{
    static tiny_map map;
    tiny_map_init(&map, t);
    return map.online.n_outputs;
}

void tiny_add_behind_map(tiny_entries *f, tiny_tensor *t, const tiny_kerf_options *o,
                         const char *format)
{
    static tiny_map map;
    tiny_map_init(&map, t);
    tiny_tensor behind = tiny_map_spread(&map, t);
    if (format == NULL) {
        tiny_add_part(f, &behind, NULL);
    } else {
        tiny_add_with_side(f, &behind, o);
    }
    tiny_map_fold(t, &map, &behind);
    kfi_free(NULL, behind.data, 0);
}
