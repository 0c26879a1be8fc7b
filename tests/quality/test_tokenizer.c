/* The tokenizer of the default model.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "fixtures.h"
#include "kerf/tokenizer.h"

static const kf_chat_message bye = {"user", "Bye"};

static void renders_what_the_real_model_says(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_tokenizer *t = NULL;
    char *text = NULL;
    uint32_t ids[16];
    size_t n = 0;
    const char *model = fixture_model();
    SKIP_WITHOUT(model, "the default model");
    CHECK_OK(kf_tokenizer_open(&t, model, NULL, &err), &err);
    CHECK_OK(kf_tokenizer_render_chat(&text, t, &bye, 1, true, &err), &err);
    assert_non_null(strstr(text, "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n"));
    assert_int_equal(kf_tokenizer_start(t), 1);
    CHECK_OK(kf_tokenizer_encode(ids, 16, &n, t, "<|im_start|>user\n", 17, KF_ENCODE_SPECIAL, &err),
             &err);
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 1);
    kf_tokenizer_free_text(t, text);
    kf_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_what_the_real_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
