/* reference_key.h - what the reference files of the corpus belong to.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KERF_FUZZ_REFERENCE_KEY_H
#define KERF_FUZZ_REFERENCE_KEY_H

#include "eval/reference.h"

static inline kfi_reference_key reference_key(void)
{
    return (kfi_reference_key){.model = "a",
                               .activations = "float",
                               .kv = "f32",
                               .text = "b",
                               .front = "c",
                               .n_prefix = 1,
                               .window = 3,
                               .windows = 2,
                               .hidden = 4};
}

#endif /* KERF_FUZZ_REFERENCE_KEY_H */
