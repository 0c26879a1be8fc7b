/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "fixtures.h"
#include "text/jinja.h"

/* Variables of every test: name = "Ada", items = [1, 2, 3], person = {first: "Ada", age: 36}. */
static kf_status render(kfi_buf *dst, const char *text, const kf_allocator *alloc, kf_error *err)
{
    const kfi_jinja_value numbers[] = {kfi_jinja_integer(1), kfi_jinja_integer(2),
                                       kfi_jinja_integer(3)};
    const kfi_jinja_list list = {numbers, 3};
    kfi_jinja_member members[] = {{{"first", 5}, kfi_jinja_string("Ada", 3)},
                                  {{"age", 3}, kfi_jinja_integer(36)}};
    kfi_jinja_map map = {members, 2, 2};
    const kfi_jinja_variable variables[] = {{"name", kfi_jinja_string("Ada", 3)},
                                            {"items", kfi_jinja_of_list(&list)},
                                            {"person", kfi_jinja_of_map(&map)}};
    kfi_jinja *jinja = NULL;
    kf_status st = kfi_jinja_parse(&jinja, text, strlen(text), alloc, err);
    if (st == KF_OK) {
        st = kfi_jinja_render(dst, jinja, variables, 3, alloc, err);
    }
    kfi_jinja_free(jinja);
    return st;
}

typedef struct rendering {
    const char *text;
    const char *expected;
} rendering;

static void assert_renderings(const rendering *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        kf_error err = {0};
        kfi_buf buf;
        kfi_buf_init(&buf, NULL, 100000);
        if (render(&buf, cases[i].text, NULL, &err) != KF_OK) {
            fail_msg("%s: %s", cases[i].text, err.msg);
        }
        const char *got = buf.n == 0 ? "" : buf.data;
        if (strcmp(got, cases[i].expected) != 0) {
            fail_msg("%s: got '%s', expected '%s'", cases[i].text, got, cases[i].expected);
        }
        kfi_buf_deinit(&buf);
    }
}

#define ASSERT_RENDERINGS(cases) assert_renderings(cases, sizeof cases / sizeof cases[0])

/* Expected texts are what Jinja 3.1 gives with trim_blocks and lstrip_blocks. */
static void evaluates_operators_with_their_precedence(void **state)
{
    (void)state;
    static const rendering cases[] = {
        {"{{ 1 + 2 * 3 - 4 }}", "3"},
        {"{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }}", "-4 2 -2"},
        {"{{ [1, [2, {'a': 'b'}]] == [1, [2, {'a': 'b'}]] }}{{ [1, [2]] == [1, [3]] }}",
         "TrueFalse"},
        {"{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}", "TrueFalse"},
        {"{{ 'a' ~ 1 ~ none ~ true }}", "a1NoneTrue"},
        {"{{ not false and true or nothing }}", "True"},
        {"{{ 5 > 3 and 'yes' or 'no' }}", "yes"},
        {"{{ 'x' if name == 'Bob' else 'y' }}{{ 'z' if false }}", "y"},
        {"{{ 'd' in name }}{{ 2 in items }}{{ 'age' in person }}{{ 9 not in items }}",
         "TrueTrueTrueTrue"},
        {"{{ 'a' 'b' + 'c' }}", "abc"},
        {"{{ [1] + items }}", "[1, 1, 2, 3]"},
        {"{{ 1 - -1 }}{{ - 2 + 5 }}", "23"},
    };
    ASSERT_RENDERINGS(cases);
}

static void reaches_members_indices_and_slices(void **state)
{
    (void)state;
    static const rendering cases[] = {
        {"{{ person.first }}{{ person['age'] }}{{ person.none_such }}", "Ada36"},
        {"{{ items[0] }}{{ items[-1] }}{{ items[7] }}", "13"},
        {"{{ items[1:] }}{{ items[:-1] }}{{ items[::-1] }}{{ items[::2] }}",
         "[2, 3][1, 2][3, 2, 1][1, 3]"},
        {"{{ '\xC3\xA9t\xC3\xA9'[1:] }}{{ '\xC3\xA9t\xC3\xA9'[-1] }}", "t\xC3\xA9\xC3\xA9"},
        {"{{ {'a': {'b': 2}}.a['b'] }}", "2"},
    };
    ASSERT_RENDERINGS(cases);
}

