/* The block types of GGUF, against blocks packed here element by element in the order of the
 * specification, and against hashes made by another implementation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/half.h"
#include "base/rng.h"
#include "io/bytes.h"
#include "io/sha256.h"
#include "io/tensor.h"

#define MAX_BLOCK 256

/* A block in the making: codes of the elements, and of scale and minimum for each group. */
typedef struct block {
    uint8_t bytes[256];
    int code[MAX_BLOCK];
    int scale[16];
    int minimum[16];
} block;

static void set_half(block *b, size_t at, float value)
{
    kfi_store_u16(b->bytes + at, kfi_half_from_float(value));
}

static void random_codes(block *b, kfi_rng *rng, int n, int code_max, int scale_max)
{
    memset(b, 0, sizeof *b);
    for (int i = 0; i < n; i++) {
        b->code[i] = (int)kfi_rng_below(rng, (uint64_t)code_max + 1);
    }
    for (int g = 0; g < 16; g++) {
        b->scale[g] = (int)kfi_rng_below(rng, (uint64_t)scale_max + 1);
        b->minimum[g] = (int)kfi_rng_below(rng, (uint64_t)scale_max + 1);
    }
}

static void check_block(const block *b, kfi_dtype dtype, const float *expected)
{
    float dst[MAX_BLOCK];
    const size_t n = kfi_dtype_get(dtype)->block;
    kfi_ggml_decode(dst, dtype, b->bytes, n);
    for (size_t i = 0; i < n; i++) {
        if (dst[i] != expected[i]) {
            fail_msg("%s: element %zu is %g, expected %g", kfi_dtype_get(dtype)->name, i,
                     (double)dst[i], (double)expected[i]);
        }
    }
}

/* Scales here are powers of two and codes small: every expected value is exact. */
static const float d = 0.25F;
static const float m = -1.5F;

static void put_nibbles(uint8_t *qs, const int *code)
{
    for (int j = 0; j < 16; j++) {
        qs[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
    }
}

static void put_fifth_bits(uint8_t *qh, const int *code)
{
    uint32_t high = 0;
    for (int j = 0; j < 16; j++) {
        high |= (uint32_t)(code[j] >> 4) << j;
        high |= (uint32_t)(code[j + 16] >> 4) << (j + 16);
    }
    kfi_store_u32(qh, high);
}

static void decodes_blocks_of_32(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 1);
    for (int round = 0; round < 50; round++) {
        block b;
        float expected[5][32];
        random_codes(&b, &rng, 32, 255, 0);
        for (int i = 0; i < 32; i++) {
            expected[0][i] = d * (float)(b.code[i] % 16 - 8);
            expected[1][i] = d * (float)(b.code[i] % 16) + m;
            expected[2][i] = d * (float)(b.code[i] % 32 - 16);
            expected[3][i] = d * (float)(b.code[i] % 32) + m;
            expected[4][i] = d * (float)(b.code[i] - 128);
            b.bytes[2 + i] = (uint8_t)(b.code[i] - 128);
        }
        set_half(&b, 0, d);
        check_block(&b, KFI_DTYPE_Q8_0, expected[4]);
        for (int i = 0; i < 32; i++) {
            b.code[i] %= 32;
        }
        put_nibbles(b.bytes + 2, b.code);
        check_block(&b, KFI_DTYPE_Q4_0, expected[0]);
        put_fifth_bits(b.bytes + 2, b.code);
        put_nibbles(b.bytes + 6, b.code);
        check_block(&b, KFI_DTYPE_Q5_0, expected[2]);
        set_half(&b, 2, m);
        put_nibbles(b.bytes + 4, b.code);
        check_block(&b, KFI_DTYPE_Q4_1, expected[1]);
        put_fifth_bits(b.bytes + 4, b.code);
        put_nibbles(b.bytes + 8, b.code);
        check_block(&b, KFI_DTYPE_Q5_1, expected[3]);
    }
}

/* The order in which Q2_K, Q3_K (and the high bits of Q6_K) walk a block: half, shift, byte. */
static void put_two_bits(uint8_t *qs, const int *code, int drop)
{
    int i = 0;
    for (int half = 0; half < 2; half++) {
        for (int shift = 0; shift < 8; shift += 2) {
            for (int l = 0; l < 32; l++) {
                qs[32 * half + l] |= (uint8_t)((code[i++] >> drop & 3) << shift);
            }
        }
    }
}

