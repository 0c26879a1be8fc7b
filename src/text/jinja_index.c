/* jinja_index.c - lists and maps: making them, their members, indices and slices.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "base/fail.h"
#include "text/jinja_run.h"
#include "text/jinja_strings.h"
#include "text/unicode.h"

/* Characters start…stop - 1 of a string. */
static kf_status slice_text(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                            int64_t start, int64_t stop)
{
    size_t at = 0;
    int64_t i = 0;
    KFI_TRY(kfi_jinja_charge(run, text.n / 16));
    for (; i < start && at < text.n; i++) {
        at += kfi_utf8_decode(text.data + at, text.n - at).n;
    }
    size_t end = at;
    for (; i < stop && end < text.n; i++) {
        end += kfi_utf8_decode(text.data + end, text.n - end).n;
    }
    *dst = kfi_jinja_string(text.data + at, end - at);
    return KF_OK;
}

/* The character at an index of a string; undefined beyond it. */
static kf_status index_text(kfi_jinja_value *dst, kfi_jinja_run *run, kfi_jinja_text text,
                            int64_t index)
{
    const int64_t n = (int64_t)kfi_jinja_count_characters(text);
    index += index < 0 ? n : 0;
    if (index < 0 || index >= n) {
        *dst = kfi_jinja_undefined();
        return kfi_jinja_charge(run, text.n / 16);
    }
    return slice_text(dst, run, text, index, index + 1);
}

kf_status kfi_jinja_get_member(kfi_jinja_value *dst, kfi_jinja_run *run,
                               const kfi_jinja_value *value, kfi_jinja_text key)
{
    const bool is_map = value->kind == KFI_JINJA_MAP || value->kind == KFI_JINJA_NAMESPACE;
    KFI_TRY(kfi_jinja_charge(run, is_map ? value->as.map->n / 16 : 0));
    *dst = kfi_jinja_member_of(value, key);
    return KF_OK;
}

kf_status kfi_jinja_list_new(kfi_jinja_list **list, kfi_jinja_value **items, kfi_jinja_run *run,
                             size_t n)
{
    void *memory = NULL;
    void *values = NULL;
    KFI_TRY(kfi_jinja_charge(run, n / 16));
    KFI_TRY(kfi_jinja_allocate(&values, run, n, sizeof **items));
    KFI_TRY(kfi_jinja_allocate(&memory, run, 1, sizeof **list));
    *items = values;
    *list = memory;
    **list = (kfi_jinja_list){values, n};
    return KF_OK;
}

kf_status kfi_jinja_map_new(kfi_jinja_map **map, kfi_jinja_run *run)
{
    void *memory = NULL;
    KFI_TRY(kfi_jinja_allocate(&memory, run, 1, sizeof **map));
    *map = memory;
    **map = (kfi_jinja_map){NULL, 0, 0};
    return KF_OK;
}

kf_status kfi_jinja_map_set(kfi_jinja_run *run, kfi_jinja_map *map, kfi_jinja_text key,
                            kfi_jinja_value value)
{
    KFI_TRY(kfi_jinja_charge(run, map->n / 16));
    for (size_t i = 0; i < map->n; i++) {
        if (kfi_jinja_text_equal(map->members[i].key, key)) {
            map->members[i].value = value;
            return KF_OK;
        }
    }
    if (map->n == map->capacity) {
        const size_t capacity = map->capacity == 0 ? 4 : 2 * map->capacity;
        void *members = NULL;
        KFI_TRY(kfi_jinja_allocate(&members, run, capacity, sizeof *map->members));
        if (map->n > 0) {
            memcpy(members, map->members, map->n * sizeof *map->members);
        }
        map->members = members;
        map->capacity = capacity;
    }
    map->members[map->n++] = (kfi_jinja_member){key, value};
    return KF_OK;
}

static kf_status undefined_has_nothing(kfi_jinja_run *run, const kfi_jinja_node *node)
{
    const kfi_jinja_text name = node->name;
    return name.n > 0
               ? kfi_fail(run->err, KF_FORMAT, node->offset, "'%.*s' is undefined",
                          (int)(name.n < 60 ? name.n : 60), name.data)
               : kfi_fail(run->err, KF_FORMAT, node->offset, "member of a value that is undefined");
}