static void loops_and_their_state(void **state)
{
    (void)state;
    static const rendering cases[] = {
        {"{% for i in items %}{{ loop.index0 }}{{ i }}{{ loop.first }}{{ loop.last }} {% endfor %}",
         "01TrueFalse 12FalseFalse 23FalseTrue "},
        {"{% for i in items if i != 2 %}{{ loop.index }}/{{ loop.length }} {% endfor %}",
         "1/2 2/2 "},
        {"{% for i in [] %}x{% else %}empty{% endfor %}{% for i in nothing %}x{% endfor %}",
         "empty"},
        {"{% for k, v in person.items() %}{{ k }}={{ v }};{% endfor %}", "first=Ada;age=36;"},
        {"{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}"
         "{% endif %}{{ i }}{% endfor %}",
         "02"},
        {"{% for i in items %}{{ loop.previtem }}{{ loop.nextitem }},{% endfor %}", "2,13,2,"},
    };
    ASSERT_RENDERINGS(cases);
}

static void variables_have_scopes(void **state)
{
    (void)state;
    static const rendering cases[] = {
        {"{% set x = 1 %}{% for i in items %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
         "2341"},
        {"{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "2"},
        {"{% set ns = namespace(n=0) %}{% for i in items %}{% set ns.n = ns.n + i %}{% endfor %}"
         "{{ ns.n }}",
         "6"},
        {"{% set b %}<{{ name }}>{% endset %}{{ b }}{{ b }}", "<Ada><Ada>"},
        {"{% macro m(a, b='!') %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(2, b='?') }}", "1!2?"},
        {"{% generation %}{{ name }}{% endgeneration %}", "Ada"},
    };
    ASSERT_RENDERINGS(cases);
}

static void controls_white_space(void **state)
{
    (void)state;
    static const rendering cases[] = {
        {"a\n  {% if true %}\n  b\n  {% endif %}\nc", "a\n  b\nc"},
        {"a  {%- if true -%}  b  {%- endif %}\nc", "abc"},
        {"a {{- ' b ' -}} c", "a b c"},
        {" {%+ if true +%}\nb{% endif %}", " \nb"},
        {"x {# note #}\ny{#- more -#}  z", "x yz"},
        {"a\n  {# alone #}\nb", "a\nb"},
        {"end\n", "end"},
        {"a\r\n{% if true %}\r\nb{% endif %}", "a\nb"},
        {"{{ '{% not a tag %}' }}{{ {'a': {'b': 1}} }}", "{% not a tag %}{'a': {'b': 1}}"},
    };
    ASSERT_RENDERINGS(cases);
}

static void applies_filters_tests_and_methods(void **state)
{
    (void)state;
    static const rendering cases[] = {
        {"{{ '  a b ' | trim }}|{{ ' x '.strip() }}|{{ '--x-'.lstrip('-') }}|{{ 'x\n'.rstrip() }}",
         "a b|x|x-|x"},
        {"{{ 'aB' | upper }}{{ 'aB' | lower }}{{ 'hi you' | title }}{{ 'hI' | capitalize }}",
         "ABabHi YouHi"},
        {"{{ items | length }}{{ name | length }}{{ '\xC3\xA9' | count }}", "331"},
        {"{{ items | join(', ') }};{{ '-'.join(['a', 'b']) }}", "1, 2, 3;a-b"},
        {"{{ nothing | default('d') }}{{ '' | default('e', true) }}{{ 0 | default('f') }}", "de0"},
        {"{{ {'a': [1, true, none, 'q\"\\n']} | tojson }}",
         "{\"a\": [1, true, null, \"q\\\"\\n\"]}"},
        {"{{ items | first }}{{ items | last }}{{ (items | list)[1] }}{{ 7 | string }}", "1327"},
        {"{{ 'a-b-c' | replace('-', '+') }}{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}",
         "a+b+c['a', 'b', '', 'c']['a', 'b']"},
        {"{{ 'a,b,c'.split(',', 1)[-1] }}{{ name.startswith('A') }}{{ name.endswith('x') }}",
         "b,cTrueFalse"},
        {"{{ [person, {'age': 1}] | selectattr('age', 'equalto', 36) | list | length }}", "1"},
        {"{{ name is defined }}{{ nothing is not defined }}{{ none is none }}{{ name is string }}"
         "{{ person is mapping }}{{ items is iterable }}{{ 3 is odd }}{{ 4 is divisibleby 2 }}",
         "TrueTrueTrueTrueTrueTrueTrueTrue"},
        {"{{ true is sameas true }}{{ 1 is sameas true }}{{ 1 == true }}", "TrueFalseTrue"},
        {"{{ person.get('age') }}{{ person.get('x', 'y') }}{{ person.keys() | list }}",
         "36y['first', 'age']"},
        {"{{ [\"it's\", 'q'] }}{{ none }}{{ true }}", "[\"it's\", 'q']NoneTrue"},
        {"{{ '\\u00e9\\x41\\t\\q' }}", "\xC3\xA9"
                                       "A\t\\q"},
    };
    ASSERT_RENDERINGS(cases);
}

typedef struct failure {
    const char *text;
    kf_status status;
    const char *part;
} failure;

static void assert_failures(const failure *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        kf_error err = {0};
        kfi_buf buf;
        kfi_buf_init(&buf, NULL, 100000);
        const kf_status st = render(&buf, cases[i].text, NULL, &err);
        if (st != cases[i].status || strstr(err.msg, cases[i].part) == NULL) {
            fail_msg("%.60s: got %d: %s; expected %d: %s", cases[i].text, (int)st, err.msg,
                     (int)cases[i].status, cases[i].part);
        }
        kfi_buf_deinit(&buf);
    }
}

