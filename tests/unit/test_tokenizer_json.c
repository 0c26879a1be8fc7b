/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "base/alloc.h"
#include "base/file.h"
#include "build_tokenizer.h"
#include "fixtures.h"
#include "kerf/tokenizer.h"

#define BYTE_LEVEL                                                                                 \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define VOCAB                                                                                      \
    "{\"a\":0,\"b\":1,\"c\":2,\"\xC4\xA0\":3,\"ab\":4,\"\xC4\xA0"                                  \
    "ab\":5,\"1\":6}"
#define MERGES "[\"a b\",[\"\xC4\xA0\",\"ab\"]]"
#define ADDED                                                                                      \
    "[{\"id\":7,\"content\":\"<s>\",\"special\":true},"                                            \
    "{\"id\":8,\"content\":\"<e>\",\"special\":true,\"lstrip\":true,\"rstrip\":true},"             \
    "{\"id\":9,\"content\":\"<t>\",\"special\":false}]"

/* A tokenizer.json from its parts. */
static void build_json(char *dst, size_t n, const char *normalizer, const char *pre,
                       const char *processor, const char *model)
{
    (void)snprintf(dst, n,
                   "{\"version\":\"1.0\",\"added_tokens\":%s,\"normalizer\":%s,"
                   "\"pre_tokenizer\":%s,\"post_processor\":%s,\"model\":{%s}}",
                   ADDED, normalizer, pre, processor, model);
}

static const char plain_model[] = "\"type\":\"BPE\",\"vocab\":" VOCAB ",\"merges\":" MERGES;

static void write_file(const char *directory, const char *name, const char *text)
{
    kf_error err = {0};
    char *path = kfi_path_join(NULL, directory, name);
    CHECK_OK(kfi_file_write(path, text, strlen(text), &err), &err);
    kfi_free_text(NULL, path);
}

/* Opens a directory with this tokenizer.json and, where given, the two small files. */
static kf_status open_text(kf_tokenizer **t, const char *json, const char *config,
                           const char *generation, kf_error *err)
{
    char *directory = fixture_directory_new();
    write_file(directory, "tokenizer.json", json);
    if (config != NULL) {
        write_file(directory, "tokenizer_config.json", config);
    }
    if (generation != NULL) {
        write_file(directory, "generation_config.json", generation);
    }
    const kf_status st = kf_tokenizer_open(t, directory, NULL, err);
    fixture_directory_free(directory);
    return st;
}

static void assert_ids(const kf_tokenizer *t, const char *text, uint32_t flags, size_t n,
                       const uint32_t *expected)
{
    kf_error err = {0};
    uint32_t ids[64];
    size_t n_ids = 0;
    CHECK_OK(kf_tokenizer_encode(ids, 64, &n_ids, t, text, strlen(text), flags, &err), &err);
    assert_int_equal(n_ids, n);
    assert_memory_equal(ids, expected, n * sizeof *expected);
}

#define ASSERT_IDS(t, text, flags, ...)                                                            \
    do {                                                                                           \
        const uint32_t expected_ids[] = {__VA_ARGS__};                                             \
        assert_ids(t, text, flags, sizeof expected_ids / sizeof *expected_ids, expected_ids);      \
    } while (0)

static kf_tokenizer *open_json(const char *normalizer, const char *pre, const char *processor,
                               const char *model, const char *config, const char *generation)
{
    kf_error err = {0};
    char json[4096];
    kf_tokenizer *t = NULL;
    build_json(json, sizeof json, normalizer, pre, processor, model);
    CHECK_OK(open_text(&t, json, config, generation, &err), &err);
    return t;
}

static void reads_byte_level_bpe(void **state)
{
    (void)state;
    kf_tokenizer *t = open_json("null", BYTE_LEVEL, "null", plain_model, NULL, NULL);
    assert_int_equal(kf_tokenizer_count(t), 10);
    ASSERT_IDS(t, "ab abc", 0, 4, 5, 2);
    ASSERT_IDS(t, "a<t>b<s>", 0, 0, 9, 1); /* '<' 's' '>' are no tokens and fall out */
    ASSERT_IDS(t, "a<s>b", KF_ENCODE_SPECIAL, 0, 7, 1);
    ASSERT_IDS(t, "a  <e> b", KF_ENCODE_SPECIAL, 0, 8, 1); /* takes the space around it */
    assert_false(kf_tokenizer_adds_bos(t));
    kf_tokenizer_free(t);
}

