/* rtn.c - round to nearest: a grid a group, every weight to the nearest code.
 *
 * The baseline of every comparison. With fit=mse the range of a group is shrunk in steps of two
 * hundredths to the one with the least sum |w - w~|^exponent: the search of GPTQ's reference code
 * (its option "mse"); with importance=mean_square each weight's term counts by the mean square of
 * its input, a diagonal stand-in for the output error.
 *
 * The search leaves less weight error and yet a worse model where the bits suffice: SmolLM2-135M,
 * WikiText-2 test, float activations, zero points, groups of 64, perplexity min-max / search:
 * W4 25.3 / 26.8 (first 8 windows), W3 87 / 97, W2 1.7e6 / 2.4e4 (first 4). Clipping hits the few
 * large weights that carry the first token's outlying inputs. So it is off by default, and
 * rtn-w2 turns it on.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "quantize/method.h"

static const kf_knob knobs[] = {KFI_ROUND_GRID_KNOBS("minmax")};

const kfi_method kfi_method_rtn = {
    .about = {.name = "rtn",
              .stage = "round",
              .summary = "Rounds every weight to the nearest code.",
              .paper = "clip search: E. Frantar et al., GPTQ, 2022, arXiv:2210.17323 (its code)",
              .statistics = "none (mean square with importance=mean_square)",
              .knobs = knobs,
              .n_knobs = sizeof knobs / sizeof knobs[0]},
    .stage = KFI_STAGE_ROUND,
    .takes_outliers = true,
    .request = kfi_round_grid_request,
    .grid = kfi_round_grid_read,
    .round = kfi_round_rtn,
};
