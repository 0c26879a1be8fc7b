/* threads.c - a pool whose hand-over costs about a microsecond.
 *
 * Decoding a token is some two hundred pieces of parallel work of 5 to 50 microseconds each, so the
 * pool has no queue, no lock and no allocation on that road, only two counters:
 *
 *     n_open    items not yet handed out; whoever lowers it from r > 0 owns item n_items - r
 *     n_done    items finished; the caller returns at n_done == n_items
 *
 *     caller                                  worker
 *     task, ctx, n_items, n_done = 0          spin until n_open > 0 (then sleep)
 *     n_open = n_items        ── release ──▶  r = n_open--  (acquire)
 *     takes items like a worker               run items until r <= 0
 *     waits for n_done        ◀── release ──  n_done += number of items run
 *
 * A worker that comes late, or lowers n_open while the caller starts the next piece of work, owns
 * an item of that next piece: taking an item is what ties a worker to a piece, and the caller
 * cannot leave a piece while one of its items is owned. So no generation counter is needed.
 *
 * Who spins in vain goes to sleep on a condition variable. Nobody misses a wake-up: the sleeper
 * announces itself and then looks at the counter, the other side changes the counter and then looks
 * for sleepers, all four sequentially consistent.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/threads.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fail.h"

#define MAX_THREADS 1024

/* Long enough for what runs between two pieces of work of a decode step, short enough to leave the
 * CPU to others as soon as a step ends. */
#define SPIN_SECONDS 50e-6

typedef struct worker {
    kf_pool *pool;
    size_t i_thread;
    pthread_t thread;
} worker;

struct kf_pool {
    /* One line: what a worker reads when work appears. */
    alignas(KFI_ALIGN) atomic_ptrdiff_t n_open;
    kfi_task *task;
    void *ctx;
    size_t n_items;

    alignas(KFI_ALIGN) atomic_size_t n_done;

    alignas(KFI_ALIGN) atomic_size_t n_sleeping; /* workers */
    atomic_bool caller_sleeps;
    atomic_bool stop;
    pthread_mutex_t mutex; /* held only around sleeping and waking */
    pthread_cond_t work_came;
    pthread_cond_t work_done;

    const kf_allocator *alloc;
    size_t n_threads;
    double spin_seconds;
    worker *workers; /* n_threads - 1 */
    size_t n_started;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool work_is_open(kf_pool *pool)
{
    return atomic_load_explicit(&pool->n_open, memory_order_relaxed) > 0 ||
           atomic_load_explicit(&pool->stop, memory_order_relaxed);
}

static bool work_is_done(kf_pool *pool)
{
    return atomic_load_explicit(&pool->n_done, memory_order_acquire) == pool->n_items;
}

/* True as soon as the condition holds, false after the pool's spin time. */
static bool spin_until(kf_pool *pool, bool (*holds)(kf_pool *pool))
{
    const double start = kfi_clock_seconds();
    do {
        for (int i = 0; i < 32; i++) {
            if (holds(pool)) {
                return true;
            }
            pause_cpu();
        }
    } while (kfi_clock_seconds() - start < pool->spin_seconds);
    return false;
}

/* Takes items until none is open and reports them all at once. */
static void run_items(kf_pool *pool, size_t i_thread)
{
    size_t n_run = 0;
    while (atomic_load_explicit(&pool->n_open, memory_order_relaxed) > 0) {
        const ptrdiff_t r = atomic_fetch_sub_explicit(&pool->n_open, 1, memory_order_acquire);
        if (r <= 0) {
            break;
        }
        pool->task(pool->ctx, pool->n_items - (size_t)r, i_thread);
        n_run++;
    }
    if (n_run == 0) {
        return;
    }
    atomic_fetch_add(&pool->n_done, n_run);
    if (atomic_load(&pool->caller_sleeps)) {
        (void)pthread_mutex_lock(&pool->mutex);
        (void)pthread_cond_signal(&pool->work_done);
        (void)pthread_mutex_unlock(&pool->mutex);
    }
}

static void sleep_until_work(kf_pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->n_sleeping, 1);
    while (atomic_load(&pool->n_open) <= 0 && !atomic_load(&pool->stop)) {
        (void)pthread_cond_wait(&pool->work_came, &pool->mutex);
    }
    atomic_fetch_sub(&pool->n_sleeping, 1);
    (void)pthread_mutex_unlock(&pool->mutex);
}

static void sleep_until_done(kf_pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->n_done) != pool->n_items) {
        (void)pthread_cond_wait(&pool->work_done, &pool->mutex);
    }
    atomic_store(&pool->caller_sleeps, false);
    (void)pthread_mutex_unlock(&pool->mutex);
}

static void wake_workers(kf_pool *pool)
{
    if (atomic_load(&pool->n_sleeping) > 0) {
        (void)pthread_mutex_lock(&pool->mutex);
        (void)pthread_cond_broadcast(&pool->work_came);
        (void)pthread_mutex_unlock(&pool->mutex);
    }
}

static void *worker_main(void *ctx)
{
    worker *self = ctx;
    kf_pool *pool = self->pool;
    while (!atomic_load_explicit(&pool->stop, memory_order_relaxed)) {
        if (!spin_until(pool, work_is_open)) {
            sleep_until_work(pool);
        }
        run_items(pool, self->i_thread);
    }
    return NULL;
}

