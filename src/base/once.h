/* once.h - what is done once a process, by whoever comes first; the others wait.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_BASE_ONCE_H
#define KFI_BASE_ONCE_H

#include <pthread.h>

typedef pthread_once_t kfi_once;
#define KFI_ONCE_INIT PTHREAD_ONCE_INIT

static inline void kfi_once_run(kfi_once *once, void (*work)(void))
{
    (void)pthread_once(once, work); /* fails only for a once that was not initialised */
}

#endif /* KFI_BASE_ONCE_H */
