/* layers.h - where a quantized model's error is born, block by block; shared by eval and compare.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_CLI_LAYERS_H
#define KERF_CLI_LAYERS_H

#include <jansson.h>

#include "kerf/eval.h"

/* [{"first": …, "others": …, "bands": […]}, …], one a block, over the first n_windows windows of
 * what options say (KF_RANGE: none); returned owned. */
kf_status layers_measure(json_t **layers, kf_model *model, const uint32_t *ids, size_t n,
                         const kf_eval_options *options, size_t n_windows, kf_error *err);
/* A line a block. */
void layers_print(const json_t *layers);

#endif /* KERF_CLI_LAYERS_H */
