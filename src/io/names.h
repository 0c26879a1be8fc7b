/* names.h - text of a file, and an index of unique names.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef KFI_IO_NAMES_H
#define KFI_IO_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text in a file: not NUL-terminated, may hold any byte. */
typedef struct kfi_text {
    const char *data;
    size_t n;
} kfi_text;

/* A text as it is safe to print in a message: at most 72 characters, all of them printable ASCII.
 */
typedef struct kfi_shown {
    char text[76];
} kfi_shown;
kfi_shown kfi_text_show(kfi_text text);
kfi_shown kfi_string_show(const char *text);

/* One path component that a stranger may name, to be opened or created in a directory of ours: not
 * empty, no slash, backslash or colon, no control character, no dot in front, at most 200 bytes. */
bool kfi_is_plain_name(kfi_text name);

/* An open-addressing index over items that the caller keeps: slots hold index + 1, 0 is free.
 *
 *   slot = mix(hash(name)) mod n_slots, then the next ones
 *
 * At most half of the slots are taken, so a million honest names never need more than some 80
 * probes. A file whose names were made to collide is refused at KFI_NAMES_MAX_PROBES, and a search
 * ends there: that keeps the worst case linear without a secret key. */
typedef struct kfi_names {
    const void *items;
    kfi_text (*name)(const void *items, size_t i);
    uint32_t *slots;
    size_t n_slots; /* power of two */
} kfi_names;

#define KFI_NAMES_MAX_PROBES 512u

typedef enum kfi_names_result {
    KFI_NAMES_ADDED,
    KFI_NAMES_DUPLICATE,
    KFI_NAMES_CROWDED
} kfi_names_result;

/* The slots that n items need: a power of two, at least 2 n. */
size_t kfi_names_slots(size_t n);
/* Adds item i; the slots were cleared before the first. */
kfi_names_result kfi_names_add(kfi_names *names, size_t i);
/* The index of an item, or SIZE_MAX. */
size_t kfi_names_find(const kfi_names *names, kfi_text name);

#endif /* KFI_IO_NAMES_H */
