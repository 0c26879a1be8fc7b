/* bzip2.c - unpacks what bzip2 packed.
 *
 * A stream is "BZh", a digit d, and blocks, all in bits, the highest of a byte first:
 *
 *     48 bits 314159265359h | 32 CRC | 1 randomized | 24 origin
 *     16 + 16 a set bit     which byte values occur
 *     3 tables | 15 selectors | each selector in unary, moved to front
 *     each table: 5 bits, then for every symbol steps of its code's length: 0 | 10 +1 | 11 -1
 *     symbols, 50 by each selected table, until the one that ends the block
 *
 * and at its end 48 bits 177245385090h and a CRC of the CRCs, up to a whole byte. Undone are, in
 * this order: the Huffman codes, runs of the front byte (symbols 0 and 1 are digits of their length
 * in a number system of base 2 without a zero), move to front, the Burrows-Wheeler transform, and
 * runs (four equal bytes are followed by the number of those that were left out).
 *
 * Source: Seward, bzip2 1.0.8; the format as Tsai describes it in "BZIP2: Format Specification",
 * 2016.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/bzip2.h"

#include <string.h>

#include "base/fail.h"

#define BLOCK_MAGIC   0x314159265359u
#define END_MAGIC     0x177245385090u
#define LEVEL_BYTES   ((size_t)100000)
#define TABLES_MOST   6u
#define SYMBOLS_MOST  258u
#define LENGTH_MOST   20u
#define GROUP_SYMBOLS 50u

/* A Huffman code, canonical: codes of one length are neighbours, and so are their symbols here. */
typedef struct table {
    uint32_t first[LENGTH_MOST + 1]; /* code of that length */
    uint32_t count[LENGTH_MOST + 1];
    uint32_t place[LENGTH_MOST + 1]; /* of its first symbol */
    uint16_t symbols[SYMBOLS_MOST];
} table;

typedef struct unpacker {
    const uint8_t *data;
    size_t n, at; /* bytes */
    uint64_t held;
    unsigned n_held; /* bits of held */
    bool at_end;     /* more bits were asked for than there are */
    kf_error *err;
    kfi_buf *dst;
    size_t capacity; /* of a block */
    uint8_t bytes[256];
    size_t n_bytes; /* that occur */
    table tables[TABLES_MOST];
    size_t n_tables;
    uint8_t selectors[1 << 15];
    size_t n_selectors;
    uint32_t crcs[256];
    uint32_t *block; /* [capacity] */
} unpacker;

static kf_status malformed(const unpacker *u, const char *what)
{
    return kfi_fail(u->err, KF_FORMAT, u->at, "bzip2: %s", u->at_end ? "it ends too early" : what);
}

/* The next n bits, n <= 24; zeros behind the end. */
static uint32_t take(unpacker *u, unsigned n)
{
    while (u->n_held < n) {
        u->at_end = u->at_end || u->at == u->n;
        u->held = u->held << 8 | (u->at < u->n ? u->data[u->at] : 0u);
        u->at += u->at < u->n;
        u->n_held += 8;
    }
    u->n_held -= n;
    return (uint32_t)(u->held >> u->n_held) & ((1u << n) - 1);
}

static void make_crcs(uint32_t crcs[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i << 24;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc << 1 ^ ((crc & 0x80000000u) != 0 ? 0x04c11db7u : 0u);
        }
        crcs[i] = crc;
    }
}

static void read_bytes_used(unpacker *u)
{
    const uint32_t rows = take(u, 16);
    u->n_bytes = 0;
    for (unsigned row = 0; row < 16; row++) {
        const uint32_t columns = (rows >> (15 - row) & 1) != 0 ? take(u, 16) : 0;
        for (unsigned column = 0; column < 16; column++) {
            if ((columns >> (15 - column) & 1) != 0) {
                u->bytes[u->n_bytes++] = (uint8_t)(16 * row + column);
            }
        }
    }
}

static kf_status read_selectors(unpacker *u)
{
    uint8_t order[TABLES_MOST] = {0, 1, 2, 3, 4, 5};
    u->n_tables = take(u, 3);
    u->n_selectors = take(u, 15);
    if (u->n_tables < 2 || u->n_tables > TABLES_MOST || u->n_selectors == 0) {
        return malformed(u, "a block of no tables");
    }
    for (size_t i = 0; i < u->n_selectors; i++) {
        size_t place = 0;
        while (place < u->n_tables && take(u, 1) != 0) {
            place++;
        }
        if (place == u->n_tables) {
            return malformed(u, "a table that is not there is selected");
        }
        const uint8_t found = order[place];
        memmove(order + 1, order, place);
        order[0] = found;
        u->selectors[i] = found;
    }
    return KF_OK;
}