static void says_what_is_wrong_with_a_template(void **state)
{
    (void)state;
    static const failure cases[] = {
        {"{{ name", KF_FORMAT, "without an end"},
        {"{{ 'name }}", KF_FORMAT, "string without an end"},
        {"{# note", KF_FORMAT, "comment without an end"},
        {"{% if name %}x", KF_FORMAT, "expected 'endif'"},
        {"{% endif %}", KF_UNSUPPORTED, "the statement 'endif'"},
        {"{{ 1 + }}", KF_FORMAT, "the end of the tag, expected a value"},
        {"{{ items[] }}", KF_FORMAT, "expected an index"},
        {"{{ name $ }}", KF_FORMAT, "unexpected character"},
        {"{% for in items %}{% endfor %}", KF_FORMAT, "expected in"},
        {"{% break %}", KF_FORMAT, "outside a loop"},
        {"{% include 'x' %}", KF_UNSUPPORTED, "'include'"},
        {"{% set a, b = 1 %}", KF_UNSUPPORTED, "several names"},
        {"{{ 1.5 }}", KF_UNSUPPORTED, "fractional"},
        {"{{ 1 / 2 }}", KF_UNSUPPORTED, "operators"},
        {"{{ 99999999999999999999 }}", KF_RANGE, "64 bits"},
    };
    assert_failures(cases, sizeof cases / sizeof cases[0]);
}