static void single_numerals_come_before_bytes(void **state)
{
    (void)state;
    static const char pre[] = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
                              "\"individual_digits\":true}," BYTE_LEVEL "]}";
    static const char model[] = "\"type\":\"BPE\",\"vocab\":{\"1\":0,\"11\":1},"
                                "\"merges\":[\"1 1\"]";
    kf_tokenizer *t = open_json("null", pre, "null", model, NULL, NULL);
    ASSERT_IDS(t, "11", 0, 0, 0);
    kf_tokenizer_free(t);
    t = open_json("null", BYTE_LEVEL, "null", model, NULL, NULL);
    ASSERT_IDS(t, "11", 0, 1);
    kf_tokenizer_free(t);
}

static void template_processing_adds_bos(void **state)
{
    (void)state;
    static const char processor[] =
        "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
        "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\","
        "\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}]}";
    kf_tokenizer *t = open_json("null", BYTE_LEVEL, processor, plain_model, NULL, NULL);
    assert_true(kf_tokenizer_adds_bos(t));
    assert_int_equal(kf_tokenizer_start(t), 7);
    ASSERT_IDS(t, "a", KF_ENCODE_ADD_BOS, 7, 0);
    kf_tokenizer_free(t);
}

static void roles_and_ends_come_from_the_small_files(void **state)
{
    (void)state;
    kf_tokenizer *t = open_json("null", BYTE_LEVEL, "null", plain_model,
                                "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"<e>\","
                                "\"add_bos_token\":true,\"chat_template\":[{\"name\":\"default\","
                                "\"template\":\"<e>{{ bos_token }}\"}]}",
                                "{\"eos_token_id\":[8,9,4711]}");
    assert_int_equal(kf_tokenizer_bos(t), 7);
    assert_true(kf_tokenizer_adds_bos(t));
    assert_true(kf_tokenizer_is_end(t, 8));
    assert_true(kf_tokenizer_is_end(t, 9));
    assert_false(kf_tokenizer_is_end(t, 7));
    assert_true(kf_tokenizer_has_chat(t));
    kf_tokenizer_free(t);
}

#define SPACE_MODEL                                                                                \
    "\"type\":\"BPE\",\"byte_fallback\":true,\"fuse_unk\":true,\"unk_token\":\"u\",\"vocab\":"     \
    "{\"u\":0,\"\xE2\x96\x81\":1,\"a\":2,\"\xE2\x96\x81"                                           \
    "a\":3,\"<0x62>\":4},"                                                                         \
    "\"merges\":[\"\xE2\x96\x81 a\"]"

static void reads_sentencepiece_by_normalizer(void **state)
{
    (void)state;
    static const char normalizer[] =
        "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"\xE2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":"
        "\"\xE2\x96\x81\"}]}";
    kf_tokenizer *t = open_json(normalizer, "null", "null", SPACE_MODEL, NULL, NULL);
    ASSERT_IDS(t, "a ab", 0, 3, 3, 4);
    ASSERT_IDS(t, " a", 0, 1, 3);
    ASSERT_IDS(t, "axyzb", 0, 3, 0, 4);                 /* one unknown for all three */
    ASSERT_IDS(t, "a<s>a", KF_ENCODE_SPECIAL, 3, 7, 3); /* a prefix behind special tokens too */
    kf_tokenizer_free(t);
}

static void reads_sentencepiece_by_metaspace(void **state)
{
    (void)state;
    static const char first[] = "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                                "\"prepend_scheme\":\"first\",\"split\":false}";
    static const char always[] = "{\"type\":\"Metaspace\",\"replacement\":\"\xE2\x96\x81\","
                                 "\"prepend_scheme\":\"always\",\"split\":true}";
    kf_tokenizer *t = open_json("null", first, "null", SPACE_MODEL, NULL, NULL);
    ASSERT_IDS(t, "a<s>a", KF_ENCODE_SPECIAL, 3, 7, 2);
    ASSERT_IDS(t, " a", 0, 3); /* there is a space already */
    kf_tokenizer_free(t);
    t = open_json("null", always, "null", SPACE_MODEL, NULL, NULL);
    ASSERT_IDS(t, "a<s>a", KF_ENCODE_SPECIAL, 3, 7, 3);
    kf_tokenizer_free(t);
}