static kf_status read_lengths(unpacker *u, uint8_t *lengths, size_t n)
{
    unsigned length = take(u, 5);
    for (size_t i = 0; i < n; i++) {
        while (length >= 1 && length <= LENGTH_MOST && take(u, 1) != 0) {
            length += take(u, 1) == 0 ? 1u : -1u;
        }
        if (length < 1 || length > LENGTH_MOST) {
            return malformed(u, "a code of a length that there is not");
        }
        lengths[i] = (uint8_t)length;
    }
    return KF_OK;
}

static void make_table(table *t, const uint8_t *lengths, size_t n)
{
    uint32_t code = 0;
    uint32_t place = 0;
    memset(t->count, 0, sizeof t->count);
    for (size_t i = 0; i < n; i++) {
        t->count[lengths[i]]++;
    }
    for (unsigned length = 1; length <= LENGTH_MOST; length++) {
        t->first[length] = code;
        t->place[length] = place;
        for (size_t i = 0; i < n; i++) {
            if (lengths[i] == length) {
                t->symbols[place++] = (uint16_t)i;
            }
        }
        code = (code + t->count[length]) << 1;
    }
}

static kf_status read_tables(unpacker *u)
{
    const size_t n_symbols = u->n_bytes + 2;
    uint8_t lengths[SYMBOLS_MOST];
    for (size_t i = 0; i < u->n_tables; i++) {
        KFI_TRY(read_lengths(u, lengths, n_symbols));
        make_table(&u->tables[i], lengths, n_symbols);
    }
    return KF_OK;
}

/* The next symbol, or SYMBOLS_MOST where no code is as long as what stands there. */
static size_t take_symbol(unpacker *u, const table *t)
{
    uint32_t code = 0;
    for (unsigned length = 1; length <= LENGTH_MOST; length++) {
        code = code << 1 | take(u, 1);
        if (code - t->first[length] < t->count[length]) {
            return t->symbols[t->place[length] + code - t->first[length]];
        }
    }
    return SYMBOLS_MOST;
}

/* The bytes of a block as the transform has sorted them, into block[0 … *n - 1]. */
static kf_status read_symbols(unpacker *u, size_t *n)
{
    const size_t end = u->n_bytes + 1;
    size_t run = 0; /* length so far, and what its next digit counts */
    size_t digit = 1;
    *n = 0;
    for (size_t i = 0;; i++) {
        if (i / GROUP_SYMBOLS == u->n_selectors || u->at_end) {
            return malformed(u, "a block has no end");
        }
        const size_t symbol = take_symbol(u, &u->tables[u->selectors[i / GROUP_SYMBOLS]]);
        if (symbol < 2) {
            run += digit << symbol;
            digit *= 2;
        } else {
            for (; run > 0 && *n < u->capacity; run--) {
                u->block[(*n)++] = u->bytes[0];
            }
            digit = 1;
        }
        if (symbol == end && run == 0) {
            return KF_OK;
        }
        if (symbol > end || run > u->capacity || (symbol >= 2 && *n == u->capacity)) {
            return malformed(u, symbol > end ? "no such code" : "a block that is too long");
        }
        if (symbol >= 2) {
            const uint8_t found = u->bytes[symbol - 1];
            memmove(u->bytes + 1, u->bytes, symbol - 1);
            u->bytes[0] = found;
            u->block[(*n)++] = found;
        }
    }
}

/* Puts into the upper 24 bits of each place where the byte behind it stands. */
static void link_block(uint32_t *block, size_t n)
{
    size_t places[256] = {0};
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        places[block[i] & 0xff]++;
    }
    for (size_t i = 0; i < 256; i++) {
        const size_t count = places[i];
        places[i] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++) {
        block[places[block[i] & 0xff]++] |= (uint32_t)i << 8;
    }
}

static bool put_bytes(unpacker *u, uint8_t byte, size_t n, uint32_t *crc)
{
    bool ok = true;
    for (; n > 0 && ok; n--) {
        *crc = *crc << 8 ^ u->crcs[*crc >> 24 ^ byte];
        ok = kfi_buf_append_byte(u->dst, byte);
    }
    return ok;
}