kf_status kfi_jinja_evaluate_index(kfi_jinja_value *dst, kfi_jinja_run *run,
                                   const kfi_jinja_node *node)
{
    kfi_jinja_value object;
    kfi_jinja_value index;
    KFI_TRY(kfi_jinja_evaluate(&object, run, node->a));
    KFI_TRY(kfi_jinja_evaluate(&index, run, node->b));
    if (object.kind == KFI_JINJA_UNDEFINED) {
        return undefined_has_nothing(run, node->a);
    }
    if (index.kind == KFI_JINJA_STRING) {
        return kfi_jinja_get_member(dst, run, &object, index.as.text);
    }
    int64_t i = 0;
    if (!kfi_jinja_number(&i, &index)) {
        return kfi_fail(run->err, KF_FORMAT, run->offset,
                        "index of kind %s into a value of kind %s", kfi_jinja_kind_name(index.kind),
                        kfi_jinja_kind_name(object.kind));
    }
    if (object.kind == KFI_JINJA_STRING) {
        return index_text(dst, run, object.as.text, i);
    }
    *dst = kfi_jinja_undefined();
    if (object.kind == KFI_JINJA_LIST) {
        const int64_t n = (int64_t)object.as.list->n;
        i += i < 0 ? n : 0;
        if (i >= 0 && i < n) {
            *dst = object.as.list->items[i];
        }
    }
    return KF_OK;
}

kf_status kfi_jinja_evaluate_attribute(kfi_jinja_value *dst, kfi_jinja_run *run,
                                       const kfi_jinja_node *node)
{
    kfi_jinja_value object;
    KFI_TRY(kfi_jinja_evaluate(&object, run, node->a));
    if (object.kind == KFI_JINJA_UNDEFINED) {
        return undefined_has_nothing(run, node->a);
    }
    return kfi_jinja_get_member(dst, run, &object, node->name);
}

/* A bound of a slice over n items as Python takes it: from the end where negative, cut to fit. */
static kf_status slice_bound(int64_t *dst, kfi_jinja_run *run, const kfi_jinja_node *node,
                             int64_t n, int64_t step, bool is_start)
{
    const int64_t low = step < 0 ? -1 : 0;
    const int64_t high = step < 0 ? n - 1 : n;
    kfi_jinja_value value = kfi_jinja_none();
    if (node != NULL) {
        KFI_TRY(kfi_jinja_evaluate(&value, run, node));
    }
    if (value.kind == KFI_JINJA_NONE) {
        *dst = is_start == (step < 0) ? high : low;
        return KF_OK;
    }
    int64_t i = 0;
    if (!kfi_jinja_number(&i, &value)) {
        return kfi_fail(run->err, KF_FORMAT, run->offset, "bound of a slice is no integer");
    }
    if (i < 0) {
        i = i < -n ? low : i + n;
    }
    *dst = i < low ? low : i > high ? high : i;
    return KF_OK;
}

static kf_status slice_list(kfi_jinja_value *dst, kfi_jinja_run *run, const kfi_jinja_list *list,
                            int64_t start, int64_t stop, int64_t step)
{
    kfi_jinja_value *items = NULL;
    kfi_jinja_list *slice = NULL;
    KFI_TRY(kfi_jinja_list_new(&slice, &items, run, list->n));
    slice->n = 0;
    for (int64_t i = start; step < 0 ? i > stop : i < stop; i += step) {
        items[slice->n++] = list->items[i];
    }
    *dst = kfi_jinja_of_list(slice);
    return KF_OK;
}

kf_status kfi_jinja_evaluate_slice(kfi_jinja_value *dst, kfi_jinja_run *run,
                                   const kfi_jinja_node *node)
{
    kfi_jinja_value object;
    kfi_jinja_value by = kfi_jinja_integer(1);
    int64_t start = 0;
    int64_t stop = 0;
    KFI_TRY(kfi_jinja_evaluate(&object, run, node->a));
    if (object.kind != KFI_JINJA_LIST && object.kind != KFI_JINJA_STRING) {
        return kfi_fail(run->err, KF_FORMAT, node->offset, "slice of a value of kind %s",
                        kfi_jinja_kind_name(object.kind));
    }
    if (node->d != NULL) {
        KFI_TRY(kfi_jinja_evaluate(&by, run, node->d));
    }
    int64_t step = 0;
    if (!kfi_jinja_number(&step, &by) || step == 0 || step > INT32_MAX || step < INT32_MIN ||
        (step != 1 && object.kind == KFI_JINJA_STRING)) {
        return kfi_fail(run->err, KF_UNSUPPORTED, node->offset, "the step of this slice");
    }
    const int64_t n = object.kind == KFI_JINJA_LIST
                          ? (int64_t)object.as.list->n
                          : (int64_t)kfi_jinja_count_characters(object.as.text);
    KFI_TRY(slice_bound(&start, run, node->b, n, step, true));
    KFI_TRY(slice_bound(&stop, run, node->c, n, step, false));
    return object.kind == KFI_JINJA_LIST ? slice_list(dst, run, object.as.list, start, stop, step)
                                         : slice_text(dst, run, object.as.text, start, stop);
}
