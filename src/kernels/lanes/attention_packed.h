/* attention_packed.h - attention over packed keys and values; the steps of
 * attention_packed_inline.h.
 *
 * Scores and sums of values are the same loop, over chunks as packed_kv.h draws them: a lane of 4
 * bytes is a token (keys) or a column (values), its bytes are four columns or four tokens, or with
 * 4 bits eight. A mask and shifts make pairs of 16-bit numbers of them, and a row's integers are
 * broadcast to all lanes:
 *
 *     line of 8 bits     q0 q1 q2 q3  |  …           16 lanes
 *     line & 0x00FF      q0    q2     |  …    times  a0 a2     one instruction: 2 products a lane
 *     line >> 8             q1    q3  |  …    times  a1 a3
 *
 * So 64 codes cost 2 loads a row and 2 multiplications, beside a load, an and and a shift for all
 * rows. Sums start at minus the zero times the sum of the row's integers. A tile is `rows` rows and
 * some registers of lanes; fewer rows take more registers, so that enough sums are under way.
 *
 * Codes of other bits, and those that are looked up, are first made 8-bit ones in memory, where 256
 * tokens stay in the first or second cache: some 3 operations more for 64 codes, for all rows.
 *
 * A row that sees fewer keys than others gets weights of zero behind its last.
 *
 * Included once by each attention_packed_VARIANT.c, after their lanes, VARIANT, and
 *
 *     dot_pairs(sum, codes, x)   adds the products of the 16-bit pairs to a register of sums
 *     units_of(rows)             registers of lanes in a tile
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <math.h>

#include "base/round.h"
#include "kernels/attention_packed_inline.h"
#include "kernels/kernels_list.h"
#include "kernels/lanes/merge.h"
#include "kernels/lanes/names.h"
#include "kernels/lanes/unpack.h"

#define UNIT_LANES    (16 / LINE_PARTS)
#define UNITS_MOST    4
#define N_LINE(bits)  (32 / (bits)) /* codes of a lane in a line */
#define N_PAIRS(bits) (16 / (bits)) /* pairs of them */

/* ---- integer sums ---- */

typedef int32_t int_word __attribute__((aligned(4), may_alias));

/* What a pointer into the first row is in row r. */
INLINE void *of_row(const void *first, int r)
{
    return (char *)(uintptr_t)first + (size_t)r * sizeof(kfi_packed_row);
}

/* What a tile multiplies: for each row `dst[lane] = sum x (code - zero)`. Rows are one
 * kfi_packed_row apart. */
typedef struct product {
    int32_t *dst;         /* of the first row */
    const int16_t *x;     /* of the first row */
    const int32_t *sum_x; /* of the first row */
    const uint8_t *codes;
    int32_t zero;
    size_t panel_chunks; /* chunks from 16 lanes to the next 16 */
    size_t next_chunk;   /* chunks from 32 codes to the next 32 of the same lanes */
    size_t n_chunks;     /* of 32 codes */
} product;

/* Pair i of every lane. The pairs of a row's integers stand in the order of quads, each even
 * before odd; for 4 bits a quad is a nibble: shifts 0 and 8 are the first quad's. */
INLINE bytes pairs_of(bytes line, const int bits, const int i)
{
    const bytes mask = bytes_set1_int(bits == 8 ? 0x00FF00FF : 0x000F000F);
    const int shift = bits == 8 ? 8 * i : 8 * (i % 2) + 4 * (i / 2);
    const bytes moved = (bytes)((words)line >> shift);
    return shift + bits == 16 ? moved : bytes_and(moved, mask);
}

/* Where register u of lanes begins in a line. */
INLINE const uint8_t *unit_codes(const product *p, size_t unit, const int bits)
{
    return p->codes + unit / LINE_PARTS * p->panel_chunks * (size_t)bits * KFI_LINE_BYTES +
           unit % LINE_PARTS * sizeof(bytes);
}

/* One line of each register of lanes for all rows. */
INLINE void dot_line(bytes sum[KFI_PACKED_ROWS][UNITS_MOST], const uint8_t *const *codes,
                     size_t place, const int16_t *x, const int bits, const int rows,
                     const int n_units)
{
    bytes line[UNITS_MOST];
    UNROLL
    for (int u = 0; u < n_units; u++) {
        line[u] = bytes_load(codes[u] + place);
    }
    UNROLL
    for (int i = 0; i < N_PAIRS(bits); i++) {
        bytes pairs[UNITS_MOST];
        UNROLL
        for (int u = 0; u < n_units; u++) {
            pairs[u] = pairs_of(line[u], bits, i);
        }
        UNROLL
        for (int r = 0; r < rows; r++) {
            const bytes all = bytes_set1_int(*(const int_word *)of_row(x + 2 * i, r));
            UNROLL
            for (int u = 0; u < n_units; u++) {
                sum[r][u] = dot_pairs(sum[r][u], pairs[u], all);
            }
        }
    }
}

