/* quantize_fixture.h - a tiny model, calibration ids and a recipe, ready to be quantized.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_QUANTIZE_FIXTURE_H
#define KERF_TESTS_QUANTIZE_FIXTURE_H

#include "kerf/quantize.h"
#include "tiny_model.h"

#define FIXTURE_CALIBRATION 3000u
#define FIXTURE_PREFIX      3u

typedef struct quantize_fixture {
    char *directory;
    tiny_model *tiny;
    kf_pool *pool;
    kf_model *model;
    kf_recipe *recipe;
    uint32_t calibration[FIXTURE_CALIBRATION];
    uint32_t prefix[FIXTURE_PREFIX];
    kf_quantize_options options; /* calibration, prefix and seed set */
} quantize_fixture;

/* architecture "llama" or "qwen2"; the recipe with calib.samples=6 and calib.length=40. */
quantize_fixture *quantize_fixture_new(const char *architecture, const char *recipe,
                                       size_t n_threads);
void quantize_fixture_free(quantize_fixture *f);
/* The same with a recipe that is this document. */
quantize_fixture *quantize_fixture_of(const char *architecture, const char *json, size_t n_threads);
/* Changes the recipe to this document. */
void quantize_fixture_use(quantize_fixture *f, const char *json);
/* "weights=int3g64" */
void quantize_fixture_set(quantize_fixture *f, const char *assignment);

/* "DIRECTORY/name"; four results stay valid. */
const char *quantize_fixture_path(const quantize_fixture *f, const char *name);

/* kf_quantize() to "DIRECTORY/name"; result may be NULL. */
kf_status quantize_fixture_try(quantize_fixture *f, const char *name, kf_quantize_result *result,
                               kf_error *err);
/* The same, which must succeed. */
void quantize_fixture_run(quantize_fixture *f, const char *name, kf_quantize_result *result);
/* What a dry run foretells. */
void quantize_fixture_plan(quantize_fixture *f, kf_quantize_result *plan);
/* Runs until cancelled at the n-th question, from 1; true when it came to its end before. */
bool quantize_fixture_cancel(quantize_fixture *f, const char *name, size_t at);

/* Fails the test unless both directories hold the same files with the same bytes. */
void assert_same_directories(const char *a, const char *b);

#endif /* KERF_TESTS_QUANTIZE_FIXTURE_H */
