/* fuzz_checkpoint.c - models of every container: Kerf's and Hugging Face's directories, GGUF,
 * llama2.c. One that opens has its tensors and computes; its logits may be anything.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bundle.h"
#include "kerf/model.h"
#include "kerf/quantize.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_tensors(kf_model *model)
{
    for (size_t i = 0; i < kf_model_tensor_count(model); i++) {
        kf_model_tensor tensor;
        size_t rows = 0;
        size_t cols = 0;
        kf_model_get_tensor(model, i, &tensor);
        if (!kfi_model_find(model, tensor.name, &rows, &cols) || cols == 0) {
            continue;
        }
        float *row = kfi_alloc(NULL, cols * sizeof *row);
        for (size_t r = 0; r < rows; r++) { /* tensors that the model does not use may not decode */
            (void)!kfi_model_read_rows(model, tensor.name, r, 1, row, NULL);
        }
        kfi_free(NULL, row, cols * sizeof *row);
    }
}

/* Three tokens behind the prefix, so that every weight is used. */
static void compute(kf_model *model, const kf_model_info *info)
{
    kf_session *session = NULL;
    kf_session_options options = KF_SESSION_OPTIONS_INIT;
    const uint32_t ids[] = {0, (uint32_t)info->vocabulary - 1, 0};
    size_t n = 0;
    size_t n_used = 0;
    if (info->context - info->n_prefix < 3) {
        return;
    }
    options.context = info->n_prefix + 3;
    options.batch = 2;
    require(kf_session_new(&session, model, &options, NULL) == KF_OK);
    require(kf_session_begin(session, ids, 3, &n_used, NULL) == KF_OK);
    require(kf_session_eval(session, ids + n_used, 3 - n_used, NULL) == KF_OK);
    float *logits = kfi_alloc(NULL, info->vocabulary * sizeof *logits);
    const float *hidden = kf_session_hidden(session, &n);
    require(n > 0 && logits != NULL);
    require(kf_session_head(session, logits, hidden, 1, NULL) == KF_OK);
    kfi_free(NULL, logits, info->vocabulary * sizeof *logits);
    kf_session_free(session);
}

static void check_model(const char *path)
{
    kf_model *model = NULL;
    kf_model_info info;
    kf_error err = {0};
    kf_model_options options = KF_MODEL_OPTIONS_INIT;
    options.float_cache_bytes = (uint64_t)64 << 20; /* else the system is asked for each model */
    const kf_status st = kf_model_open(&model, path, &options, &err);
    if (st != KF_OK) {
        require(model == NULL && err.code == st && err.msg[0] != '\0' && st != KF_INTERNAL);
        return;
    }
    kf_model_get_info(model, &info);
    require(info.parameters > 0 && info.n_prefix < info.context);
    read_tensors(model);
    compute(model, &info);
    kf_model_close(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const names[BUNDLE_NAMES] = {"model.gguf",
                                                    "model.bin",
                                                    "config.json",
                                                    "model.safetensors",
                                                    "model.safetensors.index.json",
                                                    "model-00001-of-00002.safetensors",
                                                    "model-00002-of-00002.safetensors",
                                                    "kerf.json"};
    char path[256];
    const uint32_t found = bundle_unpack(names, data, n);
    bundle_path(path, (found & 1u) != 0 ? names[0] : (found & 2u) != 0 ? names[1] : "");
    check_model(path);
    if ((found & 3u) == 0 && found >> 7 != 0) {
        kf_error err = {0};
        const kf_status st = kf_verify(path, NULL, &err);
        require(st == KF_OK || (err.code == st && err.msg[0] != '\0' && st != KF_INTERNAL));
    }
    return 0;
}