/* Registers unit … unit + n_units - 1 of lanes for all rows; bits, rows and n_units are constants.
 */
INLINE void dot_tile(const product *p, size_t unit, const int bits, const int rows,
                     const int n_units)
{
    bytes sum[KFI_PACKED_ROWS][UNITS_MOST];
    const uint8_t *codes[UNITS_MOST];
    const int16_t *x = p->x;
    UNROLL
    for (int u = 0; u < n_units; u++) {
        codes[u] = unit_codes(p, unit + (size_t)u, bits);
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        const int32_t sum_x = *(const int32_t *)of_row(p->sum_x, r);
        UNROLL
        for (int u = 0; u < n_units; u++) {
            sum[r][u] = bytes_set1_int(-p->zero * sum_x);
        }
    }
    for (size_t c = 0; c < p->n_chunks; c++) {
        const size_t chunk = c * p->next_chunk * (size_t)bits * KFI_LINE_BYTES;
        for (int l = 0; l < bits; l++, x += N_LINE(bits)) {
            dot_line(sum, codes, chunk + (size_t)l * KFI_LINE_BYTES, x, bits, rows, n_units);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        int32_t *dst = (int32_t *)of_row(p->dst, r) + unit * UNIT_LANES;
        UNROLL
        for (int u = 0; u < n_units; u++) {
            bytes_store(dst + u * UNIT_LANES, sum[r][u]);
        }
    }
}

INLINE void dot_rows(const product *p, size_t n_lanes, const int bits, const int rows)
{
    const size_t n_units = n_lanes / UNIT_LANES;
    size_t unit = 0;
    for (; unit + (size_t)units_of(rows) <= n_units; unit += (size_t)units_of(rows)) {
        dot_tile(p, unit, bits, rows, units_of(rows));
    }
    for (; unit < n_units; unit++) {
        dot_tile(p, unit, bits, rows, 1);
    }
}

INLINE void dot_bits(const product *p, size_t n_lanes, const int bits, size_t rows)
{
    switch (rows) {
    case 1:
        dot_rows(p, n_lanes, bits, 1);
        break;
    case 2:
        dot_rows(p, n_lanes, bits, 2);
        break;
    case 3:
        dot_rows(p, n_lanes, bits, 3);
        break;
    case 4:
        dot_rows(p, n_lanes, bits, 4);
        break;
    default:
        dot_rows(p, n_lanes, bits, KFI_PACKED_ROWS);
        break;
    }
}

/* For n_lanes lanes, a multiple of 16; bits 8 or 4. */
static void dot(const product *p, size_t n_lanes, unsigned bits, size_t rows)
{
    if (bits == 8) {
        dot_bits(p, n_lanes, 8, rows);
    } else {
        dot_bits(p, n_lanes, 4, rows);
    }
}

/* ---- codes as they are multiplied ---- */

typedef struct operand {
    const uint8_t *codes;
    unsigned bits; /* 8 or 4 */
    int32_t zero;
} operand;

/* Chunks one after the other as codes of 8 bits; kind is a constant. */
INLINE void expand_kind(const int kind, uint8_t *dst, const kfi_kv_codes *c, size_t n_chunks)
{
    const bytes operands = operands_of(kind, c->table);
    const uint8_t *chunk = c->codes;
    for (size_t i = 0; i < n_chunks;
         i++, chunk += chunk_bytes_of(kind), dst += 8 * KFI_LINE_BYTES) {
        for (size_t part = 0; part < KFI_LINE_BYTES; part += sizeof(bytes)) {
            bytes q[8];
            unpack_chunk(q, chunk + part, kind, operands);
            UNROLL
            for (int quad = 0; quad < 8; quad++) {
                bytes_store(dst + (size_t)quad * KFI_LINE_BYTES + part, q[quad]);
            }
        }
    }
}

/* What is multiplied in place of codes: themselves, or what they are made in `room`. */
static operand operand_of(const kfi_kv_codes *c, size_t n_chunks, uint8_t *room)
{
    const bool is_looked_up = c->table != NULL;
    const int32_t zero = is_looked_up ? KFI_TABLE_ZERO : 1 << (c->bits - 1);
    if (!is_looked_up && c->bits % 4 == 0) {
        return (operand){c->codes, c->bits, zero};
    }
    FOR_KINDS((int)c->bits + (is_looked_up ? LOOKED_UP : 0), expand_kind, room, c, n_chunks)
    return (operand){room, 8, zero};
}

/* ---- rows ---- */

/* Rounds 16 numbers; returns them as integers. */
INLINE ilanes round_lanes(int16_t *dst, lanes x, lanes inverse)
{
    const lanes sum = lanes_add(lanes_mul(x, inverse), lanes_set1(KFI_ROUND_MAGIC));
    const ilanes whole = ilanes_sub(lanes_bits(sum), lanes_bits(lanes_set1(KFI_ROUND_MAGIC)));
    ilanes_store_pairs(dst, whole);
    return whole;
}

static void take_query(kfi_packed_row *row, const float *q, size_t head_dim, float scale)
{
    lanes max = lanes_zero();
    ilanes sum = ilanes_set1(0);
    float inverse = 0.0f;
    for (size_t i = 0; i < head_dim; i += KFI_LANES) {
        max = lanes_max(lanes_abs(lanes_load_n(q + i, head_dim - i)), max);
    }
    row->query_scale = kfi_packed_step(lanes_greatest(max), &inverse) * scale;
    for (size_t i = 0; i < head_dim; i += KFI_LANES) {
        const lanes x = lanes_load_n(q + i, head_dim - i);
        sum = ilanes_add(sum, round_lanes(row->query + i, x, lanes_set1(inverse)));
    }
    for (size_t i = (head_dim + 15) / 16 * 16; i < kfi_packed_kv_cols(head_dim); i += KFI_LANES) {
        ilanes_store_pairs(row->query + i, ilanes_set1(0));
    }
    row->query_sum = ilanes_sum(sum);
}

/* ---- what keys share ---- */

#define COMMON_ROWS   4
#define COMMON_PANELS (LINE_PARTS == 1 ? 4 : 1)

static void turn_weights(kfi_packed_row *row, const float *weights, const float *turns, size_t dim)
{
    const size_t half = dim / 2;
    for (size_t i = 0; i < half; i += KFI_LANES) {
        const size_t n = half - i;
        const lanes a = lanes_load_n(weights + i, n);
        const lanes b = lanes_load_n(weights + half + i, n);
        const lanes c = lanes_load_n(turns + i, n);
        const lanes s = lanes_load_n(turns + half + i, n);
        lanes_store_n(row->turned + i, lanes_fma(a, c, lanes_negate(lanes_mul(b, s))), n);
        lanes_store_n(row->turned + half + i, lanes_fma(b, c, lanes_mul(a, s)), n);
    }
}

/* Scores of n_panels panels of tokens from token `first` of the chunk on, for `rows` rows, both
 * constants. */
INLINE void score_common(kfi_packed_row *row, const kfi_attention_args *a, size_t first,
                         const int rows, const int n_panels)
{
    const size_t panel_floats = a->head_dim * KFI_PANEL_ROWS;
    const float *turns = a->common.token_turns + first * a->head_dim;
    lanes sum[COMMON_ROWS][COMMON_PANELS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            sum[r][p] = lanes_zero();
        }
    }
    for (size_t d = 0; d < a->head_dim; d++) {
        lanes t[COMMON_PANELS];
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            t[p] = lanes_load(turns + (size_t)p * panel_floats + d * KFI_PANEL_ROWS);
        }
        UNROLL
        for (int r = 0; r < rows; r++) {
            const lanes w = lanes_set1(row[r].turned[d]);
            UNROLL
            for (int p = 0; p < n_panels; p++) {
                sum[r][p] = lanes_fma(w, t[p], sum[r][p]);
            }
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            lanes_store(row[r].common + first + (size_t)p * KFI_PANEL_ROWS,
                        lanes_mul(sum[r][p], lanes_set1(a->scale)));
        }
    }
}

