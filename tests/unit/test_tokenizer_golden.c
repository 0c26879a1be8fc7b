/* The published test strings of llama.cpp's vocabularies: text / ids / text.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "fixtures.h"
#include "kerf/tokenizer.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"

static void read_data(kfi_buf *buf, const char *relative)
{
    kf_error err = {0};
    const char *path = fixture_data(relative);
    SKIP_WITHOUT(path, relative);
    kfi_buf_init(buf, NULL, (size_t)1 << 20);
    CHECK_OK(kfi_file_read(buf, path, &err), &err);
}

/* The ids of one line; moves *at behind it. */
static size_t read_line(uint32_t *ids, size_t room, const char **at)
{
    size_t n = 0;
    while (**at != '\n' && **at != '\0') {
        char *end = NULL;
        const unsigned long id = strtoul(*at, &end, 10);
        if (end == *at) {
            (*at)++; /* a space in front of the line end */
            continue;
        }
        assert_true(n < room);
        ids[n++] = (uint32_t)id;
        *at = end;
    }
    *at += **at == '\n';
    return n;
}

static void assert_text_comes_back(const kf_tokenizer *tokenizer, const uint32_t *ids, size_t n_ids,
                                   const char *text, size_t n)
{
    static char back[1 << 16];
    kf_detokenizer d;
    size_t n_back = 0;
    kf_detokenizer_init(&d, tokenizer);
    for (size_t i = 0; i < n_ids; i++) {
        n_back += kf_detokenizer_push(&d, ids[i], back + n_back, sizeof back - n_back);
    }
    n_back += kf_detokenizer_finish(&d, back + n_back, sizeof back - n_back);
    assert_int_equal(n_back, n);
    assert_memory_equal(back, text, n);
}

static void check_pairs(const char *model, const char *inputs, const char *outputs)
{
    kf_error err = {0};
    kf_tokenizer *tokenizer = NULL;
    kfi_buf in;
    kfi_buf out;
    read_data(&in, inputs);
    read_data(&out, outputs);
    CHECK_OK(kf_tokenizer_open(&tokenizer, model, NULL, &err), &err);
    const char *text = in.data;
    const char *line = out.data;
    size_t n_cases = 0;
    for (;;) {
        uint32_t expected[1024];
        uint32_t ids[1024];
        size_t n_ids = 0;
        const char *end = strstr(text, SEPARATOR);
        if (end == NULL) {
            break;
        }
        const size_t n = (size_t)(end - text);
        const size_t n_expected = read_line(expected, 1024, &line);
        CHECK_OK(kf_tokenizer_encode(ids, 1024, &n_ids, tokenizer, text, n, 0, &err), &err);
        if (n_ids != n_expected || memcmp(ids, expected, n_ids * sizeof *ids) != 0) {
            fail_msg("case %zu: '%.*s' has other ids", n_cases, (int)n, text);
        }
        assert_text_comes_back(tokenizer, ids, n_ids, text, n);
        text = end + strlen(SEPARATOR);
        n_cases++;
    }
    assert_true(n_cases > 40);
    kf_tokenizer_free(tokenizer);
    kfi_buf_deinit(&in);
    kfi_buf_deinit(&out);
}

/* fixture_data() overwrites its string: keep a copy of the model's path. */
static void check_vocabulary(const char *name)
{
    char model[4096];
    char relative[3][128];
    (void)snprintf(relative[0], sizeof relative[0], "tokenizers/ggml-vocab-%s.gguf", name);
    (void)snprintf(relative[1], sizeof relative[1], "tokenizers/ggml-vocab-%s.gguf.inp", name);
    (void)snprintf(relative[2], sizeof relative[2], "tokenizers/ggml-vocab-%s.gguf.out", name);
    const char *path = fixture_data(relative[0]);
    SKIP_WITHOUT(path, relative[0]);
    (void)snprintf(model, sizeof model, "%s", path);
    check_pairs(model, relative[1], relative[2]);
}

static void gpt2_pairs_agree(void **state)
{
    (void)state;
    check_vocabulary("gpt-2");
}

static void llama_sentencepiece_pairs_agree(void **state)
{
    (void)state;
    check_vocabulary("llama-spm");
}

static void qwen2_pairs_agree(void **state)
{
    (void)state;
    const char *model = fixture_qwen();
    SKIP_WITHOUT(model, "the Qwen2 model (tools/fetch_qwen.sh brings it)");
    check_pairs(model, "tokenizers/ggml-vocab-qwen2.gguf.inp",
                "tokenizers/ggml-vocab-qwen2.gguf.out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt2_pairs_agree),
        cmocka_unit_test(llama_sentencepiece_pairs_agree),
        cmocka_unit_test(qwen2_pairs_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
