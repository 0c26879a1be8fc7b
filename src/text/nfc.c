/* nfc.c - normalization form C, as of Unicode 9.0.
 *
 * Models that normalize were trained behind Hugging Face `tokenizers`, whose tables stand at
 * Unicode 9.0: to it a combining mark added later is an unassigned character, which neither moves
 * nor composes. utf8proc knows newer ones. So the text is cut at the marks added since, which stay
 * as they are; by the stability policy of Unicode nothing else has changed.
 *
 * utf8proc decomposes and composes; the marks between are ordered here, because its own way is
 * quadratic in their number (a megabyte of marks: minutes).
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include <utf8proc.h>

#include "base/fail.h"
#include "text/unicode.h"

/* Characters assigned in Unicode 10.0 to 15.0 that have a combining class other than 0; U+11930,
 * which composes with U+11935; and U+11A7, which composes with nothing, but which utf8proc 2.8
 * swallows behind a Hangul syllable. Sorted. */
static const uint32_t inert[][2] = {
    {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
    {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x11A7, 0x11A7},
    {0x1715, 0x1715},   {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},
    {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50},
    {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E},
    {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943},
    {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99},
    {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42},
    {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE},
    {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
};

static bool is_inert(uint32_t code)
{
    size_t low = 0;
    size_t high = sizeof inert / sizeof inert[0];
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (code > inert[middle][1]) {
            low = middle + 1;
        } else if (code < inert[middle][0]) {
            high = middle;
        } else {
            return true;
        }
    }
    return false;
}

bool kfi_unicode_is_plain(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((uint8_t)text[i] >= 0xCC) { /* the lead byte of U+0300 */
            return false;
        }
    }
    return true;
}

static uint8_t combining_class(utf8proc_int32_t code)
{
    return (uint8_t)utf8proc_get_property(code)->combining_class;
}

/* Stable counting sort of a run of marks by combining class. */
static void order_run(utf8proc_int32_t *codes, size_t n, utf8proc_int32_t *scratch)
{
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++) {
        start[combining_class(codes[i]) + 1]++;
    }
    for (size_t class = 0; class < 256; class ++) {
        start[class + 1] += start[class];
    }
    memcpy(scratch, codes, n * sizeof *codes);
    for (size_t i = 0; i < n; i++) {
        codes[start[combining_class(scratch[i])]++] = scratch[i];
    }
}

static void order_marks(utf8proc_int32_t *codes, size_t n, utf8proc_int32_t *scratch)
{
    size_t i = 0;
    while (i < n) {
        size_t end = i;
        while (end < n && combining_class(codes[end]) != 0) {
            end++;
        }
        if (end - i > 1) {
            order_run(codes + i, end - i, scratch);
        }
        i = end + 1;
    }
}

/* Decomposes n bytes; writes while there is room and returns how many codes there are. */
static size_t decompose(utf8proc_int32_t *codes, size_t room, const char *text, size_t n)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    size_t n_codes = 0;
    size_t i = 0;
    while (i < n) {
        const kfi_utf8_char c = kfi_utf8_decode(text + i, n - i);
        const size_t left = n_codes < room ? room - n_codes : 0;
        const utf8proc_ssize_t n_new = utf8proc_decompose_char(
            (utf8proc_int32_t)c.code, codes + n_codes, (utf8proc_ssize_t)left, options, NULL);
        n_codes += n_new > 0 ? (size_t)n_new : 0;
        i += c.n;
    }
    return n_codes;
}

/* The form C of a part without inert characters. */
static kf_status append_part(kfi_buf *dst, const char *text, size_t n, kf_error *err)
{
    /* No character decomposes to more than four, the longest with three bytes. Room for a NUL
     * behind the result, as utf8proc_reencode asks; and as much again to order marks. */
    size_t room = 0;
    size_t size = 0;
    if (n == 0) {
        return KF_OK;
    }
    utf8proc_int32_t *codes = NULL;
    if (kfi_add_size(n, n + 1, &room) && kfi_mul_size(room, 2 * sizeof *codes, &size)) {
        codes = kfi_alloc(dst->alloc, size);
    }
    if (codes == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "normalization of %zu bytes of text", n);
    }
    const size_t n_codes = decompose(codes, room - 1, text, n);
    order_marks(codes, n_codes, codes + room);
    const utf8proc_ssize_t n_bytes =
        utf8proc_reencode(codes, (utf8proc_ssize_t)n_codes, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    const bool appended = n_bytes >= 0 && kfi_buf_append(dst, codes, (size_t)n_bytes);
    kfi_free(dst->alloc, codes, size);
    return appended ? KF_OK
                    : kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "normalized text of %zu bytes", n);
}

kf_status kfi_unicode_append_nfc(kfi_buf *dst, const char *text, size_t n, kf_error *err)
{
    size_t start = 0;
    size_t i = 0;
    while (i < n) {
        const kfi_utf8_char c = kfi_utf8_decode(text + i, n - i);
        if (is_inert(c.code)) {
            KFI_TRY(append_part(dst, text + start, i - start, err));
            (void)kfi_buf_append(dst, text + i, c.n);
            start = i + c.n;
        }
        i += c.n;
    }
    KFI_TRY(append_part(dst, text + start, n - start, err));
    return dst->failed ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "normalized text of %zu bytes", n)
                       : KF_OK;
}
