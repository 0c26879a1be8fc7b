/* Whole checkpoints cut and changed at random: an error or a model that runs, never a crash.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "check.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "fixtures.h"
#include "kerf/model.h"
#include "tiny_kerf.h"
#include "tiny_model.h"

#define N_MUTATIONS 1500

/* Opens and runs a few tokens; any status is fine, as long as its report is filled in. */
static bool try_model(const char *path)
{
    kf_error err = {0};
    kf_model *model = NULL;
    kf_session *session = NULL;
    kf_model_options model_options = KF_MODEL_OPTIONS_INIT;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    const uint32_t ids[3] = {1, 2, 3};
    model_options.weights = KF_WEIGHTS_AUTO;
    kf_status st = kf_model_open(&model, path, &model_options, &err);
    if (st == KF_OK) {
        kf_model_info info;
        kf_model_get_info(model, &info);
        options.context = info.context < 8 ? info.context : 8;
        const size_t n = options.context < 3 ? options.context : 3;
        st = kf_session_new(&session, model, &options, &err);
        size_t n_used = 0;
        st = st == KF_OK ? kf_session_begin(session, ids, 0, &n_used, &err) : st;
        st = st == KF_OK ? kf_session_eval(session, ids, n, &err) : st;
    }
    if (st != KF_OK) {
        assert_int_equal(err.code, st);
        assert_true(err.msg[0] != '\0');
    }
    kf_session_free(session);
    kf_model_close(model);
    return st == KF_OK;
}

/* Most changes go where the structure is: the first bytes, and the places of known words. */
static void mutate(kfi_buf *buf, const kfi_buf *sound, kfi_rng *rng)
{
    kfi_buf_clear(buf);
    const uint64_t kind = kfi_rng_below(rng, 8);
    const size_t n = kind == 0 ? (size_t)kfi_rng_below(rng, sound->n) : sound->n;
    assert_true(kfi_buf_append(buf, sound->data, n));
    const size_t room = kind < 4 || n < 3000 ? n : 3000;
    const size_t n_changes = 1 + (size_t)kfi_rng_below(rng, 3);
    for (size_t i = 0; i < n_changes && room > 8; i++) {
        const size_t at = (size_t)kfi_rng_below(rng, room - 8);
        if (kind == 7) { /* a number of the file becomes an extreme one */
            static const uint64_t extremes[] = {0, 1, UINT64_MAX, UINT64_C(1) << 63, UINT32_MAX};
            memcpy(buf->data + at, &extremes[kfi_rng_below(rng, 5)], 8);
        } else {
            buf->data[at] = (char)(buf->data[at] ^ (1 << kfi_rng_below(rng, 8)));
        }
    }
}

/* Changes one file of a checkpoint again and again; returns how many of the changed ones still ran.
 */
static size_t check_file(const char *model_path, const char *file_path, uint64_t seed)
{
    kf_error err = {0};
    kfi_rng rng;
    kfi_buf sound;
    kfi_buf changed;
    size_t n_opened = 0;
    kfi_rng_init(&rng, seed);
    kfi_buf_init(&sound, NULL, 1 << 24);
    kfi_buf_init(&changed, NULL, 1 << 24);
    CHECK_OK(kfi_file_read(&sound, file_path, &err), &err);
    assert_true(try_model(model_path));
    for (size_t i = 0; i < N_MUTATIONS; i++) {
        mutate(&changed, &sound, &rng);
        /* A new file and no kfi_file_write(): both syncing and cutting an old file wait for the
         * disk. */
        (void)remove(file_path);
        FILE *file = fopen(file_path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(changed.data, 1, changed.n, file), changed.n);
        assert_int_equal(fclose(file), 0);
        n_opened += try_model(model_path) ? 1 : 0;
    }
    CHECK_OK(kfi_file_write(file_path, sound.data, sound.n, &err), &err);
    kfi_buf_deinit(&sound);
    kfi_buf_deinit(&changed);
    return n_opened;
}

/* Both kinds of result must have occurred, or the changes were too weak or too strong. */
static void check_model(const char *path, uint64_t seed)
{
    assert_in_range(check_file(path, path, seed), 1, N_MUTATIONS - 1);
}

static void survives_a_changed_gguf(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.dtype = KFI_DTYPE_Q8_0;
    tiny_model *tiny = tiny_model_new(*state, &o);
    check_model(tiny->path, 1);
    tiny_model_free(tiny);
}

static void survives_a_changed_llama2c_file(void **state)
{
    tiny_options o = tiny_options_of("llama");
    o.container = TINY_LLAMA2C;
    tiny_model *tiny = tiny_model_new(*state, &o);
    check_model(tiny->path, 2);
    tiny_model_free(tiny);
}

static void check_directory(const char *path, const char *const *files, size_t n, uint64_t seed)
{
    size_t n_opened = 0;
    for (size_t i = 0; i < n; i++) {
        char file[700];
        (void)snprintf(file, sizeof file, "%s/%s", path, files[i]);
        n_opened += check_file(path, file, seed + i);
    }
    assert_in_range(n_opened, 1, n * N_MUTATIONS - 1);
}

static void survives_a_changed_hugging_face_directory(void **state)
{
    tiny_options o = tiny_options_of("qwen2");
    o.container = TINY_SHARDED;
    static const char *const files[] = {"config.json", "model.safetensors.index.json",
                                        "model-00002-of-00002.safetensors"};
    tiny_model *tiny = tiny_model_new(*state, &o);
    check_directory(tiny->path, files, 3, 3);
    tiny_model_free(tiny);
}

static void survives_a_changed_kerf_checkpoint(void **state)
{
    const tiny_options o = tiny_options_of("llama");
    static float rows[2 * 4 * 32];
    const uint32_t ids[4] = {5, 6, 7, 8};
    tiny_kerf_options k = tiny_kerf_defaults();
    k.n_prefix = 4;
    k.prefix_ids = ids;
    k.prefix_keys = rows;
    k.prefix_values = rows;
    static const char *const files[] = {"config.json", "model-00001-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    char path[600];
    tiny_model *tiny = tiny_model_new(*state, &o);
    (void)snprintf(path, sizeof path, "%s/packed", (const char *)*state);
    tiny_kerf_write(path, tiny, &k);
    check_directory(path, files, 3, 7);
    tiny_model_free(tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(survives_a_changed_gguf),
        IN_DIRECTORY(survives_a_changed_llama2c_file),
        IN_DIRECTORY(survives_a_changed_hugging_face_directory),
        IN_DIRECTORY(survives_a_changed_kerf_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
