/* detokenize.c - from ids to text, one id at a time.
 *
 * The pieces of byte-level BPE and of byte fallback may end inside a character. What is not yet a
 * whole character waits in `pending` (at most three bytes: a valid start of one), so that every
 * chunk that comes out is valid UTF-8 and all chunks together are the text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <string.h>

#include "text/tokenizer.h"
#include "text/unicode.h"

/* Bytes written, with the room left for more. */
typedef struct text_sink {
    char *text;
    size_t room, n;
} text_sink;

static void put(text_sink *sink, const char *bytes, size_t n)
{
    if (n <= sink->room - sink->n) {
        memcpy(sink->text + sink->n, bytes, n);
        sink->n += n;
    }
}

/* Takes one byte: completes a character, waits for more, or replaces what cannot become one. */
static void push_byte(kf_detokenizer *d, unsigned char byte, text_sink *sink)
{
    d->pending[d->n_pending++] = byte;
    const kfi_utf8_char c = kfi_utf8_decode((const char *)d->pending, d->n_pending);
    if (c.cut) {
        return;
    }
    if (c.valid) {
        put(sink, (const char *)d->pending, c.n);
        d->n_pending = 0;
        return;
    }
    put(sink, KFI_REPLACEMENT_UTF8, 3);
    /* Only the newest byte can be beyond the invalid part: it may start another character. */
    const bool again = c.n < d->n_pending;
    d->n_pending = 0;
    if (again) {
        push_byte(d, byte, sink);
    }
}

void kf_detokenizer_init(kf_detokenizer *detokenizer, const kf_tokenizer *tokenizer)
{
    *detokenizer = (kf_detokenizer){.tokenizer = tokenizer, .first = true};
}

size_t kf_detokenizer_push(kf_detokenizer *detokenizer, uint32_t id, char *text, size_t text_n)
{
    text_sink sink = {text, text_n, 0};
    size_t n = 0;
    const char *piece = kf_tokenizer_piece(detokenizer->tokenizer, id, &n);
    const bool drops_space =
        detokenizer->first && detokenizer->tokenizer->spaces.prefix != KFI_SPACE_PREFIX_NEVER;
    size_t i = drops_space && n > 0 && piece[0] == ' ' ? 1 : 0;
    detokenizer->first = detokenizer->first && n == 0;
    for (; i < n; i++) {
        push_byte(detokenizer, (unsigned char)piece[i], &sink);
    }
    return sink.n;
}

size_t kf_detokenizer_finish(kf_detokenizer *detokenizer, char *text, size_t text_n)
{
    text_sink sink = {text, text_n, 0};
    if (detokenizer->n_pending > 0) {
        put(&sink, KFI_REPLACEMENT_UTF8, 3);
    }
    detokenizer->n_pending = 0;
    return sink.n;
}