static void assert_refused(const char *json, kf_status status, const char *part)
{
    kf_error err = {0};
    kf_tokenizer *t = NULL;
    const kf_status st = open_text(&t, json, NULL, NULL, &err);
    assert_null(t);
    if (st != status || strstr(err.msg, part) == NULL) {
        fail_msg("got %d: %s; expected %d: %s", (int)st, err.msg, (int)status, part);
    }
}

static void refuses_other_pipelines_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *normalizer, *pre, *processor, *part;
    } cases[] = {
        {"{\"type\":\"Lowercase\"}", BYTE_LEVEL, "null", "normalizer 'Lowercase'"},
        {"null", "{\"type\":\"Whitespace\"}", "null", "pre-tokenizer 'Whitespace'"},
        {"null", "{\"type\":\"ByteLevel\"}", "null", "add_prefix_space"},
        {"null",
         "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\w+\"},\"behavior\":\"Isolated\"}",
         "null", "pattern '\\w+'"},
        {"null", BYTE_LEVEL, "{\"type\":\"BertProcessing\"}", "post-processor 'BertProcessing'"},
        {"null", "null", "null", "with neither"},
        {"{\"type\":\"NFC\"}", "{\"type\":\"Metaspace\"}", "null", "NFC without ByteLevel"},
        {"{\"type\":\"Prepend\",\"prepend\":\"\xE2\x96\x81\"}", BYTE_LEVEL, "null",
         "Prepend with ByteLevel"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[4096];
        build_json(json, sizeof json, cases[i].normalizer, cases[i].pre, cases[i].processor,
                   plain_model);
        assert_refused(json, KF_UNSUPPORTED, cases[i].part);
    }
}

static void refuses_malformed_models(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        kf_status status;
        const char *part;
    } cases[] = {
        {"\"type\":\"WordPiece\"", KF_UNSUPPORTED, "WordPiece"},
        {"\"type\":\"BPE\",\"vocab\":[],\"merges\":[]", KF_FORMAT, "'vocab'"},
        {"\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]", KF_FORMAT, "no valid id"},
        {"\"type\":\"BPE\",\"vocab\":{\"a\":4000000000},\"merges\":[]", KF_FORMAT, "ids for"},
        {"\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]", KF_FORMAT, "is taken"},
        {"\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":{}", KF_FORMAT, "'merges'"},
        {"\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]", KF_FORMAT, "two pieces"},
        {"\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"x\"]]", KF_FORMAT,
         "'x' is not in the vocabulary"},
        {"\"type\":\"BPE\",\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]", KF_UNSUPPORTED,
         "dropout"},
        {"\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\",\"vocab\":{},\"merges\":[]",
         KF_UNSUPPORTED, "end_of_word_suffix"},
        {"\"type\":\"BPE\",\"byte_fallback\":3,\"vocab\":{},\"merges\":[]", KF_FORMAT,
         "byte_fallback"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char json[4096];
        build_json(json, sizeof json, "null", BYTE_LEVEL, "null", cases[i].model);
        assert_refused(json, cases[i].status, cases[i].part);
    }
    assert_refused("{}", KF_FORMAT, "no 'model'");
    assert_refused("{\"model\":", KF_FORMAT, "tokenizer.json");
}

static void says_that_nothing_is_there(void **state)
{
    (void)state;
    kf_error err = {0};
    kf_tokenizer *t = NULL;
    char *directory = fixture_directory_new();
    assert_int_equal(kf_tokenizer_open(&t, "/no/such/model", NULL, &err), KF_INPUT);
    assert_int_equal(kf_tokenizer_open(&t, directory, NULL, &err), KF_INPUT);
    assert_non_null(strstr(err.msg, "tokenizer.json"));
    fixture_directory_free(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_byte_level_bpe),
        cmocka_unit_test(single_numerals_come_before_bytes),
        cmocka_unit_test(template_processing_adds_bos),
        cmocka_unit_test(roles_and_ends_come_from_the_small_files),
        cmocka_unit_test(reads_sentencepiece_by_normalizer),
        cmocka_unit_test(reads_sentencepiece_by_metaspace),
        cmocka_unit_test(refuses_other_pipelines_by_name),
        cmocka_unit_test(refuses_malformed_models),
        cmocka_unit_test(says_that_nothing_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
