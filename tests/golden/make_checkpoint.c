/* Writes a small Kerf checkpoint and the logits that it gives, once for each format_version:
 *
 *     golden_checkpoint tests/golden/checkpoint_1 >tests/golden/checkpoint_1.exp
 *
 * It is not a test, and what it wrote is never written anew: tests/unit/test_checkpoint_golden.c
 * holds every later version to it. The checkpoint has a prefix of three tokens, four formats of
 * weights, and a tensor that is kept.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

#include "golden_checkpoint.h"
#include "quantize_fixture.h"

int main(int argc, char **argv)
{
    static const char *const settings[] = {
        "prefix=Be kind.",
        "tensors.blk.1.ffn_down=mxint6g32",
        "tensors.blk.*.attn_v=int3g32o",
        "tensors.blk.0.attn_output=keep",
    };
    kf_error err = {0};
    float logits[TINY_VOCABULARY];
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    quantize_fixture *f = quantize_fixture_new("llama", "gptq-w4", 1);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        quantize_fixture_set(f, settings[i]);
    }
    if (kf_quantize(NULL, f->model, argv[1], f->recipe, &f->options, &err) != KF_OK ||
        golden_logits(logits, argv[1], &err) != KF_OK) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    quantize_fixture_free(f);
    for (size_t i = 0; i < TINY_VOCABULARY; i++) {
        (void)printf("%.9g\n", (double)logits[i]);
    }
    return 0;
}
