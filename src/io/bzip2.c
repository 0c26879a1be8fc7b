/* bzip2.c - unpacks what bzip2 packed, by libbz2.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/bzip2.h"

#include <bzlib.h>
#include <string.h>

#include "base/fail.h"

#define PIECE_BYTES 16384u
/* What libbz2 keeps: four bytes for each of a block, which has 900 000 at most, and its tables. */
#define STATE_BYTES ((size_t)8 << 20)

/* libbz2 tells no sizes when it frees, so that its memory is an arena, freed at the end of a
 * stream. */
static void *take(void *arena, int n, int size)
{
    return kfi_arena_alloc(arena, KFI_ALIGN, (size_t)n * (size_t)size);
}

static void leave(void *arena, void *block)
{
    (void)arena;
    (void)block;
}

static kf_status refuse(int code, size_t at, kf_error *err)
{
    const char *what = code == BZ_OK                 ? "it ends too early"
                       : code == BZ_DATA_ERROR_MAGIC ? "no stream begins here"
                                                     : "damaged";
    return code == BZ_MEM_ERROR ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "bzip2: its tables")
                                : kfi_fail(err, KF_FORMAT, at, "bzip2: %s", what);
}

static kf_status append(kfi_buf *dst, const char *piece, size_t n, kf_error *err)
{
    const bool fits = n <= dst->max - dst->n;
    return kfi_buf_append(dst, piece, n)
               ? KF_OK
               : kfi_fail(err, fits ? KF_NOMEM : KF_RANGE, KF_NO_OFFSET,
                          "bzip2: no room for more than %zu bytes", fits ? dst->n : dst->max);
}

/* Unpacks the stream that begins at data[*at], and moves *at behind it. */
static kf_status unpack_stream(kfi_buf *dst, const uint8_t *data, size_t n, size_t *at,
                               bz_stream *stream, kf_error *err)
{
    char packed[PIECE_BYTES]; /* libbz2 wants its input writable */
    char unpacked[PIECE_BYTES];
    for (int code = BZ_OK; code != BZ_STREAM_END;) {
        const size_t n_packed = n - *at < sizeof packed ? n - *at : sizeof packed;
        memcpy(packed, data + *at, n_packed);
        stream->next_in = packed;
        stream->avail_in = (unsigned)n_packed;
        stream->next_out = unpacked;
        stream->avail_out = sizeof unpacked;
        code = BZ2_bzDecompress(stream);
        *at += n_packed - stream->avail_in;
        const size_t n_unpacked = sizeof unpacked - stream->avail_out;
        const bool is_stuck = code == BZ_OK && n_packed == 0 && n_unpacked == 0;
        if (is_stuck || (code != BZ_OK && code != BZ_STREAM_END)) {
            return refuse(code, *at, err);
        }
        KFI_TRY(append(dst, unpacked, n_unpacked, err));
    }
    return KF_OK;
}

kf_status kfi_bzip2_unpack(kfi_buf *dst, const uint8_t *data, size_t n, kf_error *err)
{
    kf_status st = KF_OK;
    size_t at = 0;
    do {
        kfi_arena arena;
        bz_stream stream = {.bzalloc = take, .bzfree = leave, .opaque = &arena};
        kfi_arena_init(&arena, dst->alloc, STATE_BYTES);
        const int code = BZ2_bzDecompressInit(&stream, 0, 0);
        st = code == BZ_OK ? unpack_stream(dst, data, n, &at, &stream, err) : refuse(code, at, err);
        (void)BZ2_bzDecompressEnd(&stream);
        kfi_arena_deinit(&arena);
    } while (st == KF_OK && at < n);
    return st;
}
