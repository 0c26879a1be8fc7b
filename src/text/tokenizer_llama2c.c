/* tokenizer_llama2c.c - the tokenizer file beside a llama2.c model: a SentencePiece model with
 * spaces written as such.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <math.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/file.h"
#include "io/llama2c.h"
#include "text/tokenizer.h"

/* <unk> <s> </s>, then the 256 bytes. */
#define FIRST_BYTE  3u
#define FIRST_PIECE 259u

/* A piece with U+2581 for its spaces. */
static kf_status set_piece(kf_tokenizer *t, size_t id, const char *text, size_t n, kf_error *err)
{
    kfi_buf escaped;
    kfi_buf_init(&escaped, t->alloc, SIZE_MAX / 2);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            (void)kfi_buf_append(&escaped, KFI_SPACE, KFI_SPACE_N);
        } else {
            (void)kfi_buf_append_byte(&escaped, (unsigned char)text[i]);
        }
    }
    const kf_status st = escaped.failed
                             ? kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "text of token %zu", id)
                             : kfi_tokenizer_set_token(t, id, escaped.n > 0 ? escaped.data : "",
                                                       escaped.n, KFI_TOKEN_NORMAL, err);
    kfi_buf_deinit(&escaped);
    return st;
}

static kf_status set_tokens(kf_tokenizer *t, const kfi_llama2c_vocabulary *v, kf_error *err)
{
    KFI_TRY(kfi_tokenizer_set_token(t, 0, "<unk>", 5, KFI_TOKEN_UNKNOWN, err));
    KFI_TRY(kfi_tokenizer_set_token(t, 1, "<s>", 3, KFI_TOKEN_CONTROL, err));
    KFI_TRY(kfi_tokenizer_set_token(t, 2, "</s>", 4, KFI_TOKEN_CONTROL, err));
    for (size_t i = FIRST_BYTE; i < v->n; i++) {
        if (isnan(v->scores[i])) {
            return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET, "score of token %zu is not a number", i);
        }
        KFI_TRY(i < FIRST_PIECE ? kfi_tokenizer_set_token(t, i, v->pieces[i], v->lengths[i],
                                                          KFI_TOKEN_BYTE, err)
                                : set_piece(t, i, v->pieces[i], v->lengths[i], err));
    }
    return KF_OK;
}

static kf_status fill(kf_tokenizer *t, const kfi_llama2c_vocabulary *v, kf_error *err)
{
    if (v->n < FIRST_PIECE) {
        return kfi_fail(err, KF_FORMAT, KF_NO_OFFSET,
                        "vocabulary of %zu tokens, expected at least %u", v->n, FIRST_PIECE);
    }
    t->spaces.escape = true;
    t->spaces.prefix = KFI_SPACE_PREFIX_ALWAYS;
    t->bpe.byte_fallback = true;
    t->bpe.fuse_unknown = true;
    t->bpe.unknown = 0;
    t->bos = 1;
    t->eos = 2;
    t->adds_bos = true;
    KFI_TRY(kfi_vocabulary_init(&t->vocabulary, v->n, t->alloc, err));
    KFI_TRY(set_tokens(t, v, err));
    kfi_tokenizer_mark_end(t, t->bos); /* in the training text it parts the stories */
    KFI_TRY(kfi_vocabulary_finish(&t->vocabulary, err));
    KFI_TRY(kfi_merges_from_scores(&t->bpe.merges, &t->vocabulary, v->scores, t->alloc, err));
    return kfi_tokenizer_finish(t, err);
}

/* tokN.bin for a vocabulary of N, or tokenizer.bin, in the model's directory. NULL without memory.
 */
static char *find_file(const char *model, size_t vocab_size, const kf_allocator *alloc)
{
    char name[32];
    const size_t n_directory = (size_t)(kfi_path_name(model) - model);
    char *directory =
        kfi_strndup(alloc, n_directory > 0 ? model : ".", n_directory > 0 ? n_directory : 1);
    if (directory == NULL) {
        return NULL;
    }
    (void)snprintf(name, sizeof name, "tok%zu.bin", vocab_size);
    char *path = kfi_path_join(alloc, directory, name);
    if (path != NULL && !kfi_file_exists(path)) {
        kfi_free_text(alloc, path);
        path = kfi_path_join(alloc, directory, "tokenizer.bin");
    }
    kfi_free_text(alloc, directory);
    return path;
}

static kf_status read_vocabulary(kfi_llama2c_vocabulary *v, const char *model,
                                 const kf_allocator *alloc, kf_error *err)
{
    kfi_llama2c *file = NULL;
    KFI_TRY(kfi_llama2c_open(&file, model, alloc, err));
    const size_t n = kfi_llama2c_get_config(file)->vocab_size;
    kfi_llama2c_close(file);
    char *path = find_file(model, n, alloc);
    if (path == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "name of a file");
    }
    const kf_status st = kfi_llama2c_vocabulary_read(v, path, n, alloc, err);
    kfi_free_text(alloc, path);
    return st;
}

kf_status kfi_tokenizer_from_llama2c(kf_tokenizer **tokenizer, const char *path,
                                     const kf_allocator *alloc, kf_error *err)
{
    kfi_llama2c_vocabulary v = {0};
    kf_tokenizer *t = NULL;
    *tokenizer = NULL;
    KFI_TRY(read_vocabulary(&v, path, alloc, err));
    kf_status st = kfi_tokenizer_new(&t, alloc, err);
    if (st == KF_OK) {
        st = fill(t, &v, err);
    }
    kfi_llama2c_vocabulary_deinit(&v);
    if (st != KF_OK) {
        kf_tokenizer_free(t);
        return st;
    }
    *tokenizer = t;
    return KF_OK;
}
