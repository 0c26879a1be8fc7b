/* tiny_maps.h - what the inputs of a tiny model's layers go through, and back: for tiny_kerf.c.
 *
 * o and down see their input rotated, q, k and v columns of it of which some come twice, gate and
 * up sums of two columns.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_TINY_MAPS_H
#define KERF_TESTS_TINY_MAPS_H

#include "tiny_model.h"

#define TINY_MAP_MOST 512u

typedef struct tiny_map {
    kfi_online online; /* points to the members below */
    int8_t signs[TINY_MAP_MOST];
    uint32_t columns[TINY_MAP_MOST];
    uint32_t second[TINY_MAP_MOST];
} tiny_map;

/* The map in front of a linear layer, by its weight's name. */
void tiny_map_init(tiny_map *map, const tiny_tensor *t);
/* Weights for behind the map; data is freed by the caller. */
tiny_tensor tiny_map_spread(const tiny_map *map, const tiny_tensor *t);
/* The tensor becomes what these weights compute of an input in front of the map. */
void tiny_map_fold(tiny_tensor *t, const tiny_map *map, const tiny_tensor *behind);

/* Signs of the residual stream, [TINY_MAP_MOST]. */
const int8_t *tiny_residual_signs(void);
/* The weights of a block's layer, of a stream that runs rotated, become those of one that does not.
 */
void tiny_residual_fold(tiny_tensor *t, size_t hidden);

#endif /* KERF_TESTS_TINY_MAPS_H */
