/* names.c - text of a file, and an index of unique names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "io/names.h"

#include <string.h>

#define SHOWN_MAX      72u
#define MAX_NAME_BYTES 200u /* file systems take 255; ".part.etag" and the like come behind */

kfi_shown kfi_text_show(kfi_text text)
{
    kfi_shown shown = {{0}};
    const bool is_cut = text.n > SHOWN_MAX;
    const size_t n = is_cut ? SHOWN_MAX : text.n;
    for (size_t i = 0; i < n; i++) {
        const unsigned char byte = (unsigned char)text.data[i];
        shown.text[i] = byte >= 0x20 && byte < 0x7F ? (char)byte : '?';
    }
    if (is_cut) {
        memcpy(shown.text + SHOWN_MAX, "...", 3);
    }
    return shown;
}

kfi_shown kfi_string_show(const char *text)
{
    return kfi_text_show((kfi_text){text, strlen(text)});
}

bool kfi_is_plain_name(kfi_text name)
{
    if (name.n == 0 || name.n > MAX_NAME_BYTES || name.data[0] == '.') {
        return false;
    }
    for (size_t i = 0; i < name.n; i++) {
        const unsigned char c = (unsigned char)name.data[i];
        if (c < 0x20 || c == 0x7F || c == '/' || c == '\\' || c == ':') {
            return false;
        }
    }
    return true;
}

/* FNV-1a, whose low bits depend on low bits only, and a multiply-shift mix that repairs that. */
static uint64_t hash_text(kfi_text text)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < text.n; i++) {
        hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(0x100000001B3);
    }
    hash = (hash ^ hash >> 32) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static bool text_equal(kfi_text a, kfi_text b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

size_t kfi_names_slots(size_t n)
{
    size_t n_slots = 4;
    while (n_slots / 2 < n) {
        n_slots *= 2;
    }
    return n_slots;
}

kfi_names_result kfi_names_add(kfi_names *names, size_t i)
{
    const kfi_text name = names->name(names->items, i);
    const size_t mask = names->n_slots - 1;
    size_t slot = (size_t)hash_text(name) & mask;
    for (size_t n_probes = 0; n_probes < KFI_NAMES_MAX_PROBES; n_probes++) {
        if (names->slots[slot] == 0) {
            names->slots[slot] = (uint32_t)(i + 1);
            return KFI_NAMES_ADDED;
        }
        if (text_equal(names->name(names->items, names->slots[slot] - 1), name)) {
            return KFI_NAMES_DUPLICATE;
        }
        slot = (slot + 1) & mask;
    }
    return KFI_NAMES_CROWDED;
}

size_t kfi_names_find(const kfi_names *names, kfi_text name)
{
    if (names->n_slots == 0) {
        return SIZE_MAX;
    }
    const size_t mask = names->n_slots - 1;
    size_t slot = (size_t)hash_text(name) & mask;
    for (size_t n_probes = 0; n_probes < KFI_NAMES_MAX_PROBES && names->slots[slot] != 0;
         n_probes++) {
        const size_t i = names->slots[slot] - 1;
        if (text_equal(names->name(names->items, i), name)) {
            return i;
        }
        slot = (slot + 1) & mask;
    }
    return SIZE_MAX;
}
