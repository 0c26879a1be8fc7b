/* fuzz_jinja.c - any bytes as a chat template, rendered over a small conversation.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "text/jinja.h"
#include "walk_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    kfi_jinja_member members[] = {{{"role", 4}, kfi_jinja_string("system", 6)},
                                  {{"content", 7}, kfi_jinja_string(" Be \xC3\xA9 \n", 8)},
                                  {{"role", 4}, kfi_jinja_string("user", 4)},
                                  {{"content", 7}, kfi_jinja_string("Hi", 2)}};
    kfi_jinja_map maps[] = {{members, 2, 2}, {members + 2, 2, 2}};
    const kfi_jinja_value messages[] = {kfi_jinja_of_map(&maps[0]), kfi_jinja_of_map(&maps[1])};
    const kfi_jinja_list list = {messages, 2};
    const kfi_jinja_variable variables[] = {{"messages", kfi_jinja_of_list(&list)},
                                            {"bos_token", kfi_jinja_string("<s>", 3)},
                                            {"tools", kfi_jinja_none()},
                                            {"add_generation_prompt", kfi_jinja_bool(true)}};
    kfi_jinja *jinja = NULL;
    kfi_buf out;
    kf_error err = {0};
    kfi_buf_init(&out, NULL, (size_t)1 << 20);
    kf_status st = kfi_jinja_parse(&jinja, (const char *)data, n, NULL, &err);
    if (st == KF_OK) {
        st = kfi_jinja_render(&out, jinja, variables, 4, NULL, &err);
    }
    require(st == KF_OK || (err.code == st && err.msg[0] != '\0'));
    require(st != KF_INTERNAL && st != KF_NOMEM);
    require(out.n <= out.max);
    kfi_jinja_free(jinja);
    kfi_buf_deinit(&out);
    return 0;
}
