/* kv_fixture.h - a packed model whose sessions keep keys and values as codes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_TESTS_KV_FIXTURE_H
#define KERF_TESTS_KV_FIXTURE_H

#include "kerf/model.h"
#include "tiny_kerf.h"

#define KV_IDS    300u /* the second chunk of keys begins among them */
#define KV_PREFIX 20u  /* no multiple of a block */
#define KV_LOGITS (KV_IDS * TINY_VOCABULARY)

/* A packed model with room for all ids, and a prefix that is the first of them. */
typedef struct kv_model {
    tiny_model *tiny;
    char path[600];
    float *rows; /* of the prefix */
    kf_pool *pool;
    kf_model *model;
    uint32_t ids[KV_IDS];
} kv_model;

typedef struct kv_options {
    size_t n_prefix, n_threads;
    bool float_activations;
    float key_bias; /* keys are a bias of this size and nothing else; 0: they have none */
} kv_options;

kv_model kv_model_new(const char *directory, size_t n_prefix, size_t n_threads);
/* With activations of 8 bits every difference would be as large as their rounding. */
kv_model kv_model_in_float(const char *directory, size_t n_prefix, float key_bias);
void kv_model_free(kv_model *s);
kf_session *kv_session_new(const kv_model *s, kf_kv kv);
/* Evaluates ids begin … end-1, some at a time: their logits, the first's in front. */
void kv_eval(kf_session *session, float *logits, const uint32_t *ids, size_t begin, size_t end,
             size_t at_a_time);
/* Evaluates ids begin …, some at a time: what is expected of the others, or the same bits. */
void kv_eval_alike(kf_session *session, float *expected, const uint32_t *ids, size_t begin,
                   size_t at_a_time, bool is_first);
/* A session behind the prefix, or empty where the model has none. */
size_t kv_begin(kf_session *session, const uint32_t *ids, size_t n);

#endif /* KERF_TESTS_KV_FIXTURE_H */
