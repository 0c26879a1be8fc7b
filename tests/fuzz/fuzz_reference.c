/* fuzz_reference.c - files of hidden states, as --save-reference writes them: one that is taken
 * holds a state for every position.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bundle.h"
#include "reference_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_all(const kfi_reference *reference)
{
    float hidden[2 * 4];
    const kfi_reference_key *key = &reference->key;
    for (size_t i = 0; i < key->windows; i++) {
        require(kfi_reference_read(reference, hidden, i, 0, 2, NULL) == KF_OK);
        for (size_t t = 0; t < key->window - 1; t++) {
            float state[4];
            require(kfi_reference_read(reference, state, i, t, 1, NULL) == KF_OK);
            require(memcmp(state, hidden + t * key->hidden, sizeof state) == 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[256];
    kfi_reference reference;
    kf_error err = {0};
    const kfi_reference_key key = reference_key();
    bundle_write("reference", data, n);
    bundle_path(path, "reference");
    const kf_status st = kfi_reference_open(&reference, path, &key, NULL, &err);
    if (st == KF_OK) {
        read_all(&reference);
    } else {
        require(err.code == st && err.msg[0] != '\0');
        require(st == KF_FORMAT || st == KF_UNSUPPORTED);
    }
    kfi_reference_close(&reference);
    return 0;
}
