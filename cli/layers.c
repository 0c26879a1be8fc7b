/* layers.c - where a quantized model's error is born, block by block.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "layers.h"
#include "report_json.h"
#include "subject.h"

#include <math.h>
#include <stdlib.h>

static json_t *layer_json(const kf_residual_error *e)
{
    json_t *bands = json_array();
    for (size_t i = 0; i < KF_EVAL_BANDS && !isnan(e->bands[i]); i++) {
        (void)json_array_append_new(bands, json_number(e->bands[i]));
    }
    return json_pack("{s:o, s:o, s:o}", "first", json_number(e->first), "others",
                     json_number(e->others), "bands", bands);
}

kf_status layers_measure(json_t **layers, kf_model *model, const uint32_t *ids, size_t n,
                         const kf_eval_options *options, size_t n_windows, kf_error *err)
{
    kf_model_info info;
    kf_eval_options changed = *options;
    kf_model_get_info(model, &info);
    kf_residual_error *errors = calloc(info.n_layers, sizeof *errors);
    if (errors == NULL) {
        return set_error(err, KF_NOMEM, "errors of %zu blocks", info.n_layers);
    }
    changed.windows = n_windows;
    const kf_status st = kf_eval_residual(errors, info.n_layers, model, ids, n, &changed, err);
    *layers = st == KF_OK ? json_array() : NULL;
    for (size_t i = 0; st == KF_OK && i < info.n_layers; i++) {
        (void)json_array_append_new(*layers, layer_json(&errors[i]));
    }
    free(errors);
    return st;
}

static double member(const json_t *layer, const char *key)
{
    const json_t *value = json_object_get(layer, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

void layers_print(const json_t *layers)
{
    (void)printf("block   residual error: first token      others\n");
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        (void)printf("%5zu %29.5f %11.5f\n", i, member(layer, "first"), member(layer, "others"));
    }
}
