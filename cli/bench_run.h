/* bench_run.h - measuring one test of kerf bench.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_BENCH_RUN_H
#define KERF_CLI_BENCH_RUN_H

#include "subject.h"

#define BENCH_REPEATS_MOST 64

/* A prompt of `tokens` computed together, or tokens one by one with their logits; behind `depth`
 * tokens in the cache. */
typedef struct bench_test {
    char name[64]; /* "pp512", "tg128@1536" */
    size_t depth, tokens;
    bool one_by_one;
} bench_test;

/* Rates are medians over the repeats. */
typedef struct bench_result {
    double tokens_per_second;
    /* Weights, and for tokens one by one also keys and values at the middle of the test. A prompt
     * reads the weights once a batch. */
    double bytes_per_token;
    double bytes_per_second;      /* the product of the two */
    double read_bytes_per_second; /* what reading a buffer gives that is as large as what a pass
                                     over the model reads; the better of before and after */
    double operations_per_second; /* in products with weights */
} bench_result;

/* What all tests of a run share; zero-initialise, then bench_close() in any case. */
typedef struct bench_bed {
    const cli_subject *subject;
    kf_model_info info;
    kf_session *session;
    uint32_t *ids;
    size_t n_ids;
    float *logits;
    size_t origin; /* tokens of the stored prefix in front of all */
} bench_bed;

/* Room for n_ids tokens behind the prefix. */
kf_status bench_open(bench_bed *bed, const cli_subject *subject, size_t n_ids, kf_kv kv,
                     kf_error *err);
void bench_close(bench_bed *bed);

/* Measures one test, once to warm up and then `repeats` times. Tests of one depth after the other:
 * what is in the cache stays there, and a greater depth is computed from where it ends. */
kf_status bench_measure(bench_result *result, bench_bed *bed, const bench_test *test,
                        size_t repeats, kf_error *err);

#endif /* KERF_CLI_BENCH_RUN_H */
