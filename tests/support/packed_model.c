/* packed_model.c - tiny models as Kerf checkpoints, with ids to evaluate.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "packed_model.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "check.h"
#include "kerf/model.h"
#include "kerf/quantize.h"
#include "model/checkpoint_names.h"
#include "model/forward.h"
#include "session_fixture.h"
#include "tiny_kerf.h"

packed_model packed_model_write(const char *directory, const char *architecture,
                                const tiny_kerf_options *options)
{
    const tiny_options o = tiny_options_of(architecture);
    packed_model p = {.tiny = tiny_model_new(directory, &o)};
    (void)snprintf(p.path, sizeof p.path, "%s/packed", directory);
    tiny_kerf_write(p.path, p.tiny, options);
    tiny_ids(p.ids, PACKED_IDS, 4);
    return p;
}

kf_session *packed_session(kf_model *model, size_t batch)
{
    kf_error err = {0};
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    options.batch = batch;
    CHECK_OK(kf_session_new(&session, model, &options, &err), &err);
    return session;
}

float *packed_logits(void)
{
    float *logits = kfi_alloc(NULL, PACKED_IDS * TINY_VOCABULARY * sizeof(float));
    assert_non_null(logits);
    return logits;
}

tiny_kerf_options packed_with_side_paths(void)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_SIDE;
    o.rank = 8;
    o.n_outliers = 5;
    return o;
}

tiny_kerf_options packed_with_maps(void)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_INPUTS;
    o.maps = true;
    return o;
}

float *prefix_rows(uint64_t seed)
{
    kfi_rng rng;
    kfi_rng_init(&rng, seed);
    float *rows = kfi_alloc(NULL, 2 * PACKED_PREFIX * 32 * sizeof(float));
    assert_non_null(rows);
    for (size_t i = 0; i < 2 * PACKED_PREFIX * 32; i++) {
        rows[i] = kfi_rng_normal(&rng);
    }
    return rows;
}

prefixed prefixed_new(const char *directory)
{
    prefixed x = {.keys = prefix_rows(1), .values = prefix_rows(2)};
    tiny_ids(x.prompt, PACKED_PREFIX + 10, 9);
    tiny_kerf_options o = tiny_kerf_defaults();
    o.n_prefix = PACKED_PREFIX;
    o.prefix_ids = x.prompt;
    o.prefix_keys = x.keys;
    o.prefix_values = x.values;
    x.p = packed_model_write(directory, "llama", &o);
    x.model = model_open_with(x.p.path, NULL, NULL);
    return x;
}

void prefixed_free(prefixed *x)
{
    kf_model_close(x->model);
    tiny_model_free(x->p.tiny);
    kfi_free(NULL, x->keys, 0);
    kfi_free(NULL, x->values, 0);
}

tiny_kerf_options packed_with_sparse(void)
{
    tiny_kerf_options o = tiny_kerf_defaults();
    o.version = KFI_CHECKPOINT_VERSION_SPARSE;
    o.sparse = true;
    return o;
}
