/* fuzz_zip.c - zip archives: every member is extracted, and never gives more bytes than declared.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "io/zip.h"
#include "walk_tensors.h"

/* Enough for every seed, little enough to be quick on a bomb. */
#define MAX_EXTRACTED ((uint64_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct extraction {
    const kfi_zip *zip;
    uint64_t n;      /* bytes of this member */
    uint64_t n_left; /* bytes that all may still give */
} extraction;

static kf_status count_piece(void *ctx, const void *data, size_t n, kf_error *err)
{
    extraction *state = ctx;
    (void)data;
    (void)err;
    state->n += n;
    state->n_left -= n < state->n_left ? n : state->n_left;
    return state->n_left == 0 ? KF_CANCELLED : KF_OK;
}

/* One that is damaged does not keep the others from being tried. */
static kf_status extract(void *ctx, const kfi_zip_member *member, kf_error *err)
{
    extraction *state = ctx;
    (void)err;
    state->n = 0;
    const kf_status status = kfi_zip_extract(state->zip, member, count_piece, state, NULL, NULL);
    require(state->n <= member->size);
    require(status != KF_OK || state->n == member->size);
    return state->n_left == 0 ? KF_CANCELLED : KF_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_zip zip;
    kf_error err = {0};
    if (kfi_zip_parse(&zip, data, n, &err) != KF_OK) {
        require(err.code != KF_OK && err.msg[0] != '\0');
        return 0;
    }
    extraction state = {.zip = &zip, .n_left = MAX_EXTRACTED};
    const kf_status status = kfi_zip_each(&zip, extract, &state, &err);
    require((status == KF_CANCELLED) == (state.n_left == 0));
    kfi_zip_close(&zip);
    return 0;
}