/* Of the first n tokens of a chunk, for `rows` rows, a constant. */
INLINE void score_common_rows(kfi_packed_row *row, const kfi_attention_args *a, size_t n,
                              const int rows)
{
    size_t i = 0;
    for (; i + (COMMON_PANELS - 1) * KFI_PANEL_ROWS < n; i += COMMON_PANELS * KFI_PANEL_ROWS) {
        score_common(row, a, i, rows, COMMON_PANELS);
    }
    for (; i < n; i += KFI_PANEL_ROWS) {
        score_common(row, a, i, rows, 1);
    }
}

/* ---- weights of values ---- */

/* Below, a row's n keys are taken in whole registers, for which the masks of first lanes fold away,
 * and a last one in part. */

/* Scores out of the sums of 16 keys, of which the first n count; the greatest of each lane. */
INLINE lanes take_scores(kfi_packed_row *row, const uint16_t *scales, size_t i, size_t n, lanes max,
                         bool has_common)
{
    const lanes sums = lanes_of_int(ilanes_load(row->keys.sums + i));
    const lanes step = lanes_mul(lanes_set1(row->query_scale), lanes_of_halves(scales + i));
    lanes s = lanes_mul(sums, step);
    if (has_common) {
        s = lanes_add(s, lanes_load(row->common + i));
    }
    lanes_store(row->keys.scores + i, s);
    return lanes_max(lanes_first(s, max, n), max);
}

