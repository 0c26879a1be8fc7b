/* oracle_forward.c - a whole model in double precision and simple loops.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oracle_forward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *new_doubles(size_t n)
{
    double *x = calloc(n, sizeof *x);
    if (x == NULL) {
        abort();
    }
    return x;
}

static const tiny_tensor *of_layer(const tiny_model *model, size_t i_layer, const char *what)
{
    char name[128];
    (void)snprintf(name, sizeof name, "model.layers.%zu.%s", i_layer, what);
    return tiny_model_find(model, name);
}

/* y[n][rows] = x[n][cols] W^T + bias */
static double *linear(const tiny_model *model, size_t i_layer, const char *module, const double *x,
                      size_t n)
{
    char what[96];
    (void)snprintf(what, sizeof what, "%s.weight", module);
    const tiny_tensor *w = of_layer(model, i_layer, what);
    const bool has_bias = model->config.architecture->qkv_bias &&
                          strncmp(module, "self_attn.", 10) == 0 &&
                          strcmp(module, "self_attn.o_proj") != 0;
    (void)snprintf(what, sizeof what, "%s.bias", module);
    const tiny_tensor *bias = has_bias ? of_layer(model, i_layer, what) : NULL;
    double *y = new_doubles(n * w->rows);
    for (size_t t = 0; t < n; t++) {
        for (size_t r = 0; r < w->rows; r++) {
            double sum = bias == NULL ? 0.0 : (double)bias->data[r];
            for (size_t k = 0; k < w->cols; k++) {
                sum += (double)w->data[r * w->cols + k] * x[t * w->cols + k];
            }
            y[t * w->rows + r] = sum;
        }
    }
    return y;
}

static double *norm(const tiny_model *model, const tiny_tensor *weight, const double *x, size_t n)
{
    const size_t width = weight->cols;
    double *y = new_doubles(n * width);
    for (size_t t = 0; t < n; t++) {
        double squares = 0;
        for (size_t k = 0; k < width; k++) {
            squares += x[t * width + k] * x[t * width + k];
        }
        const double scale =
            1.0 / sqrt(squares / (double)width + (double)model->config.rms_epsilon);
        for (size_t k = 0; k < width; k++) {
            y[t * width + k] = x[t * width + k] * scale * (double)weight->data[k];
        }
    }
    return y;
}

double oracle_rope_frequency(const kfi_config *config, size_t i_pair)
{
    const double pi = acos(-1.0);
    const double f =
        1.0 / pow((double)config->rope_theta, 2.0 * (double)i_pair / (double)config->head_dim);
    const double factor = (double)config->rope_factor;
    if (config->rope_scaling == KFI_ROPE_LINEAR) {
        return f / factor;
    }
    if (config->rope_scaling == KFI_ROPE_NONE) {
        return f;
    }
    const double low = (double)config->rope_low_frequency;
    const double high = (double)config->rope_high_frequency;
    const double context = (double)config->rope_original_context;
    const double wavelength = 2.0 * pi / f;
    if (wavelength < context / high) {
        return f;
    }
    if (wavelength > context / low) {
        return f / factor;
    }
    const double smooth = (context / wavelength - low) / (high - low);
    return (1.0 - smooth) * f / factor + smooth * f;
}

static void rotate(const kfi_config *config, double *x, size_t n, size_t n_heads)
{
    const size_t d = config->head_dim;
    for (size_t t = 0; t < n; t++) {
        for (size_t h = 0; h < n_heads; h++) {
            double *head = x + (t * n_heads + h) * d;
            for (size_t i = 0; i < d / 2; i++) {
                const double angle = (double)t * oracle_rope_frequency(config, i);
                const double a = head[i];
                const double b = head[i + d / 2];
                head[i] = a * cos(angle) - b * sin(angle);
                head[i + d / 2] = b * cos(angle) + a * sin(angle);
            }
        }
    }
}

