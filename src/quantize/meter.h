/* meter.h - an allocator that measures how much of another one is in use, and what is told to it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_QUANTIZE_METER_H
#define KFI_QUANTIZE_METER_H

#include <stdatomic.h>

#include "base/alloc.h"

typedef struct kfi_meter {
    kf_allocator allocator; /* what to use */
    const kf_allocator *inner;
    atomic_size_t now, peak; /* bytes */
} kfi_meter;

/* inner may be NULL. The meter must outlive what is allocated through it. */
void kfi_meter_init(kfi_meter *meter, const kf_allocator *inner);
/* Counts memory that somebody else allocates for the work, until it is taken back. */
void kfi_meter_count(kfi_meter *meter, size_t bytes);
void kfi_meter_uncount(kfi_meter *meter, size_t bytes);

#endif /* KFI_QUANTIZE_METER_H */