void kfi_pool_run(kf_pool *pool, kfi_task *task, void *ctx, size_t n_items)
{
    if (pool == NULL || pool->n_threads == 1 || n_items <= 1) {
        for (size_t i = 0; i < n_items; i++) {
            task(ctx, i, 0);
        }
        return;
    }
    pool->task = task;
    pool->ctx = ctx;
    pool->n_items = n_items;
    atomic_store_explicit(&pool->n_done, 0, memory_order_relaxed);
    atomic_store(&pool->n_open, (ptrdiff_t)n_items);
    wake_workers(pool);
    run_items(pool, 0);
    if (!spin_until(pool, work_is_done)) {
        sleep_until_done(pool);
    }
}

/* Starts the workers with every signal blocked, so that a program's handlers run in its own
 * threads. */
static int start_workers(kf_pool *pool)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    int failure = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (failure != 0) {
        return failure;
    }
    for (size_t i = 0; i + 1 < pool->n_threads && failure == 0; i++) {
        worker *w = &pool->workers[i];
        w->pool = pool;
        w->i_thread = i + 1;
        failure = pthread_create(&w->thread, NULL, worker_main, w);
        pool->n_started += failure == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

static int init_sleeping(kf_pool *pool)
{
    int failure = pthread_mutex_init(&pool->mutex, NULL);
    if (failure != 0) {
        return failure;
    }
    failure = pthread_cond_init(&pool->work_came, NULL);
    if (failure != 0) {
        (void)pthread_mutex_destroy(&pool->mutex);
        return failure;
    }
    failure = pthread_cond_init(&pool->work_done, NULL);
    if (failure != 0) {
        (void)pthread_cond_destroy(&pool->work_came);
        (void)pthread_mutex_destroy(&pool->mutex);
    }
    return failure;
}

kf_status kf_pool_new(kf_pool **pool, size_t n_threads, const kf_allocator *alloc, kf_error *err)
{
    *pool = NULL;
    if (n_threads > MAX_THREADS) {
        return kfi_fail(err, KF_RANGE, KF_NO_OFFSET, "%zu threads, expected 1 to %d", n_threads,
                        MAX_THREADS);
    }
    const size_t n_cpus = kf_cpu_count();
    if (n_threads == 0) {
        n_threads = n_cpus < MAX_THREADS ? n_cpus : MAX_THREADS;
    }
    kf_pool *p = kfi_calloc(alloc, 1, sizeof *p);
    if (p == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "pool of %zu bytes", sizeof *p);
    }
    p->alloc = alloc;
    p->n_threads = n_threads;
    /* With more threads than CPUs a spinner holds back the one it waits for. */
    p->spin_seconds = n_threads <= n_cpus ? SPIN_SECONDS : 0.0;
    int failure = init_sleeping(p);
    if (failure != 0) {
        kfi_free(alloc, p, sizeof *p);
        return kfi_fail_os(err, KF_NOMEM, failure, "pool of %zu threads", n_threads);
    }
    p->workers = kfi_calloc(alloc, n_threads - 1, sizeof *p->workers);
    failure = p->workers == NULL ? ENOMEM : start_workers(p);
    if (failure != 0) {
        kf_pool_free(p);
        return kfi_fail_os(err, KF_NOMEM, failure, "cannot start %zu threads", n_threads);
    }
    *pool = p;
    return KF_OK;
}

void kf_pool_free(kf_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    atomic_store(&pool->stop, true);
    wake_workers(pool);
    for (size_t i = 0; i < pool->n_started; i++) {
        (void)pthread_join(pool->workers[i].thread, NULL);
    }
    (void)pthread_cond_destroy(&pool->work_done);
    (void)pthread_cond_destroy(&pool->work_came);
    (void)pthread_mutex_destroy(&pool->mutex);
    const kf_allocator *alloc = pool->alloc;
    kfi_free(alloc, pool->workers, (pool->n_threads - 1) * sizeof *pool->workers);
    kfi_free(alloc, pool, sizeof *pool);
}

size_t kf_pool_threads(const kf_pool *pool)
{
    return pool == NULL ? 1 : pool->n_threads;
}

kfi_split kfi_split_make(const kf_pool *pool, size_t n, size_t quantum, size_t pieces_per_thread)
{
    const size_t n_threads = kf_pool_threads(pool);
    const size_t n_quanta = n / quantum + (n % quantum != 0);
    const size_t wanted = n_threads * (pieces_per_thread == 0 ? 1 : pieces_per_thread);
    return (kfi_split){
        .n = n, .quantum = quantum, .n_pieces = wanted < n_quanta ? wanted : n_quanta};
}

size_t kfi_split_begin(const kfi_split *split, size_t i_piece)
{
    if (i_piece >= split->n_pieces) {
        return split->n;
    }
    /* The first n_quanta mod n_pieces pieces get one quantum more. */
    const size_t n_quanta = split->n / split->quantum + (split->n % split->quantum != 0);
    const size_t share = n_quanta / split->n_pieces;
    const size_t longer = n_quanta % split->n_pieces;
    return (i_piece * share + (i_piece < longer ? i_piece : longer)) * split->quantum;
}
