/* llama2c_vocabulary.c - reader of llama2.c tokenizer files.
 *
 *   max_token_length:u32, then for each token score:f32 n:i32 and n bytes
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "base/half.h"
#include "io/bytes.h"
#include "io/llama2c.h"

#define MIN_TOKEN_BYTES 8u
#define MAX_VOCAB       ((size_t)1 << 24)
#define ARENA_MAX       ((size_t)1 << 30)

static kf_status make_room(kfi_llama2c_vocabulary *vocabulary, size_t n, kf_error *err)
{
    kfi_arena *arena = &vocabulary->arena;
    vocabulary->pieces = kfi_arena_alloc(arena, _Alignof(char *), n * sizeof *vocabulary->pieces);
    vocabulary->lengths = kfi_arena_alloc(arena, _Alignof(size_t), n * sizeof *vocabulary->lengths);
    vocabulary->scores = kfi_arena_alloc(arena, _Alignof(float), n * sizeof *vocabulary->scores);
    if (vocabulary->pieces == NULL || vocabulary->lengths == NULL || vocabulary->scores == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for %zu tokens", n);
    }
    return KF_OK;
}

/* Reads token i at *at and steps over it. */
static kf_status read_token(kfi_llama2c_vocabulary *dst, size_t i, const kfi_file_map *map,
                            size_t *at, kf_error *err)
{
    if (map->size - *at < MIN_TOKEN_BYTES) {
        return kfi_fail(err, KF_FORMAT, *at, "token %zu: the file ends at byte %zu", i, map->size);
    }
    const float score = kfi_bits_float(kfi_load_u32(map->data + *at));
    const uint32_t n = kfi_load_u32(map->data + *at + 4);
    if (score != score) { /* only NaN differs from itself */
        return kfi_fail(err, KF_FORMAT, *at, "token %zu: its score is no number", i);
    }
    if (n > map->size - *at - MIN_TOKEN_BYTES) {
        return kfi_fail(err, KF_FORMAT, *at + 4, "token %zu: %" PRIu32 " bytes, %zu are left", i, n,
                        map->size - *at - MIN_TOKEN_BYTES);
    }
    dst->scores[i] = score;
    dst->lengths[i] = n;
    dst->pieces[i] =
        kfi_arena_strndup(&dst->arena, (const char *)map->data + *at + MIN_TOKEN_BYTES, n);
    if (dst->pieces[i] == NULL) {
        return kfi_fail(err, KF_NOMEM, *at, "token %zu: no memory", i);
    }
    *at += MIN_TOKEN_BYTES + n;
    return KF_OK;
}

static kf_status read_tokens(kfi_llama2c_vocabulary *dst, const kfi_file_map *map, size_t n,
                             kf_error *err)
{
    size_t at = 4; /* max_token_length is of use to a fixed buffer only */
    if (map->size < at || n == 0 || n > MAX_VOCAB || n > (map->size - at) / MIN_TOKEN_BYTES) {
        return kfi_fail(err, KF_FORMAT, map->size,
                        "not a llama2.c tokenizer of %zu tokens: only %zu bytes", n, map->size);
    }
    KFI_TRY(make_room(dst, n, err));
    for (size_t i = 0; i < n; i++) {
        KFI_TRY(read_token(dst, i, map, &at, err));
    }
    if (at != map->size) {
        return kfi_fail(err, KF_FORMAT, at, "%zu tokens end at byte %zu, the file has %zu", n, at,
                        map->size);
    }
    dst->n = n;
    return KF_OK;
}

kf_status kfi_llama2c_vocabulary_parse(kfi_llama2c_vocabulary *dst, const uint8_t *data, size_t n,
                                       size_t vocab_size, const kf_allocator *alloc, kf_error *err)
{
    const kfi_file_map map = {.data = data, .size = n};
    *dst = (kfi_llama2c_vocabulary){.n = 0};
    kfi_arena_init(&dst->arena, alloc, ARENA_MAX);
    const kf_status status = read_tokens(dst, &map, vocab_size, err);
    if (status != KF_OK) {
        kfi_llama2c_vocabulary_deinit(dst);
    }
    return status;
}

kf_status kfi_llama2c_vocabulary_read(kfi_llama2c_vocabulary *dst, const char *path,
                                      size_t vocab_size, const kf_allocator *alloc, kf_error *err)
{
    kfi_file_map map;
    *dst = (kfi_llama2c_vocabulary){.n = 0};
    KFI_TRY(kfi_file_map_open(&map, path, err));
    const kf_status status =
        kfi_llama2c_vocabulary_parse(dst, map.data, map.size, vocab_size, alloc, err);
    if (status != KF_OK) {
        kfi_fail_prefix(err, "%s: ", kfi_path_name(path));
    }
    kfi_file_map_close(&map);
    return status;
}

void kfi_llama2c_vocabulary_deinit(kfi_llama2c_vocabulary *vocabulary)
{
    kfi_arena_deinit(&vocabulary->arena);
    vocabulary->n = 0;
    vocabulary->pieces = NULL;
    vocabulary->lengths = NULL;
    vocabulary->scores = NULL;
}
