/* bench_run.c - measuring one test of kerf bench.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bench_run.h"

#include <stdlib.h>

#include "kerf/machine.h"

/* Tokens of a prompt that are computed together, as kerf run does. */
#define BATCH ((size_t)512)
/* No cache is as large: a larger buffer is not read slower. */
#define READ_BYTES_MOST ((uint64_t)1 << 30)

kf_status bench_open(bench_bed *bed, const cli_subject *subject, size_t n_ids, kf_kv kv,
                     kf_error *err)
{
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    size_t n_used = 0;
    bed->subject = subject;
    bed->n_ids = n_ids;
    kf_model_get_info(subject->model, &bed->info);
    bed->ids = malloc((n_ids + 1) * sizeof *bed->ids);
    bed->logits = malloc(bed->info.vocabulary * sizeof *bed->logits);
    if (bed->ids == NULL || bed->logits == NULL) {
        return set_error(err, KF_NOMEM, "%zu token ids", n_ids);
    }
    for (size_t i = 0; i < n_ids; i++) { /* which ones does not matter for speed */
        bed->ids[i] = (uint32_t)((i * 7919 + 13) % bed->info.vocabulary);
    }
    options.context = n_ids + bed->info.n_prefix;
    options.batch = BATCH;
    options.kv = kv;
    kf_status st = kf_session_new(&bed->session, subject->model, &options, err);
    if (st == KF_OK) {
        st = kf_session_begin(bed->session, NULL, 0, &n_used, err);
        bed->origin = kf_session_position(bed->session);
    }
    return st;
}

void bench_close(bench_bed *bed)
{
    kf_session_free(bed->session);
    free(bed->ids);
    free(bed->logits);
}

/* Leaves `depth` tokens in the cache behind the prefix. */
static kf_status reach_depth(bench_bed *bed, size_t depth, kf_error *err)
{
    const size_t wanted = bed->origin + depth;
    const size_t position = kf_session_position(bed->session);
    if (position >= wanted) {
        kf_session_truncate(bed->session, wanted);
        return KF_OK;
    }
    return kf_session_eval(bed->session, bed->ids + (position - bed->origin), wanted - position,
                           err);
}

static kf_status run_tokens(bench_bed *bed, const bench_test *test, kf_error *err)
{
    const size_t step = test->one_by_one ? 1 : test->tokens;
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && i < test->tokens; i += step) {
        size_t n = 0;
        if (terminal_interrupted()) {
            return set_error(err, KF_CANCELLED, "cancelled in %s", test->name);
        }
        st = kf_session_eval(bed->session, bed->ids + i, step, err);
        if (st == KF_OK) {
            const float *hidden = kf_session_hidden(bed->session, &n);
            st = kf_session_head(bed->session, bed->logits, hidden + (n - 1) * bed->info.hidden, 1,
                                 err);
        }
    }
    return st;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return 0.5 * (values[(n - 1) / 2] + values[n / 2]);
}

/* Seconds of the median run, after one that warms up. */
static kf_status time_test(double *middle, bench_bed *bed, const bench_test *test, size_t repeats,
                           kf_error *err)
{
    double seconds[BENCH_REPEATS_MOST + 1];
    kf_status st = KF_OK;
    for (size_t i = 0; st == KF_OK && i <= repeats; i++) {
        st = reach_depth(bed, test->depth, err);
        const double started = clock_seconds();
        if (st == KF_OK) {
            st = run_tokens(bed, test, err);
        }
        seconds[i] = clock_seconds() - started;
    }
    *middle = st == KF_OK ? median(seconds + 1, repeats) : 0.0;
    return st;
}

/* Bytes that one pass over the model reads. */
static uint64_t pass_bytes(const bench_bed *bed, const bench_test *test)
{
    const uint64_t weights = kf_model_bytes_per_token(bed->subject->model);
    const size_t middle = bed->origin + test->depth + test->tokens / 2;
    return test->one_by_one ? weights + kf_session_kv_bytes(bed->session, middle) : weights;
}

/* All tokens go through the blocks; logits are made of each, or of a prompt's last. */
static double count_operations(const bench_bed *bed, const bench_test *test)
{
    const double head = 2.0 * (double)bed->info.vocabulary * (double)bed->info.hidden;
    const double token = (double)kf_model_operations_per_token(bed->subject->model);
    const double n = (double)test->tokens;
    return test->one_by_one ? n * token : n * (token - head) + head;
}

/* A buffer that fits beside the model. */
static kf_status measure_reading(double *rate, const bench_bed *bed, uint64_t bytes, kf_error *err)
{
    const uint64_t room = kf_memory_available() / 2;
    const uint64_t most = room < READ_BYTES_MOST ? room : READ_BYTES_MOST;
    return kf_read_bandwidth(rate, bed->subject->pool, (size_t)(bytes < most ? bytes : most), NULL,
                             err);
}

kf_status bench_measure(bench_result *result, bench_bed *bed, const bench_test *test,
                        size_t repeats, kf_error *err)
{
    double seconds = 0.0;
    const uint64_t bytes = pass_bytes(bed, test);
    const size_t n_passes = test->one_by_one ? test->tokens : (test->tokens + BATCH - 1) / BATCH;
    double before = 0.0;
    double after = 0.0;
    *result = (bench_result){0};
    kf_status st = measure_reading(&before, bed, bytes, err);
    if (st == KF_OK) {
        st = time_test(&seconds, bed, test, repeats, err);
    }
    if (st == KF_OK) {
        st = measure_reading(&after, bed, bytes, err);
    }
    if (st == KF_OK) {
        result->read_bytes_per_second = before > after ? before : after;
        result->tokens_per_second = (double)test->tokens / seconds;
        result->bytes_per_token = (double)bytes * (double)n_passes / (double)test->tokens;
        result->bytes_per_second = (double)bytes * (double)n_passes / seconds;
        result->operations_per_second = count_operations(bed, test) / seconds;
    }
    return st;
}
