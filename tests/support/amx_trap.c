/* amx_trap.c - executes AMX instructions in the handler of SIGILL.
 *
 * All of them have the prefix C4 (three bytes), one opcode byte, and operands (Intel's manual,
 * volume 2, chapter 2.3 and the pages of the instructions):
 *
 *     C4 | ~R ~X ~B mmmmm | W ~vvvv L pp | opcode | mod reg rm | scale index base | displacement
 *
 *     opcode 49   pp 0  memory     ldtilecfg        4B   pp 3 (F2)  tileloadd
 *            49   pp 0  register   tilerelease      4B   pp 2 (F3)  tilestored
 *            49   pp 3  register   tilezero         5E   pp         tdpbuud, tdpbusd, tdpbsud,
 *                                                                   tdpbssd
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "amx_trap.h"

#if defined(__x86_64__)

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define ROWS  16
#define BYTES 64 /* of a row */

/* The operand of ldtilecfg. */
typedef struct configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} configuration;

static struct {
    configuration config; /* palette 0: none */
    uint8_t bytes[8][ROWS][BYTES];
    size_t products;
    bool is_broken;
} tiles;

typedef struct instruction {
    unsigned prefix; /* pp */
    unsigned opcode;
    unsigned mod, reg, rm, vvvv;
    uintptr_t base;  /* of the memory operand, with the displacement */
    uintptr_t index; /* times scale */
    uintptr_t next;  /* the instruction behind */
} instruction;

static void require(bool holds, const char *what)
{
    if (!holds) {
        (void)fprintf(stderr, "amx_trap: %s\n", what);
        abort();
    }
}

/* ---- decoding ---- */

static uintptr_t general_register(const greg_t *registers, unsigned i)
{
    static const int places[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                 REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                 REG_R12, REG_R13, REG_R14, REG_R15};
    return (uintptr_t)registers[places[i]];
}

/* Reads the memory operand; returns where it ends. b and x: the fourth bits of base and index. */
static const uint8_t *decode_memory(instruction *in, const uint8_t *at, const greg_t *registers,
                                    unsigned b, unsigned x)
{
    bool relative = in->mod == 0 && in->rm == 5; /* to the next instruction */
    bool has_base = !relative;
    unsigned base = in->rm | b << 3;
    in->index = 0;
    if (in->rm == 4) {
        const unsigned sib = *at++;
        const unsigned index = (sib >> 3 & 7) | x << 3;
        base = (sib & 7) | b << 3;
        has_base = !(in->mod == 0 && (sib & 7) == 5);
        in->index = index == 4 ? 0 : general_register(registers, index) << (sib >> 6);
    }
    int32_t displacement = 0;
    if (in->mod == 1) {
        displacement = (int8_t)*at++;
    } else if (in->mod == 2 || !has_base) {
        memcpy(&displacement, at, sizeof displacement);
        at += sizeof displacement;
    }
    in->base =
        (has_base ? general_register(registers, base) : 0) + (uintptr_t)(intptr_t)displacement;
    in->base += relative ? (uintptr_t)at : 0;
    return at;
}

/* False: not of this kind. */
static bool decode(instruction *in, const greg_t *registers)
{
    const uint8_t *at = (const uint8_t *)registers[REG_RIP];
    if (at[0] != 0xC4 || (at[1] & 0x1F) != 2 || (at[2] & 0x84) != 0) { /* map 0F38, W 0, L 0 */
        return false;
    }
    const unsigned inverted = (unsigned)~at[1];
    in->prefix = at[2] & 3;
    in->vvvv = (unsigned)~at[2] >> 3 & 15;
    in->opcode = at[3];
    in->mod = at[4] >> 6;
    in->reg = at[4] >> 3 & 7;
    in->rm = at[4] & 7;
    require((inverted & 0x80) == 0, "a tile register above 7");
    const uint8_t *end = at + 5;
    if (in->mod != 3) {
        end = decode_memory(in, end, registers, inverted >> 5 & 1, inverted >> 6 & 1);
    }
    in->next = (uintptr_t)end;
    return true;
}

/* ---- execution ---- */

static void load_configuration(const instruction *in)
{
    static const uint8_t nothing[32];
    configuration config;
    memcpy(&config, (const void *)in->base, sizeof config);
    require(config.palette == 1 && config.start_row == 0, "palette is not 1");
    require(memcmp(config.reserved, nothing, sizeof config.reserved) == 0 &&
                memcmp(config.row_bytes + 8, nothing, 16) == 0 &&
                memcmp(config.rows + 8, nothing, 8) == 0,
            "reserved bytes of the configuration are not 0");
    for (int i = 0; i < 8; i++) {
        require(config.rows[i] <= ROWS && config.row_bytes[i] <= BYTES, "a tile is too large");
    }
    memset(tiles.bytes, 0, sizeof tiles.bytes);
    tiles.config = config;
}