static void decodes_q2_k(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 2);
    for (int round = 0; round < 50; round++) {
        block b;
        float expected[MAX_BLOCK];
        random_codes(&b, &rng, 256, 3, 15);
        set_half(&b, 80, d);
        set_half(&b, 82, -m);
        for (int g = 0; g < 16; g++) {
            b.bytes[g] = (uint8_t)(b.scale[g] | b.minimum[g] << 4);
        }
        put_two_bits(b.bytes + 16, b.code, 0);
        for (int i = 0; i < 256; i++) {
            expected[i] = d * (float)(b.scale[i / 16] * b.code[i]) + m * (float)b.minimum[i / 16];
        }
        check_block(&b, KFI_DTYPE_Q2_K, expected);
    }
}

/* The specification packs 16 six-bit scales into three words: two of nibbles, one of pairs. */
static void put_q3_scales(uint8_t *packed, const int *scale)
{
    for (int j = 0; j < 16; j++) {
        if (j < 8) {
            packed[j] |= (uint8_t)(scale[j] & 15);
        } else {
            packed[j - 8] |= (uint8_t)((scale[j] & 15) << 4);
        }
        packed[j % 4 + 8] |= (uint8_t)((scale[j] >> 4) << (2 * (j / 4)));
    }
}

static void decodes_q3_k(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 3);
    for (int round = 0; round < 50; round++) {
        block b;
        float expected[MAX_BLOCK];
        random_codes(&b, &rng, 256, 7, 63);
        set_half(&b, 108, d);
        put_q3_scales(b.bytes + 96, b.scale);
        put_two_bits(b.bytes + 32, b.code, 0);
        for (int i = 0, bit = 0; bit < 8; bit++) {
            for (int l = 0; l < 32; l++, i++) {
                b.bytes[l] |= (uint8_t)((b.code[i] >> 2) << bit);
            }
        }
        for (int i = 0; i < 256; i++) {
            expected[i] = d * (float)((b.scale[i / 16] - 32) * (b.code[i] - 4));
        }
        check_block(&b, KFI_DTYPE_Q3_K, expected);
    }
}

/* Eight six-bit scales and minima in twelve bytes. */
static void put_q4_scales(uint8_t *packed, const int *scale, const int *minimum)
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scale[j] | (scale[j + 4] >> 4) << 6);
        packed[j + 4] = (uint8_t)(minimum[j] | (minimum[j + 4] >> 4) << 6);
        packed[j + 8] = (uint8_t)((scale[j + 4] & 15) | (minimum[j + 4] & 15) << 4);
    }
}

static void put_q4_codes(uint8_t *qs, const int *code)
{
    for (int chunk = 0; chunk < 4; chunk++) {
        for (int l = 0; l < 32; l++) {
            qs[32 * chunk + l] =
                (uint8_t)((code[64 * chunk + l] & 15) | (code[64 * chunk + 32 + l] & 15) << 4);
        }
    }
}

static void decodes_q4_k_and_q5_k(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 4);
    for (int round = 0; round < 50; round++) {
        block b;
        float expected[MAX_BLOCK];
        const bool is_q5 = round % 2 == 1;
        random_codes(&b, &rng, 256, is_q5 ? 31 : 15, 63);
        set_half(&b, 0, d);
        set_half(&b, 2, -m);
        put_q4_scales(b.bytes + 4, b.scale, b.minimum);
        put_q4_codes(b.bytes + (is_q5 ? 48 : 16), b.code);
        for (int i = 0; is_q5 && i < 256; i++) {
            b.bytes[16 + i % 32] |= (uint8_t)((b.code[i] >> 4) << (i / 32));
        }
        for (int i = 0; i < 256; i++) {
            expected[i] = d * (float)(b.scale[i / 32] * b.code[i]) + m * (float)b.minimum[i / 32];
        }
        check_block(&b, is_q5 ? KFI_DTYPE_Q5_K : KFI_DTYPE_Q4_K, expected);
    }
}