/* Weights of values out of 16 scores, likewise; the sum and the heaviest of each lane. */
INLINE void take_weights(float *p, const uint16_t *scales, size_t n, float max, lanes *sum,
                         lanes *heaviest)
{
    const lanes e = lanes_exp(lanes_sub(lanes_load(p), lanes_set1(max)));
    const lanes weights = lanes_first(lanes_mul(e, lanes_of_halves(scales)), lanes_zero(), n);
    *sum = lanes_add(*sum, lanes_first(e, lanes_zero(), n));
    *heaviest = lanes_max(weights, *heaviest);
    lanes_store(p, weights);
}

/* Integer weights of the n keys that a row sees of the chunk, zero up to n_all. */
static kfi_attention_state soften(kfi_packed_row *row, const kfi_packed_kv *kv, size_t n,
                                  size_t n_all, bool has_common)
{
    float *const p = row->keys.scores;
    const size_t n_whole = n / KFI_LANES * KFI_LANES;
    lanes greatest = lanes_set1(-INFINITY);
    lanes heaviest = lanes_zero();
    lanes weight = lanes_zero();
    float inverse = 0.0f;
    for (size_t i = 0; i < n_whole; i += KFI_LANES) {
        greatest = take_scores(row, kv->keys.scales, i, KFI_LANES, greatest, has_common);
    }
    if (n_whole < n) {
        greatest = take_scores(row, kv->keys.scales, n_whole, n - n_whole, greatest, has_common);
    }
    const float max = lanes_greatest(greatest);
    for (size_t i = 0; i < n_whole; i += KFI_LANES) {
        take_weights(p + i, kv->values.scales + i, KFI_LANES, max, &weight, &heaviest);
    }
    if (n_whole < n) {
        take_weights(p + n_whole, kv->values.scales + n_whole, n - n_whole, max, &weight,
                     &heaviest);
    }
    row->weight_scale = kfi_packed_step(lanes_greatest(heaviest), &inverse);
    ilanes sum = ilanes_set1(0);
    for (size_t i = 0; i < n; i += KFI_LANES) {
        sum =
            ilanes_add(sum, round_lanes(row->weights + i, lanes_load(p + i), lanes_set1(inverse)));
    }
    for (size_t i = (n + 15) / 16 * 16; i < n_all; i += KFI_LANES) {
        ilanes_store_pairs(row->weights + i, ilanes_set1(0));
    }
    row->weight_sum = ilanes_sum(sum);
    return (kfi_attention_state){max, lanes_sum(weight)};
}

/* Results of a chunk out of the sums. */
INLINE void take_results(kfi_packed_row *row, size_t cols)
{
    const lanes scale = lanes_set1(row->weight_scale);
    for (size_t i = 0; i < cols; i += KFI_LANES) {
        const lanes sums = lanes_of_int(ilanes_load(row->values.sums + i));
        lanes_store(row->values.results + i, lanes_mul(sums, scale));
    }
}

/* ---- blocks of rows ---- */

/* The rows of a block, and how many are worked on: where these are more, the last one stands in. */
typedef struct row_block {
    const kfi_attention_args *args;
    kfi_packed_row *rows;
    uint8_t *room; /* of a chunk of keys or values in 8 bits */
    float *dst[KFI_PACKED_ROWS];
    const float *weights[KFI_PACKED_ROWS]; /* of the common key, where there is one */
    size_t n_visible[KFI_PACKED_ROWS];     /* keys a row sees, not descending */
    size_t n_rows, n_worked;
} row_block;

