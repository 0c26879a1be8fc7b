/* amx_trap.h - AMX on processors without it: its instructions are executed one trap each.
 *
 * What runs is the object code that ships, whatever compiler made it, so that operands, addresses,
 * strides and the configuration are checked as a processor reads them. About a microsecond each.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TEST_AMX_TRAP_H
#define KERF_TEST_AMX_TRAP_H

#include <stdbool.h>
#include <stddef.h>

/* From here on the instructions of AMX-TILE and AMX-INT8 that the processor refuses are executed as
 * Intel's manual defines them, for one thread. One that hardware would fault at, since tiles are
 * not configured or do not fit each other, ends the program with a line that says so. */
void amx_trap_install(void);

/* Products of tiles that were executed so far: 0 where the processor has AMX. */
size_t amx_trap_products(void);

/* Whether tiles are configured now, and so keep state. */
bool amx_trap_in_use(void);

/* From here on a sum of every product of tiles is off by one, as of a broken processor. */
void amx_trap_break(bool broken);

#endif /* KERF_TEST_AMX_TRAP_H */