static void decodes_q6_k(void **state)
{
    (void)state;
    kfi_rng rng;
    kfi_rng_init(&rng, 5);
    for (int round = 0; round < 50; round++) {
        block b;
        float expected[MAX_BLOCK];
        random_codes(&b, &rng, 256, 63, 255);
        set_half(&b, 208, d);
        for (int g = 0; g < 16; g++) {
            b.bytes[192 + g] = (uint8_t)(b.scale[g] - 128);
        }
        for (int half = 0; half < 2; half++) {
            const int *code = b.code + 128 * half;
            for (int l = 0; l < 32; l++) {
                b.bytes[64 * half + l] = (uint8_t)((code[l] & 15) | (code[l + 64] & 15) << 4);
                b.bytes[64 * half + l + 32] =
                    (uint8_t)((code[l + 32] & 15) | (code[l + 96] & 15) << 4);
            }
        }
        put_two_bits(b.bytes + 128, b.code, 4);
        for (int i = 0; i < 256; i++) {
            expected[i] = d * (float)((b.scale[i / 16] - 128) * (b.code[i] - 32));
        }
        check_block(&b, KFI_DTYPE_Q6_K, expected);
    }
}

/* The blocks of tools/oracle/ggml_blocks.py. */
static void make_blocks(uint8_t *data, const kfi_dtype_info *info, size_t n_blocks,
                        const int *halves)
{
    static const uint8_t half_bytes[2][2] = {{0x55, 0x35}, {0x23, 0xB1}};
    uint64_t lcg = 1;
    for (size_t i = 0; i < n_blocks * info->block_bytes; i++) {
        lcg = lcg * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        data[i] = (uint8_t)(lcg >> 56);
    }
    for (size_t i = 0; i < n_blocks; i++) {
        for (int k = 0; k < 2 && halves[k] >= 0; k++) {
            memcpy(data + i * info->block_bytes + halves[k], half_bytes[k], 2);
        }
    }
}

static void equals_the_reference_bit_for_bit(void **state)
{
    (void)state;
    enum {
        N_BLOCKS = 64
    };
    static const struct {
        kfi_dtype dtype;
        int halves[2];
    } types[] = {
        {KFI_DTYPE_Q4_0, {0, -1}},   {KFI_DTYPE_Q4_1, {0, 2}},  {KFI_DTYPE_Q5_0, {0, -1}},
        {KFI_DTYPE_Q5_1, {0, 2}},    {KFI_DTYPE_Q8_0, {0, -1}}, {KFI_DTYPE_Q2_K, {80, 82}},
        {KFI_DTYPE_Q3_K, {108, -1}}, {KFI_DTYPE_Q4_K, {0, 2}},  {KFI_DTYPE_Q5_K, {0, 2}},
        {KFI_DTYPE_Q6_K, {208, -1}},
    };
    char path[4096];
    kf_error err = {0};
    kfi_buf golden;
    kfi_buf_init(&golden, NULL, 1 << 20);
    (void)snprintf(path, sizeof path, "%s/tests/golden/ggml_blocks.exp",
                   getenv("KERF_SOURCE_ROOT"));
    CHECK_OK(kfi_file_read(&golden, path, &err), &err);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        static uint8_t data[N_BLOCKS * 210];
        static float values[N_BLOCKS * 256];
        char hex[KFI_SHA256_HEX];
        char line[KFI_SHA256_HEX + 16];
        const kfi_dtype_info *info = kfi_dtype_get(types[i].dtype);
        make_blocks(data, info, N_BLOCKS, types[i].halves);
        kfi_ggml_decode(values, types[i].dtype, data, N_BLOCKS * info->block);
        CHECK_OK(kfi_sha256_bytes(hex, values, N_BLOCKS * info->block * sizeof *values, &err),
                 &err);
        (void)snprintf(line, sizeof line, "\n%s %s\n", info->name, hex);
        if (strstr(golden.data, line) == NULL) {
            fail_msg("%s: the hash is %s", info->name, hex);
        }
    }
    kfi_buf_deinit(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_blocks_of_32), cmocka_unit_test(decodes_q2_k),
        cmocka_unit_test(decodes_q3_k),         cmocka_unit_test(decodes_q4_k_and_q5_k),
        cmocka_unit_test(decodes_q6_k),         cmocka_unit_test(equals_the_reference_bit_for_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