static void says_what_fails_while_rendering(void **state)
{
    (void)state;
    static const failure cases[] = {
        {"{{ raise_exception('roles must alternate') }}", KF_FORMAT, "roles must alternate"},
        {"{{ nothing.x }}", KF_FORMAT, "'nothing' is undefined"},
        {"{{ name + 1 }}", KF_FORMAT, "string and integer"},
        {"{{ 1 // 0 }}", KF_FORMAT, "division by zero"},
        {"{{ name | no_such }}", KF_UNSUPPORTED, "the filter 'no_such'"},
        {"{{ name is no_such }}", KF_UNSUPPORTED, "the test 'no_such'"},
        {"{{ name.no_such() }}", KF_UNSUPPORTED, "the method 'no_such'"},
        {"{{ no_such() }}", KF_UNSUPPORTED, "the function 'no_such'"},
        {"{{ [person] | join(', ', attribute='age') }}", KF_UNSUPPORTED, "arguments of 'join'"},
        {"{{ 'a,b,c'.split(',', maxsplit=1) }}", KF_UNSUPPORTED, "arguments of 'split'"},
        {"{{ name.find('A', 1) }}", KF_UNSUPPORTED, "arguments of 'find'"},
        {"{{ person | tojson(indent=4) }}", KF_UNSUPPORTED, "arguments of 'tojson'"},
        {"{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", KF_FORMAT, "macro 'm' lacks"},
        {"{{ raise_exception('a', 'b') }}", KF_UNSUPPORTED, "arguments of 'raise_exception'"},
        {"{{ items | selectattr() }}", KF_FORMAT, "selection of a value"},
        {"{% set name.x = 1 %}", KF_FORMAT, "not a namespace"},
        {"{% for a, b in items %}{% endfor %}", KF_FORMAT, "no list of 2"},
        {"{{ 9223372036854775807 + 1 }}", KF_RANGE, "64 bits"},
    };
    assert_failures(cases, sizeof cases / sizeof cases[0]);
}

static void what_is_not_reached_does_no_harm(void **state)
{
    (void)state;
    static const rendering cases[] = {
        {"{% if tools %}{{ tools | no_such(indent=4) }}{{ no_such() }}{% endif %}ok", "ok"}};
    ASSERT_RENDERINGS(cases);
}

