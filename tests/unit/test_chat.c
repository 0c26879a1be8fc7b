/* Chat templates of the usual families, in our own words.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include "build_tokenizer.h"

static const kf_chat_message talk[] = {
    {"system", "Be brief."}, {"user", " Hi\nthere "}, {"assistant", "Yes?"}, {"user", "Bye"}};

static kf_tokenizer *open_with(const char *chat)
{
    kf_error err = {0};
    kfi_buf buf;
    kf_tokenizer *tokenizer = NULL;
    tokenizer_spec spec = small_spec();
    spec.chat = chat;
    spec.add_bos = false;
    build_tokenizer_gguf(&buf, &spec);
    CHECK_OK(read_tokenizer(&tokenizer, &buf, NULL, &err), &err);
    assert_string_equal(err.msg, ""); /* what succeeds leaves the report alone */
    return tokenizer;
}

static void assert_chat(const char *chat, size_t from, bool generate, const char *expected)
{
    kf_error err = {0};
    kf_tokenizer *t = open_with(chat);
    char *text = NULL;
    assert_true(kf_tokenizer_has_chat(t));
    CHECK_OK(kf_tokenizer_render_chat(&text, t, talk + from, 4 - from, generate, &err), &err);
    assert_string_equal(text, expected);
    kf_tokenizer_free_text(t, text);
    kf_tokenizer_free(t);
}

static void renders_chatml_with_a_default_system_message(void **state)
{
    (void)state;
    static const char chat[] =
        "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nBe kind<|im_end|>\\n' }}{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    assert_chat(chat, 0, false,
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi\nthere <|im_end|>\n"
                "<|im_start|>assistant\nYes?<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n");
    assert_chat(chat, 3, true,
                "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
                "<|im_start|>assistant\n");
}

static void renders_qwen_style_with_an_unused_branch_for_tools(void **state)
{
    (void)state;
    static const char chat[] =
        "{%- if tools %}\n"
        "    {{- 'Tools:' }}\n"
        "    {%- for tool in tools %}\n"
        "        {{- tool | tojson }}\n"
        "    {%- endfor %}\n"
        "{%- else %}\n"
        "    {%- if messages[0]['role'] == 'system' %}\n"
        "        {{- '[' + messages[0]['content'] + ']\\n' }}\n"
        "    {%- endif %}\n"
        "{%- endif %}\n"
        "{%- for m in messages %}\n"
        "    {%- if (m.role == \"user\") or (m.role == \"assistant\" and not "
        "m.tool_calls) %}\n"
        "        {{- m.role + ':' + m.content + '\\n' }}\n"
        "    {%- elif m.role == \"tool\" %}\n"
        "        {%- if messages[loop.index0 - 1].role != \"tool\" %}"
        "{{- 'tool' }}{%- endif %}\n"
        "    {%- endif %}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n"
        "    {{- 'assistant:' }}\n"
        "{%- endif %}\n";
    assert_chat(chat, 0, true,
                "[Be brief.]\nuser: Hi\nthere \nassistant:Yes?\nuser:Bye\nassistant:");
}

static void renders_llama3_style(void **state)
{
    (void)state;
    static const char chat[] =
        "{% set all = messages %}{% for m in all %}{% set content = '<|head|>' + m['role'] + "
        "'<|/head|>\n\n' + m['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}"
        "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
        "{{ '<|head|>assistant<|/head|>\n\n' if add_generation_prompt }}";
    assert_chat(chat, 2, true,
                "<s><|head|>assistant<|/head|>\n\nYes?<|eot|><|head|>user<|/head|>\n\nBye<|eot|>"
                "<|head|>assistant<|/head|>\n\n");
}

static void renders_llama2_style_and_raises_its_exception(void **state)
{
    (void)state;
    static const char chat[] =
        "{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}"
        "{% set system = messages[0]['content'] %}{% else %}{% set turns = messages %}"
        "{% set system = false %}{% endif %}{% for m in turns %}"
        "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must take turns') }}{% endif %}"
        "{% if loop.index0 == 0 and system != false %}"
        "{% set content = '<<' + system + '>>' + m['content'] %}"
        "{% else %}{% set content = m['content'] %}{% endif %}{% if m['role'] == 'user' %}"
        "{{ bos_token + '[Q] ' + content.strip() + ' [/Q]' }}{% else %}"
        "{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";
    assert_chat(chat, 0, false,
                "<s>[Q] <<Be brief.>> Hi\nthere [/Q] Yes? <|im_end|><s>[Q] Bye [/Q]");
    kf_error err = {0};
    kf_tokenizer *t = open_with(chat);
    char *text = NULL;
    assert_int_equal(kf_tokenizer_render_chat(&text, t, talk + 2, 2, false, &err), KF_FORMAT);
    assert_null(text);
    assert_non_null(strstr(err.msg, "Roles must take turns"));
    kf_tokenizer_free(t);
}

static void renders_mistral_style_with_a_namespace(void **state)
{
    (void)state;
    static const char chat[] =
        "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}"
        "{%- set messages = messages[1:] %}{%- endif %}\n"
        "{%- set ns = namespace(i=0) %}\n"
        "{%- for m in messages %}{%- set ns.i = ns.i + 1 %}{%- endfor %}\n"
        "{{- bos_token + (ns.i | string) }}\n"
        "{%- for m in messages %}\n"
        "    {%- if m.role == 'user' %}\n"
        "        {{- '[I] ' }}{%- if loop.last and system is defined %}{{- system + '\\n' }}"
        "{%- endif %}{{- m.content + '[/I]' }}\n"
        "    {%- else %}\n"
        "        {{- ' ' + m.content | trim + eos_token }}\n"
        "    {%- endif %}\n"
        "{%- endfor %}";
    assert_chat(chat, 0, false, "<s>3[I]  Hi\nthere [/I] Yes?<|im_end|>[I] Be brief.\nBye[/I]");
}

static void start_token_comes_from_the_template(void **state)
{
    (void)state;
    kf_tokenizer *t = open_with("<|im_start|>{{ messages[0].content }}");
    assert_int_equal(kf_tokenizer_start(t), SMALL_IM_START);
    kf_tokenizer_free(t);
    t = open_with(NULL);
    assert_int_equal(kf_tokenizer_start(t), SMALL_BOS);
    kf_tokenizer_free(t);
}

static void a_template_not_understood_only_matters_when_asked_for(void **state)
{
    (void)state;
    kf_error err = {0};
    char *text = NULL;
    kf_tokenizer *t = open_with("{% include 'other' %}");
    assert_false(kf_tokenizer_has_chat(t));
    assert_int_equal(kf_tokenizer_start(t), SMALL_BOS);
    assert_int_equal(kf_tokenizer_render_chat(&text, t, talk, 4, true, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "include"));
    kf_tokenizer_free(t);
    t = open_with(NULL);
    assert_int_equal(kf_tokenizer_render_chat(&text, t, talk, 4, true, &err), KF_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "no chat template"));
    kf_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_chatml_with_a_default_system_message),
        cmocka_unit_test(renders_qwen_style_with_an_unused_branch_for_tools),
        cmocka_unit_test(renders_llama3_style),
        cmocka_unit_test(renders_llama2_style_and_raises_its_exception),
        cmocka_unit_test(renders_mistral_style_with_a_namespace),
        cmocka_unit_test(start_token_comes_from_the_template),
        cmocka_unit_test(a_template_not_understood_only_matters_when_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
