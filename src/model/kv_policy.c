/* kv_policy.c - names and contents of the policies of the KV cache.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/kv_policy.h"

#include <string.h>

#include "base/fail.h"

#define COUNT(x) (sizeof(x) / sizeof(x)[0])

/* ---- those with a name of their own ---- */

typedef struct named_policy {
    const char *name;
    kfi_kv_policy policy;
} named_policy;

static const named_policy named[] = {
    [KF_KV_F32] = {"f32", {0, 0}},
    [KF_KV_AUTO] = {"auto", {0, 0}},
};

/* ---- fixed widths ---- */

#define LEAST_BITS 2
#define MOST_BITS  8
#define ROW(k)                                                                                     \
    {                                                                                              \
        "k" #k "v2", "k" #k "v3", "k" #k "v4", "k" #k "v5", "k" #k "v6", "k" #k "v7", "k" #k "v8"  \
    }

static const char widths[][MOST_BITS - LEAST_BITS + 1][5] = {ROW(2), ROW(3), ROW(4), ROW(5),
                                                             ROW(6), ROW(7), ROW(8)};

static bool is_width(unsigned bits)
{
    return bits >= LEAST_BITS && bits <= MOST_BITS;
}

/* ---- all ---- */

bool kfi_kv_policy_of(kfi_kv_policy *policy, kf_kv kv)
{
    const unsigned number = (unsigned)kv;
    if (number < COUNT(named)) {
        *policy = named[number].policy;
        return true;
    }
    *policy = (kfi_kv_policy){number / 16, number % 16};
    return is_width(policy->key_bits) && is_width(policy->value_bits);
}

const char *kf_kv_name(kf_kv kv)
{
    kfi_kv_policy policy = {0};
    if (!kfi_kv_policy_of(&policy, kv)) {
        return NULL;
    }
    return (unsigned)kv < COUNT(named)
               ? named[kv].name
               : widths[policy.key_bits - LEAST_BITS][policy.value_bits - LEAST_BITS];
}

kf_status kf_kv_parse(kf_kv *kv, const char *name, kf_error *err)
{
    for (unsigned i = 0; i <= (unsigned)KF_KV_WIDTHS(MOST_BITS, MOST_BITS); i++) {
        const char *candidate = kf_kv_name((kf_kv)i);
        if (candidate != NULL && strcmp(candidate, name) == 0) {
            *kv = (kf_kv)i;
            return KF_OK;
        }
    }
    return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                    "no KV cache is called '%s': auto, f32, or kNvM with 2 to 8 bits for keys "
                    "and for values",
                    name);
}