static void hostile_templates_meet_limits(void **state)
{
    (void)state;
    static const failure cases[] = {
        {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
         KF_RANGE, "more than"},
        {"{% set l = range(3000) | list %}{{ [l, l] == [l] }}{% for i in l %}{% if i in l %}"
         "{% endif %}{% endfor %}",
         KF_RANGE, "steps"},
        {"{% set ns = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(99) %}"
         "{% set ns.s = ns.s + ns.s %}{% endfor %}",
         KF_RANGE, "bytes of values"},
        {"{% for i in range(1000000) %}{{ i }}xxxxxxxxxxxxxxxx{% endfor %}", KF_RANGE,
         "bytes of text"},
        {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", KF_RANGE, "nested too deeply"},
        {"{{ range(99999999999) }}", KF_RANGE, "steps"},
        {"{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = [ns.l] %}{% endfor %}"
         "{{ ns.l }}",
         KF_RANGE, "nested too deeply"},
        /* Twice the same list in a list, thirty times: a thousand million values. */
        {"{% set ns = namespace(a=1, b=1) %}{% for i in range(30) %}{% set ns.a = [ns.a, ns.a] %}"
         "{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
         KF_RANGE, "steps"},
        {"{% set ns = namespace(a=1, b=1) %}{% for i in range(40) %}{% set ns.a = [ns.a] %}"
         "{% set ns.b = [ns.b] %}{% endfor %}{{ ns.a == ns.b }}",
         KF_RANGE, "nested too deeply"},
    };
    assert_failures(cases, sizeof cases / sizeof cases[0]);
}

/* A long list of one map with many members: each look into it counts. */
static void every_search_of_a_map_is_counted(void **state)
{
    (void)state;
    kf_error err = {0};
    kfi_buf text;
    kfi_buf out;
    kfi_buf_init(&text, NULL, (size_t)1 << 20);
    kfi_buf_init(&out, NULL, 100000);
    (void)kfi_buf_append_text(&text, "{% set ns = namespace(l=[{");
    for (int i = 0; i < 2000; i++) {
        (void)kfi_buf_printf(&text, "'m%d': 1,", i);
    }
    (void)kfi_buf_append_text(&text, "}]) %}{% for i in range(17) %}{% set ns.l = ns.l + ns.l %}"
                                     "{% endfor %}{{ ns.l | selectattr('none') | list }}");
    assert_false(text.failed);
    assert_int_equal(render(&out, text.data, NULL, &err), KF_RANGE);
    assert_non_null(strstr(err.msg, "steps"));
    kfi_buf_deinit(&out);
    kfi_buf_deinit(&text);
}

/* head, then open many times, then close as often. */
static kf_status render_nested(const char *open, const char *close, size_t n)
{
    kf_error err = {0};
    kfi_buf text;
    kfi_buf out;
    kfi_buf_init(&text, NULL, (size_t)1 << 20);
    kfi_buf_init(&out, NULL, 1000);
    (void)kfi_buf_append_text(&text, "{{ ");
    for (size_t i = 0; i < n; i++) {
        (void)kfi_buf_append_text(&text, open);
    }
    (void)kfi_buf_append_text(&text, "1");
    for (size_t i = 0; i < n; i++) {
        (void)kfi_buf_append_text(&text, close);
    }
    (void)kfi_buf_append_text(&text, " }}");
    const kf_status st = render(&out, text.data, NULL, &err);
    kfi_buf_deinit(&out);
    kfi_buf_deinit(&text);
    return st;
}

static void deep_nesting_is_refused_before_the_stack_ends(void **state)
{
    (void)state;
    assert_int_equal(render_nested("(", ")", 20), KF_OK);
    assert_int_equal(render_nested("(", ")", 100000), KF_RANGE);
    assert_int_equal(render_nested("[", "]", 100000), KF_RANGE);
    assert_int_equal(render_nested("-", "", 100000), KF_RANGE);
    assert_int_equal(render_nested("not ", "", 100000), KF_RANGE);
    assert_int_equal(render_nested("", " + 1", 100000), KF_RANGE);
    assert_int_equal(render_nested("1 if 1 else ", "", 50000), KF_RANGE);
    assert_int_equal(render_nested("", "[0]", 100000), KF_RANGE);
}

static void survives_an_allocator_that_fails(void **state)
{
    (void)state;
    static const char text[] =
        "{% set ns = namespace(a=1) %}{% macro m(x) %}{{ x | upper }}"
        "{% endmacro %}{% for i in items[1:] if i > 0 %}{{ m('a' ~ i) }}"
        "{{ {'k': [i]} | tojson }}{% endfor %}{% set t %}b{% endset %}{{ t }}";
    kf_status st = KF_NOMEM;
    for (size_t fail_at = 1; st != KF_OK; fail_at++) {
        fixture_allocator a;
        kf_error err = {0};
        kfi_buf buf;
        fixture_allocator_init(&a, fail_at);
        kfi_buf_init(&buf, &a.allocator, 1000);
        st = render(&buf, text, &a.allocator, &err);
        assert_true(st == KF_OK || st == KF_NOMEM);
        kfi_buf_deinit(&buf);
        assert_true(fixture_allocator_is_clean(&a));
        assert_true(fail_at < 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluates_operators_with_their_precedence),
        cmocka_unit_test(reaches_members_indices_and_slices),
        cmocka_unit_test(loops_and_their_state),
        cmocka_unit_test(variables_have_scopes),
        cmocka_unit_test(controls_white_space),
        cmocka_unit_test(applies_filters_tests_and_methods),
        cmocka_unit_test(says_what_is_wrong_with_a_template),
        cmocka_unit_test(says_what_fails_while_rendering),
        cmocka_unit_test(what_is_not_reached_does_no_harm),
        cmocka_unit_test(hostile_templates_meet_limits),
        cmocka_unit_test(every_search_of_a_map_is_counted),
        cmocka_unit_test(deep_nesting_is_refused_before_the_stack_ends),
        cmocka_unit_test(survives_an_allocator_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
