/* meter.c - counting what is allocated.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/meter.h"

void kfi_meter_count(kfi_meter *meter, size_t bytes)
{
    const size_t now = atomic_fetch_add(&meter->now, bytes) + bytes;
    size_t peak = atomic_load(&meter->peak);
    while (now > peak && !atomic_compare_exchange_weak(&meter->peak, &peak, now)) {
    }
}

void kfi_meter_uncount(kfi_meter *meter, size_t bytes)
{
    atomic_fetch_sub(&meter->now, bytes);
}

static void *meter_alloc(void *ctx, size_t align, size_t size)
{
    kfi_meter *meter = ctx;
    void *ptr = align <= KFI_ALIGN ? kfi_alloc(meter->inner, size) : NULL;
    if (ptr != NULL) {
        kfi_meter_count(meter, size);
    }
    return ptr;
}

static void meter_free(void *ctx, void *ptr, size_t size)
{
    kfi_meter *meter = ctx;
    kfi_meter_uncount(meter, size);
    kfi_free(meter->inner, ptr, size);
}

void kfi_meter_init(kfi_meter *meter, const kf_allocator *inner)
{
    meter->allocator = (kf_allocator){meter_alloc, meter_free, meter};
    meter->inner = inner;
    atomic_init(&meter->now, 0);
    atomic_init(&meter->peak, 0);
}