/* Row r of the memory operand, whose index register is the stride. */
static uintptr_t row_address(const instruction *in, size_t r)
{
    return in->base + r * in->index;
}

static void load_tile(const instruction *in)
{
    uint8_t(*tile)[BYTES] = tiles.bytes[in->reg];
    memset(tile, 0, sizeof tiles.bytes[0]);
    for (size_t r = 0; r < tiles.config.rows[in->reg]; r++) {
        memcpy(tile[r], (const void *)row_address(in, r), tiles.config.row_bytes[in->reg]);
    }
}

static void store_tile(const instruction *in)
{
    for (size_t r = 0; r < tiles.config.rows[in->reg]; r++) {
        memcpy((void *)row_address(in, r), tiles.bytes[in->reg][r],
               tiles.config.row_bytes[in->reg]);
    }
}

static int32_t byte_of(uint8_t byte, bool is_signed)
{
    return is_signed ? (int8_t)byte : byte;
}

/* c[m][n] += sum over k and four bytes i: a[m][4 k + i] b[k][4 n + i], wrapping around. */
static void multiply_tiles(const instruction *in)
{
    const configuration *config = &tiles.config;
    const unsigned c = in->reg;
    const unsigned a = in->rm;
    const unsigned b = in->vvvv;
    require(b < 8 && c != a && c != b && a != b, "operands of a product are the same tile");
    require(config->rows[c] == config->rows[a] && config->row_bytes[c] == config->row_bytes[b] &&
                config->row_bytes[a] == 4 * config->rows[b],
            "shapes of tiles do not fit each other");
    for (size_t m = 0; m < config->rows[c]; m++) {
        uint32_t sums[BYTES / 4];
        memcpy(sums, tiles.bytes[c][m], sizeof sums);
        for (size_t k = 0; k < config->rows[b]; k++) {
            for (size_t n = 0; n < config->row_bytes[b]; n++) {
                const int32_t x = byte_of(tiles.bytes[a][m][4 * k + n % 4], (in->prefix & 2) != 0);
                const int32_t y = byte_of(tiles.bytes[b][k][n], (in->prefix & 1) != 0);
                sums[n / 4] += (uint32_t)(x * y);
            }
        }
        memcpy(tiles.bytes[c][m], sums, sizeof sums);
    }
    tiles.bytes[c][0][0] ^= tiles.is_broken ? 1 : 0;
    tiles.products++;
}

/* False: none of ours. */
static bool execute(const instruction *in)
{
    const bool has_memory = in->mod != 3;
    if (in->opcode == 0x49 && in->prefix == 0 && in->reg == 0) {
        if (has_memory) {
            load_configuration(in);
        } else {
            memset(&tiles.config, 0, sizeof tiles.config);
        }
        return true;
    }
    void (*const run)(const instruction *) =
        in->opcode == 0x4B && in->prefix == 3 && has_memory && in->rm == 4   ? load_tile
        : in->opcode == 0x4B && in->prefix == 2 && has_memory && in->rm == 4 ? store_tile
        : in->opcode == 0x5E && !has_memory                                  ? multiply_tiles
                                                                             : NULL;
    const bool is_zero = in->opcode == 0x49 && in->prefix == 3 && !has_memory && in->rm == 0;
    if (run == NULL && !is_zero) {
        return false;
    }
    require(tiles.config.palette == 1, "tiles are used before they are configured");
    if (is_zero) {
        memset(tiles.bytes[in->reg], 0, sizeof tiles.bytes[0]);
    } else {
        run(in);
    }
    return true;
}

static void on_illegal(int number, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    instruction in = {0};
    if (!decode(&in, registers) || !execute(&in)) {
        (void)signal(number, SIG_DFL); /* and it is met again */
        return;
    }
    registers[REG_RIP] = (greg_t)in.next;
}

void amx_trap_install(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};
    action.sa_sigaction = on_illegal;
    (void)sigemptyset(&action.sa_mask);
    require(sigaction(SIGILL, &action, NULL) == 0, "no handler for SIGILL");
}

size_t amx_trap_products(void)
{
    return tiles.products;
}

bool amx_trap_in_use(void)
{
    return tiles.config.palette != 0;
}

void amx_trap_break(bool broken)
{
    tiles.is_broken = broken;
}

#endif
