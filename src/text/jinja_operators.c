/* jinja_operators.c - the operators of expressions.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "text/jinja_run.h"

static kf_status wrong_kinds(kfi_jinja_run *run, const char *what, const kfi_jinja_value *a,
                             const kfi_jinja_value *b)
{
    return kfi_fail(run->err, KF_FORMAT, run->offset, "%s of values of kind %s and %s", what,
                    kfi_jinja_kind_name(a->kind), kfi_jinja_kind_name(b->kind));
}

size_t kfi_jinja_text_find(kfi_jinja_text text, size_t from, kfi_jinja_text needle)
{
    if (needle.n == 0) {
        return from;
    }
    while (needle.n <= text.n && from <= text.n - needle.n) {
        const char *start = memchr(text.data + from, needle.data[0], text.n - needle.n - from + 1);
        if (start == NULL) {
            break;
        }
        from = (size_t)(start - text.data);
        if (memcmp(start, needle.data, needle.n) == 0) {
            return from;
        }
        from++;
    }
    return text.n;
}

kf_status kfi_jinja_compare_equal(bool *dst, kfi_jinja_run *run, kfi_jinja_value a,
                                  kfi_jinja_value b)
{
    /* One more than is left, so that a comparison that gives up is one that costs too much. */
    const size_t most = KFI_JINJA_MAX_STEPS - run->steps + 1;
    kfi_jinja_effort effort = {.steps = most};
    *dst = kfi_jinja_equal(&a, &b, &effort);
    KFI_TRY(kfi_jinja_charge(run, most - effort.steps));
    return effort.too_deep ? kfi_fail(run->err, KF_RANGE, run->offset, "values nested too deeply")
                           : KF_OK;
}

kf_status kfi_jinja_contains(bool *dst, kfi_jinja_run *run, kfi_jinja_value needle,
                             kfi_jinja_value haystack)
{
    *dst = false;
    if (haystack.kind == KFI_JINJA_STRING && needle.kind == KFI_JINJA_STRING) {
        const kfi_jinja_text text = haystack.as.text;
        KFI_TRY(kfi_jinja_charge(run, 1 + text.n / 64 * (1 + needle.as.text.n / 64)));
        *dst = needle.as.text.n == 0 || kfi_jinja_text_find(text, 0, needle.as.text) < text.n;
        return KF_OK;
    }
    if (haystack.kind == KFI_JINJA_LIST) {
        for (size_t i = 0; !*dst && i < haystack.as.list->n; i++) {
            KFI_TRY(kfi_jinja_compare_equal(dst, run, needle, haystack.as.list->items[i]));
        }
        return KF_OK;
    }
    if (haystack.kind == KFI_JINJA_MAP && needle.kind == KFI_JINJA_STRING) {
        KFI_TRY(kfi_jinja_charge(run, 1 + haystack.as.map->n / 16));
        for (size_t i = 0; !*dst && i < haystack.as.map->n; i++) {
            *dst = kfi_jinja_text_equal(haystack.as.map->members[i].key, needle.as.text);
        }
        return KF_OK;
    }
    return haystack.kind == KFI_JINJA_UNDEFINED ? KF_OK
                                                : wrong_kinds(run, "'in'", &needle, &haystack);
}

static kf_status join_texts(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text a,
                            kfi_jinja_text b)
{
    void *joined = NULL;
    KFI_TRY(kfi_jinja_allocate(&joined, run, a.n + b.n, 1));
    memcpy(joined, a.data, a.n);
    memcpy((char *)joined + a.n, b.data, b.n);
    *dst = kfi_jinja_string(joined, a.n + b.n);
    return KF_OK;
}

static kf_status join_lists(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_list *a,
                            const kfi_jinja_list *b)
{
    kfi_jinja_value *items = NULL;
    kfi_jinja_list *list = NULL;
    KFI_TRY(kfi_jinja_list_new(&list, &items, run, a->n + b->n));
    for (size_t i = 0; i < a->n; i++) {
        *items++ = a->items[i];
    }
    for (size_t i = 0; i < b->n; i++) {
        *items++ = b->items[i];
    }
    *dst = kfi_jinja_of_list(list);
    return KF_OK;
}