/* The common key's scores of n tokens of the chunk at `begin`, for all rows. */
static void add_common(const row_block *b, size_t begin, size_t n)
{
    const kfi_attention_args *a = b->args;
    const float *turns = a->common.chunk_turns + begin / KFI_ATTENTION_CHUNK * a->head_dim;
    size_t r = 0;
    for (size_t i = 0; i < b->n_worked; i++) {
        turn_weights(&b->rows[i], b->weights[i], turns, a->head_dim);
    }
    for (; r + COMMON_ROWS <= b->n_worked; r += COMMON_ROWS) {
        score_common_rows(&b->rows[r], a, n, COMMON_ROWS);
    }
    for (; r < b->n_worked; r++) {
        score_common_rows(&b->rows[r], a, n, 1);
    }
}

static void attend_chunk(const row_block *b, size_t begin)
{
    const size_t dim = b->args->head_dim;
    const kfi_packed_kv kv = kfi_packed_kv_from(&b->args->kv, begin);
    const size_t most = least(b->n_visible[b->n_worked - 1] - begin, KFI_ATTENTION_CHUNK);
    const size_t n_tokens = (most + KFI_KV_BLOCK - 1) / KFI_KV_BLOCK * KFI_KV_BLOCK;
    const size_t n_chunks = n_tokens * kv.cols / (KFI_PANEL_ROWS * KFI_CHUNK_COLS);
    kfi_packed_row *const rows = b->rows;
    kfi_attention_state more[KFI_PACKED_ROWS];
    const operand keys = operand_of(&kv.keys, n_chunks, b->room);
    const product scores = {.dst = rows->keys.sums,
                            .x = rows->query,
                            .sum_x = &rows->query_sum,
                            .codes = keys.codes,
                            .zero = keys.zero,
                            .panel_chunks = kv.cols / KFI_CHUNK_COLS,
                            .next_chunk = 1,
                            .n_chunks = kv.cols / KFI_CHUNK_COLS};
    dot(&scores, n_tokens, keys.bits, b->n_worked);
    const bool has_common = b->args->common.weights != NULL;
    if (has_common) {
        add_common(b, begin, most);
    }
    for (size_t r = 0; r < b->n_worked; r++) {
        const size_t n = b->n_visible[r] > begin ? least(b->n_visible[r] - begin, most) : 0;
        more[r] = soften(&rows[r], &kv, n, n_tokens, has_common);
    }
    const operand values = operand_of(&kv.values, n_chunks, b->room);
    const product sums = {.dst = rows->values.sums,
                          .x = rows->weights,
                          .sum_x = &rows->weight_sum,
                          .codes = values.codes,
                          .zero = values.zero,
                          .panel_chunks = 1,
                          .next_chunk = kv.cols / KFI_PANEL_ROWS,
                          .n_chunks = n_tokens / KFI_CHUNK_COLS};
    dot(&sums, kv.cols, values.bits, b->n_worked);
    for (size_t r = 0; r < b->n_rows; r++) {
        if (b->n_visible[r] > begin) {
            take_results(&rows[r], kv.cols);
            merge(b->dst[r], &rows[r].state, rows[r].values.results, more[r],
                  begin == 0 && !b->args->continues, dim);
        }
    }
}

static row_block block_make(const kfi_attention_args *a, size_t first)
{
    const size_t n_rows = least(a->n_tokens * a->n_heads - first, KFI_PACKED_ROWS);
    row_block b = {.args = a,
                   .rows = a->scratch,
                   .room = kfi_packed_room(a->scratch),
                   .n_rows = n_rows,
                   .n_worked = n_rows <= 4 ? n_rows : KFI_PACKED_ROWS};
    for (size_t r = 0; r < b.n_worked; r++) {
        const size_t row = first + least(r, n_rows - 1);
        take_query(&b.rows[r], kfi_attention_query(a, row), a->head_dim, a->scale);
        b.dst[r] = kfi_attention_result(a, row);
        b.weights[r] = a->common.weights != NULL ? kfi_common_weights(a, row) : NULL;
        b.n_visible[r] = kfi_attention_visible(a, row);
        if (a->continues) {
            b.rows[r].state = a->state[row];
        }
    }
    return b;
}

void KERNEL_NAME(attention_packed)(const kfi_attention_args *a)
{
    assert(a->head_dim <= KFI_PACKED_HEAD_DIM_MOST);
    for (size_t first = 0; first < a->n_tokens * a->n_heads; first += KFI_PACKED_ROWS) {
        const row_block b = block_make(a, first);
        for (size_t begin = 0; begin < b.n_visible[b.n_worked - 1]; begin += KFI_ATTENTION_CHUNK) {
            attend_chunk(&b, begin);
        }
        for (size_t r = 0; r < b.n_rows; r++) {
            if (a->state != NULL) {
                a->state[first + r] = b.rows[r].state;
            } else {
                divide(b.dst[r], b.rows[r].state.sum, a->head_dim);
            }
        }
    }
}
