/* tiny_maps.c - maps of the inputs of a tiny model's layers.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tiny_maps.h"

#include <string.h>

#include "base/alloc.h"
#include "kernels/kernels_list.h"
#include "linalg/hadamard.h"
#include "tiny_write.h"

/* More columns than the input of q, k and v has. */
#define N_TWICE 32u

static bool is_of(const tiny_tensor *t, const char *module)
{
    return strstr(t->name, module) != NULL;
}

static bool is_rotated(const tiny_tensor *t)
{
    return is_of(t, "o_proj") || is_of(t, "down_proj");
}

void tiny_map_init(tiny_map *map, const tiny_tensor *t)
{
    const size_t n = t->cols;
    tiny_check(n + N_TWICE <= TINY_MAP_MOST, "a tiny model too wide for its maps");
    map->online = (kfi_online){.n_inputs = n, .n_outputs = n};
    if (is_rotated(t)) {
        map->online.signs = map->signs;
        for (size_t i = 0; i < n; i++) {
            map->signs[i] = i * i % 5 < 3 ? 1 : -1;
        }
        return;
    }
    const bool is_joined = is_of(t, ".mlp.");
    map->online.n_outputs = is_joined ? n : n + N_TWICE;
    map->online.columns = map->columns;
    map->online.second = is_joined ? map->second : NULL;
    for (size_t c = 0; c < map->online.n_outputs; c++) {
        map->columns[c] = (uint32_t)((7 * c + 3) % n);
        map->second[c] = c % 3 == 0 ? (uint32_t)((5 * c + 1) % n) : KFI_NO_COLUMN;
    }
}

static kfi_hadamard hadamard_of(size_t n)
{
    kf_error err = {0};
    kfi_hadamard h;
    tiny_check(kfi_hadamard_init(&h, n, NULL, &err) == KF_OK, err.msg);
    return h;
}

static void rotate_rows(float *rows, size_t n_rows, size_t n, const int8_t *signs, bool back)
{
    kfi_hadamard h = hadamard_of(n);
    const kfi_rotation r = back ? kfi_hadamard_back(&h, signs) : kfi_hadamard_forward(&h, signs);
    for (size_t i = 0; i < n_rows; i++) {
        kfi_rotate_generic(rows + i * n, &r);
    }
    kfi_hadamard_deinit(&h);
}

tiny_tensor tiny_map_spread(const tiny_map *map, const tiny_tensor *t)
{
    const kfi_online *o = &map->online;
    tiny_tensor behind = *t;
    behind.cols = o->n_outputs;
    behind.data = kfi_alloc(NULL, t->rows * behind.cols * sizeof *behind.data);
    tiny_check(behind.data != NULL, "no memory");
    if (o->signs != NULL) {
        memcpy(behind.data, t->data, t->rows * t->cols * sizeof *t->data);
        rotate_rows(behind.data, t->rows, t->cols, o->signs, false);
        return behind;
    }
    for (size_t r = 0; r < t->rows; r++) {
        for (size_t c = 0; c < behind.cols; c++) {
            behind.data[r * behind.cols + c] = 0.5f * t->data[r * t->cols + o->columns[c]];
        }
    }
    return behind;
}

void tiny_map_fold(tiny_tensor *t, const tiny_map *map, const tiny_tensor *behind)
{
    const kfi_online *o = &map->online;
    if (o->signs != NULL) {
        memcpy(t->data, behind->data, t->rows * t->cols * sizeof *t->data);
        rotate_rows(t->data, t->rows, t->cols, o->signs, true);
        return;
    }
    memset(t->data, 0, t->rows * t->cols * sizeof *t->data);
    for (size_t r = 0; r < t->rows; r++) {
        float *row = t->data + r * t->cols;
        for (size_t c = 0; c < behind->cols; c++) {
            const float w = behind->data[r * behind->cols + c];
            row[o->columns[c]] += w;
            if (o->second != NULL && o->second[c] != KFI_NO_COLUMN) {
                row[o->second[c]] += w;
            }
        }
    }
}

const int8_t *tiny_residual_signs(void)
{
    static int8_t signs[TINY_MAP_MOST];
    for (size_t i = 0; i < TINY_MAP_MOST; i++) {
        signs[i] = i * i % 7 < 4 ? 1 : -1;
    }
    return signs;
}

/* Layers that read the stream have their rows brought back, those that add to it their columns. */
void tiny_residual_fold(tiny_tensor *t, size_t hidden)
{
    if (!is_rotated(t)) {
        rotate_rows(t->data, t->rows, hidden, tiny_residual_signs(), true);
        return;
    }
    float column[TINY_MAP_MOST];
    for (size_t c = 0; c < t->cols; c++) {
        for (size_t r = 0; r < hidden; r++) {
            column[r] = t->data[r * t->cols + c];
        }
        rotate_rows(column, 1, hidden, tiny_residual_signs(), true);
        for (size_t r = 0; r < hidden; r++) {
            t->data[r * t->cols + c] = column[r];
        }
    }
}
