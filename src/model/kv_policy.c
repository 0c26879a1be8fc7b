/* kv_policy.c - names and contents of the policies of the KV cache.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/kv_policy.h"

#include <string.h>

#include "base/fail.h"

#define COUNT(x) (sizeof(x) / sizeof(x)[0])

/* ---- those with a name of their own ---- */

/* What each is: a number of widths and flags, or KF_KV_F32. */
static const struct {
    const char *name;
    unsigned content;
} named[] = {
    [KF_KV_F32] = {"f32", KF_KV_F32},
    [KF_KV_AUTO] = {"auto", KF_KV_F32},
    [KF_KV_Q8] = {"q8", KF_KV_WIDTHS(8, 8)},
    [KF_KV_Q4] = {"q4", KF_KV_WIDTHS(5, 3) | KF_KV_FITTED | KF_KV_NEWEST},
    [KF_KV_Q3] = {"q3", KF_KV_WIDTHS(4, 2) | KF_KV_FITTED | KF_KV_NEWEST},
};

/* ---- widths and flags ---- */

#define LEAST_BITS 2
#define MOST_BITS  8
#define ROW(k, flags)                                                                              \
    {                                                                                              \
        "k" #k "v2" flags, "k" #k "v3" flags, "k" #k "v4" flags, "k" #k "v5" flags,                \
            "k" #k "v6" flags, "k" #k "v7" flags, "k" #k "v8" flags                                \
    }
#define ROWS(flags)                                                                                \
    {                                                                                              \
        ROW(2, flags), ROW(3, flags), ROW(4, flags), ROW(5, flags), ROW(6, flags), ROW(7, flags),  \
            ROW(8, flags)                                                                          \
    }

/* [flags][bits of keys][bits of values] */
static const char widths[][MOST_BITS - LEAST_BITS + 1][MOST_BITS - LEAST_BITS + 1][7] = {
    ROWS(""), ROWS("f"), ROWS("n"), ROWS("fn")};

static bool is_width(unsigned bits)
{
    return bits >= LEAST_BITS && bits <= MOST_BITS;
}

/* ---- all ---- */

bool kfi_kv_policy_of(kfi_kv_policy *policy, kf_kv kv)
{
    const unsigned number = (unsigned)kv < COUNT(named) ? named[kv].content : (unsigned)kv;
    *policy = (kfi_kv_policy){.key_bits = number / 16 % 16,
                              .value_bits = number % 16,
                              .is_fitted = (number & KF_KV_FITTED) != 0,
                              .keeps_newest = (number & KF_KV_NEWEST) != 0};
    return number == KF_KV_F32 || (is_width(policy->key_bits) && is_width(policy->value_bits) &&
                                   number < 2 * KF_KV_NEWEST);
}

const char *kf_kv_name(kf_kv kv)
{
    kfi_kv_policy policy = {0};
    if (!kfi_kv_policy_of(&policy, kv)) {
        return NULL;
    }
    return (unsigned)kv < COUNT(named)
               ? named[kv].name
               : widths[(unsigned)kv / KF_KV_FITTED][policy.key_bits - LEAST_BITS]
                       [policy.value_bits - LEAST_BITS];
}

kf_status kf_kv_parse(kf_kv *kv, const char *name, kf_error *err)
{
    for (unsigned i = 0; i < 2 * KF_KV_NEWEST; i++) {
        const char *candidate = kf_kv_name((kf_kv)i);
        if (candidate != NULL && strcmp(candidate, name) == 0) {
            *kv = (kf_kv)i;
            return KF_OK;
        }
    }
    return kfi_fail(err, KF_INVALID, KF_NO_OFFSET,
                    "no KV cache is called '%.40s': auto, f32, q8, q4, q3, or kNvM with 2 to 8 "
                    "bits for keys and for values, and f, n or fn",
                    name);
}