/* ~ : both sides as they would be printed. */
static kf_status concat(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_value *a,
                        const kfi_jinja_value *b)
{
    kfi_buf text;
    kfi_jinja_text_init(&text, run);
    if (!kfi_jinja_write(&text, a, KFI_JINJA_PRINT) ||
        !kfi_jinja_write(&text, b, KFI_JINJA_PRINT)) {
        kfi_buf_deinit(&text);
        return kfi_fail(run->err, KF_RANGE, run->offset, "values nested too deeply");
    }
    return kfi_jinja_take_text(dst, run, &text);
}

/* Python's // and %: rounded down, the remainder has the divisor's sign. */
static kf_status divide(int64_t *dst, kfi_jinja_run *run, int64_t a, int64_t b, bool modulo)
{
    if (b == 0) {
        return kfi_fail(run->err, KF_FORMAT, run->offset, "division by zero");
    }
    if (b == -1) {
        *dst = modulo ? 0 : a == INT64_MIN ? INT64_MAX : -a;
        return KF_OK;
    }
    const int64_t remainder = a % b;
    const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
    *dst = modulo ? remainder + (adjust ? b : 0) : a / b - adjust;
    return KF_OK;
}

static kf_status arithmetic(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_op op, int64_t a,
                            int64_t b)
{
    int64_t result = 0;
    bool overflow = false;
    switch (op) {
    case KFI_OP_ADD:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case KFI_OP_SUBTRACT:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case KFI_OP_MULTIPLY:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    default:
        KFI_TRY(divide(&result, run, a, b, op == KFI_OP_MODULO));
    }
    *dst = kfi_jinja_integer(result);
    return overflow ? kfi_fail(run->err, KF_RANGE, run->offset, "integer beyond 64 bits") : KF_OK;
}

static kf_status compare_order(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_op op,
                               const kfi_jinja_value *a, const kfi_jinja_value *b)
{
    int order = 0;
    int64_t i = 0;
    int64_t j = 0;
    if (kfi_jinja_number(&i, a) && kfi_jinja_number(&j, b)) {
        order = i < j ? -1 : i > j;
    } else if (a->kind == KFI_JINJA_STRING && b->kind == KFI_JINJA_STRING) {
        const kfi_jinja_text x = a->as.text;
        const kfi_jinja_text y = b->as.text;
        const size_t n = x.n < y.n ? x.n : y.n;
        KFI_TRY(kfi_jinja_charge(run, n / 64));
        order = memcmp(x.data, y.data, n);
        order = order != 0 ? order : x.n < y.n ? -1 : x.n > y.n;
    } else {
        return wrong_kinds(run, "comparison", a, b);
    }
    const bool result = op == KFI_OP_LESS         ? order < 0
                        : op == KFI_OP_LESS_EQUAL ? order <= 0
                        : op == KFI_OP_GREATER    ? order > 0
                                                  : order >= 0;
    *dst = kfi_jinja_bool(result);
    return KF_OK;
}

kf_status kfi_jinja_binary(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_op op,
                           const kfi_jinja_value *a, const kfi_jinja_value *b)
{
    bool result = false;
    switch (op) {
    case KFI_OP_EQUAL:
    case KFI_OP_NOT_EQUAL:
        KFI_TRY(kfi_jinja_compare_equal(&result, run, *a, *b));
        *dst = kfi_jinja_bool(result == (op == KFI_OP_EQUAL));
        return KF_OK;
    case KFI_OP_IN:
    case KFI_OP_NOT_IN:
        KFI_TRY(kfi_jinja_contains(&result, run, *a, *b));
        *dst = kfi_jinja_bool(result == (op == KFI_OP_IN));
        return KF_OK;
    case KFI_OP_LESS:
    case KFI_OP_LESS_EQUAL:
    case KFI_OP_GREATER:
    case KFI_OP_GREATER_EQUAL:
        return compare_order(dst, run, op, a, b);
    case KFI_OP_CONCAT:
        return concat(dst, run, a, b);
    default:
        break;
    }
    if (op == KFI_OP_ADD && a->kind == KFI_JINJA_STRING && b->kind == KFI_JINJA_STRING) {
        return join_texts(dst, run, a->as.text, b->as.text);
    }
    if (op == KFI_OP_ADD && a->kind == KFI_JINJA_LIST && b->kind == KFI_JINJA_LIST) {
        return join_lists(dst, run, a->as.list, b->as.list);
    }
    int64_t i = 0;
    int64_t j = 0;
    if (!kfi_jinja_number(&i, a) || !kfi_jinja_number(&j, b)) {
        return wrong_kinds(run, op == KFI_OP_ADD ? "sum" : "arithmetic", a, b);
    }
    return arithmetic(dst, run, op, i, j);
}
