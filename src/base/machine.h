/* machine.h - what this process may use, read from a tree that looks like /.
 *
 * The public functions of kerf/pool.h read the real one; tests give a directory with files of their
 * own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_MACHINE_H
#define KFI_BASE_MACHINE_H

#include <stdint.h>

/* CPUs by quota of the control groups (v2 cpu.max, v1 cpu.cfs_quota_us), this one's and all above
 * it, rounded up; UINT64_MAX without a quota. root "" is the real system. */
uint64_t kfi_machine_cpu_quota(const char *root);

/* The least of MemAvailable and what each control group leaves: limit - usage + the file pages that
 * can be dropped (inactive_file). UINT64_MAX when nothing is known. */
uint64_t kfi_machine_memory_available(const char *root);

#endif /* KFI_BASE_MACHINE_H */
