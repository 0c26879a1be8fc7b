/* lock.h - a lock that one thread holds at a time.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_LOCK_H
#define KFI_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

typedef pthread_mutex_t kfi_lock;

/* False without memory. */
static inline bool kfi_lock_init(kfi_lock *lock)
{
    return pthread_mutex_init(lock, NULL) == 0;
}

static inline void kfi_lock_deinit(kfi_lock *lock)
{
    (void)pthread_mutex_destroy(lock);
}

/* These two fail only for a lock that was not initialised. */
static inline void kfi_lock_take(kfi_lock *lock)
{
    (void)pthread_mutex_lock(lock);
}

static inline void kfi_lock_release(kfi_lock *lock)
{
    (void)pthread_mutex_unlock(lock);
}

#endif /* KFI_BASE_LOCK_H */