/* One query head at token t. */
static void attend(const kfi_config *config, double *dst, const double *q, const double *k,
                   const double *v, size_t kv_width, size_t t)
{
    const size_t d = config->head_dim;
    double *score = new_doubles(t + 1);
    double largest = -INFINITY;
    for (size_t s = 0; s <= t; s++) {
        for (size_t i = 0; i < d; i++) {
            score[s] += q[i] * k[s * kv_width + i];
        }
        score[s] /= sqrt((double)d);
        largest = fmax(largest, score[s]);
    }
    double sum = 0;
    for (size_t s = 0; s <= t; s++) {
        score[s] = exp(score[s] - largest);
        sum += score[s];
    }
    for (size_t i = 0; i < d; i++) {
        dst[i] = 0;
        for (size_t s = 0; s <= t; s++) {
            dst[i] += score[s] / sum * v[s * kv_width + i];
        }
    }
    free(score);
}

static double *attention(const kfi_config *config, const double *q, const double *k,
                         const double *v, size_t n)
{
    const size_t d = config->head_dim;
    const size_t group = config->n_heads / config->n_kv_heads;
    const size_t kv_width = config->n_kv_heads * d;
    double *dst = new_doubles(n * config->n_heads * d);
    for (size_t t = 0; t < n; t++) {
        for (size_t h = 0; h < config->n_heads; h++) {
            const size_t place = (t * config->n_heads + h) * d;
            attend(config, dst + place, q + place, k + h / group * d, v + h / group * d, kv_width,
                   t);
        }
    }
    return dst;
}

static void add(double *x, double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
    free(y);
}

static void block(const tiny_model *model, size_t i_layer, double *x, size_t n)
{
    const kfi_config *c = &model->config;
    double *normed = norm(model, of_layer(model, i_layer, "input_layernorm.weight"), x, n);
    double *q = linear(model, i_layer, "self_attn.q_proj", normed, n);
    double *k = linear(model, i_layer, "self_attn.k_proj", normed, n);
    double *v = linear(model, i_layer, "self_attn.v_proj", normed, n);
    rotate(c, q, n, c->n_heads);
    rotate(c, k, n, c->n_kv_heads);
    double *attended = attention(c, q, k, v, n);
    add(x, linear(model, i_layer, "self_attn.o_proj", attended, n), n * c->hidden);
    free(normed);
    free(q);
    free(k);
    free(v);
    free(attended);

    normed = norm(model, of_layer(model, i_layer, "post_attention_layernorm.weight"), x, n);
    double *gate = linear(model, i_layer, "mlp.gate_proj", normed, n);
    double *up = linear(model, i_layer, "mlp.up_proj", normed, n);
    for (size_t i = 0; i < n * c->feed_forward; i++) {
        gate[i] = gate[i] / (1.0 + exp(-gate[i])) * up[i];
    }
    add(x, linear(model, i_layer, "mlp.down_proj", gate, n), n * c->hidden);
    free(normed);
    free(gate);
    free(up);
}

void oracle_logits(double *logits, const tiny_model *model, const uint32_t *ids, size_t n)
{
    const kfi_config *c = &model->config;
    const tiny_tensor *embedding = tiny_model_find(model, "model.embed_tokens.weight");
    const tiny_tensor *head = c->tied ? embedding : tiny_model_find(model, "lm_head.weight");
    double *x = new_doubles(n * c->hidden);
    for (size_t i = 0; i < n * c->hidden; i++) {
        x[i] = (double)embedding->data[ids[i / c->hidden] * c->hidden + i % c->hidden];
    }
    for (size_t i = 0; i < c->n_layers; i++) {
        block(model, i, x, n);
    }
    double *final = norm(model, tiny_model_find(model, "model.norm.weight"), x, n);
    for (size_t t = 0; t < n; t++) {
        for (size_t r = 0; r < c->vocabulary; r++) {
            double sum = 0;
            for (size_t k = 0; k < c->hidden; k++) {
                sum += (double)head->data[r * c->hidden + k] * final[t * c->hidden + k];
            }
            logits[t * c->vocabulary + r] = sum;
        }
    }
    free(x);
    free(final);
}