/* Follows the links and writes out the runs; gives the CRC of what was written. */
static kf_status write_block(unpacker *u, size_t n, size_t origin, uint32_t *crc)
{
    size_t at = u->block[origin] >> 8;
    unsigned n_equal = 0; /* of the last bytes */
    uint8_t last = 0;
    bool ok = true;
    *crc = 0xffffffffu;
    for (size_t i = 0; i < n && ok; i++) {
        const uint8_t byte = (uint8_t)u->block[at];
        at = u->block[at] >> 8;
        if (n_equal == 4) {
            ok = put_bytes(u, last, byte, crc);
            n_equal = 0;
            continue;
        }
        n_equal = n_equal > 0 && byte == last ? n_equal + 1 : 1;
        last = byte;
        ok = put_bytes(u, byte, 1, crc);
    }
    *crc = ~*crc;
    return ok ? KF_OK
              : kfi_fail(u->err, u->dst->n >= u->dst->max ? KF_RANGE : KF_NOMEM, KF_NO_OFFSET,
                         "bzip2: no room for more than %zu bytes", u->dst->n);
}

/* The next four bytes, which may lie across two: no read is longer than 24 bits. */
static uint32_t take_32(unpacker *u)
{
    const uint32_t high = take(u, 16);
    return high << 16 | take(u, 16);
}

static kf_status unpack_block(unpacker *u, uint32_t *crc)
{
    const uint32_t expected = take_32(u);
    const bool randomized = take(u, 1) != 0;
    const size_t origin = take(u, 24);
    size_t n = 0;
    if (randomized) {
        return kfi_fail(u->err, KF_UNSUPPORTED, u->at, "bzip2: a randomized block");
    }
    read_bytes_used(u);
    KFI_TRY(read_selectors(u));
    KFI_TRY(read_tables(u));
    KFI_TRY(read_symbols(u, &n));
    if (origin >= n) {
        return malformed(u, "a block's origin lies behind it");
    }
    link_block(u->block, n);
    KFI_TRY(write_block(u, n, origin, crc));
    return *crc == expected ? KF_OK : malformed(u, "a block has another checksum");
}

static kf_status read_head(unpacker *u)
{
    uint32_t head[4];
    for (size_t i = 0; i < 4; i++) {
        head[i] = take(u, 8);
    }
    if (head[0] != 'B' || head[1] != 'Z' || head[2] != 'h' || head[3] < '1' || head[3] > '9') {
        return malformed(u, "no stream begins here");
    }
    u->capacity = (head[3] - '0') * LEVEL_BYTES;
    return KF_OK;
}

static kf_status unpack_stream(unpacker *u)
{
    uint32_t crc = 0;
    uint32_t all = 0;
    KFI_TRY(read_head(u));
    for (;;) {
        const uint64_t high = take(u, 24);
        const uint64_t magic = high << 24 | take(u, 24);
        if (magic == END_MAGIC) {
            break;
        }
        if (magic != BLOCK_MAGIC) {
            return malformed(u, "neither a block nor the end");
        }
        KFI_TRY(unpack_block(u, &crc));
        all = (all << 1 | all >> 31) ^ crc;
    }
    if (take_32(u) != all || u->at_end) {
        return malformed(u, "the stream has another checksum");
    }
    u->n_held = 0; /* up to a whole byte: never more than 7 bits are held between two reads */
    return KF_OK;
}

kf_status kfi_bzip2_unpack(kfi_buf *dst, const uint8_t *data, size_t n, kf_error *err)
{
    kf_status st = KF_OK;
    const size_t block_bytes = 9 * LEVEL_BYTES * sizeof(uint32_t);
    unpacker *u = kfi_alloc(dst->alloc, sizeof *u);
    uint32_t *block = kfi_alloc(dst->alloc, block_bytes);
    if (u == NULL || block == NULL) {
        st = kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "bzip2: %zu bytes", block_bytes);
        goto done;
    }
    *u = (unpacker){.data = data, .n = n, .dst = dst, .block = block, .err = err};
    make_crcs(u->crcs);
    do {
        st = unpack_stream(u);
    } while (st == KF_OK && u->at < n);
done:
    kfi_free(dst->alloc, block, block_bytes);
    kfi_free(dst->alloc, u, sizeof *u);
    return st;
}
