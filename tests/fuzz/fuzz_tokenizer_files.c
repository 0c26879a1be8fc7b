/* fuzz_tokenizer_files.c - what stands beside a tokenizer.json, and llama2.c's tokenizer beside its
 * model: the ids that the files name exist, and the chat template renders or says why not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bundle.h"
#include "check_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_chat(const kf_tokenizer *t)
{
    static const kf_chat_message messages[] = {{"system", "Be kind."}, {"user", "Hi"}};
    kf_error err = {0};
    char *text = NULL;
    const kf_status st = kf_tokenizer_render_chat(&text, t, messages, 2, true, &err);
    require((st == KF_OK) == (text != NULL));
    require(st == KF_OK || (err.code == st && err.msg[0] != '\0' && st != KF_INTERNAL));
    require(st != KF_OK || kf_tokenizer_has_chat(t));
    kf_tokenizer_free_text(t, text);
}

static bool exists(const kf_tokenizer *t, uint32_t id)
{
    return id == KF_NO_TOKEN || id < kf_tokenizer_count(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const names[BUNDLE_NAMES] = {"model.bin",
                                                    "tok260.bin",
                                                    "tokenizer.bin",
                                                    "tokenizer.json",
                                                    "tokenizer_config.json",
                                                    "generation_config.json",
                                                    "chat_template.jinja"};
    char path[256];
    kf_tokenizer *t = NULL;
    kf_error err = {0};
    const uint32_t found = bundle_unpack(names, data, n);
    bundle_path(path, (found & 1u) != 0 ? names[0] : "");
    const kf_status st = kf_tokenizer_open(&t, path, NULL, &err);
    if (st == KF_OK) {
        require(exists(t, kf_tokenizer_bos(t)) && exists(t, kf_tokenizer_start(t)));
        require(works(t));
        check_chat(t);
    } else {
        require(t == NULL && err.code == st && err.msg[0] != '\0' && st != KF_INTERNAL);
    }
    kf_tokenizer_free(t);
    return 0;
}
