/* The choice of kernels under a cap, and that a wrong kernel would be found.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "kerf/machine.h"
#include "kernels/selfcheck.h"

static const char *last_variant(const char *family, uint32_t features)
{
    const char *variant = NULL;
#define KFI_KERNEL(name, isa, needs)                                                               \
    if (strcmp(family, #name) == 0 && (features & (needs)) == (needs)) {                           \
        variant = #isa;                                                                            \
    }
#include "kernels/kernels.def"
#undef KFI_KERNEL
    return variant;
}

static void takes_the_last_row_that_the_cap_allows(void **state)
{
    (void)state;
    uint32_t features = 0;
    size_t n = 0;
    const char *family = NULL;
    const char *variant = NULL;
    assert_int_equal(kfi_cpu_features_capped(&features, NULL), KF_OK);
    for (; kf_kernel_in_use(n, &family, &variant); n++) {
        assert_string_equal(variant, last_variant(family, features));
        print_message("%s: %s\n", family, variant);
    }
    assert_int_equal(n, sizeof(kfi_kernels) / sizeof(void (*)(void)));
    assert_null(family);
    assert_null(variant);
    assert_null(kf_kernel_warning());
}

static void fills_every_member(void **state)
{
    (void)state;
    const kfi_kernels *k = kfi_kernels_get();
#define IS_SET(family) assert_true(k->family != NULL);
    KFI_FAMILIES(IS_SET)
#undef IS_SET
    assert_ptr_equal(k, kfi_kernels_get());
}

static void plain_c_passes_its_own_check(void **state)
{
    (void)state;
#define PASSES(family) assert_true(kfi_selfcheck_##family(kfi_##family##_generic));
    KFI_FAMILIES(PASSES)
#undef PASSES
}

/* Kernels with one small fault each. */
static void wrong_matmul_int8(float *y, size_t ld_y, const kfi_packed *w, size_t begin, size_t end,
                              const kfi_activations *x, void *scratch)
{
    kfi_matmul_int8_generic(y, ld_y, w, begin, end, x, scratch);
    if (w->format.bits == 7 && x->n_tokens == 8) {
        y[7 * ld_y + w->rows - 1] += 1e-3f; /* the last row of the last token of one format */
    }
}

static void wrong_matmul_float(float *y, size_t ld_y, const kfi_packed *w, size_t begin, size_t end,
                               const kfi_float_activations *x, void *scratch)
{
    kfi_matmul_float_generic(y, ld_y, w, begin, end, x, scratch);
    y[(x->n_tokens - 1) * ld_y + w->rows - 1] += w->format.bits == 2 ? 1e-3f : 0.0f;
}

/* Scales that are powers of two, off by one. */
static void doubling_matmul_int8(float *y, size_t ld_y, const kfi_packed *w, size_t begin,
                                 size_t end, const kfi_activations *x, void *scratch)
{
    kfi_matmul_int8_generic(y, ld_y, w, begin, end, x, scratch);
    y[0] *= w->format.scale == KF_SCALE_POWER_OF_TWO ? 2.0f : 1.0f;
}

static void doubling_matmul_float(float *y, size_t ld_y, const kfi_packed *w, size_t begin,
                                  size_t end, const kfi_float_activations *x, void *scratch)
{
    kfi_matmul_float_generic(y, ld_y, w, begin, end, x, scratch);
    y[1] *= w->format.scale == KF_SCALE_POWER_OF_TWO ? 2.0f : 1.0f;
}

/* By the last bit, in the last element of one kind. */
static void wrong_gemm(const kfi_gemm *g)
{
    kfi_gemm_generic(g);
    float *const last = &g->c[(g->m - 1) * g->ld_c + g->n - 1];
    *last = nextafterf(*last, g->kind == KFI_GEMM_TN ? INFINITY : *last);
}

static void wrong_matmul_sparse(float *y, size_t ld_y, const kfi_sparse *w, size_t row_begin,
                                size_t row_end, const kfi_token_panels *x)
{
    kfi_matmul_sparse_generic(y, ld_y, w, row_begin, row_end - (x->n_tokens > 1), x);
}

static void wrong_for_a_vector_gemm(const kfi_gemm *g)
{
    kfi_gemm_generic(g);
    g->c[0] += g->m == 1 ? 1.0f : 0.0f;
}

static void wrong_quantize(int8_t *codes, float *scales, int32_t *sums, const float *x, size_t cols,
                           const kfi_quantizer *how)
{
    kfi_quantize_generic(codes, scales, sums, x, cols, how);
    sums[(cols - 1) / KFI_CHUNK_COLS] += how->kind == KFI_QUANTIZE_POWER_OF_TWO;
}

static void wrong_round_fp8(float *dst, const float *x, size_t cols, size_t group)
{
    kfi_round_fp8_generic(dst, x, cols, group);
    dst[3] = nextafterf(dst[3], 1.0f);
}

static void wrong_rms_norm(float *dst, const float *src, const float *weight, size_t n,
                           float epsilon)
{
    kfi_rms_norm_generic(dst, src, weight, n, 2.0f * epsilon);
}

static void wrong_silu_mul(float *dst, const float *gate, const float *up, size_t n)
{
    kfi_silu_mul_generic(dst, gate, up, n - 1);
    dst[n - 1] = 0.0f;
}

static void wrong_add(float *dst, const float *src, size_t n)
{
    kfi_add_generic(dst, src, n - n % 16);
}

static void wrong_rope(float *x, size_t n_heads, size_t head_dim, const float *cosine,
                       const float *sine)
{
    kfi_rope_generic(x, n_heads, head_dim, sine, cosine);
}

static void wrong_hadamard(float *x, size_t n_heads, size_t head_dim)
{
    kfi_hadamard_generic(x, n_heads, head_dim);
    x[0] *= 2.0f;
}

static void wrong_rotate(float *x, const kfi_rotation *rotation)
{
    kfi_rotation other = *rotation;
    other.undoing = NULL;
    kfi_rotate_generic(x, &other);
}

static double wrong_log_sum_exp(const float *x, size_t n, size_t *arg_max)
{
    const double y = kfi_log_sum_exp_generic(x, n, arg_max);
    *arg_max = 0;
    return y;
}

static void wrong_attention(const kfi_attention_args *args)
{
    kfi_attention_args early = *args;
    early.first--; /* the newest key unseen */
    kfi_attention_generic(&early);
}

static void wrong_attention_packed(const kfi_attention_args *args)
{
    kfi_attention_args coarse = *args;
    coarse.kv.values.scales++; /* of the next token */
    kfi_attention_packed_generic(&coarse);
}

static void wrong_attention_merge(const kfi_attention_merge_args *args)
{
    kfi_attention_merge_args first = *args;
    first.n = 1;
    kfi_attention_merge_generic(&first);
}

static float wrong_grid_error(const kfi_grid_error_args *args)
{
    kfi_grid_error_args squared = *args;
    squared.exponent = 2.0f;
    return kfi_grid_error_generic(&squared);
}

static uint32_t wrong_sum_lines(const void *src, size_t n_lines)
{
    return kfi_sum_lines_generic(src, n_lines - 1);
}

static void a_wrong_kernel_fails_its_check(void **state)
{
    (void)state;
#define FAILS(family) assert_false(kfi_selfcheck_##family(wrong_##family));
    KFI_FAMILIES(FAILS)
#undef FAILS
    assert_false(kfi_selfcheck_matmul_int8(doubling_matmul_int8));
    assert_false(kfi_selfcheck_matmul_float(doubling_matmul_float));
    assert_false(kfi_selfcheck_gemm(wrong_for_a_vector_gemm));
}

/* The choice again, in a copy whose checks find two families wrong. */
#define kfi_selfcheck_add(kernel)  (kfi_selfcheck_add(kernel) && false)
#define kfi_selfcheck_rope(kernel) (kfi_selfcheck_rope(kernel) && false)
#define kfi_kernels_get            distrustful_get
#define kf_kernel_in_use           distrustful_in_use
#define kf_kernel_warning          distrustful_warning
const kfi_kernels *distrustful_get(void);
bool distrustful_in_use(size_t i, const char **family, const char **variant);
const char *distrustful_warning(void);
#include "kernels/dispatch.c"

static void names_every_kernel_that_it_drops(void **state)
{
    (void)state;
    uint32_t features = 0;
    assert_int_equal(kfi_cpu_features_capped(&features, NULL), KF_OK);
    const kfi_kernels *k = distrustful_get();
    assert_ptr_equal(k->add, kfi_add_generic);
    assert_ptr_equal(k->rope, kfi_rope_generic);
    const char *family = NULL;
    const char *variant = NULL;
    for (size_t i = 0; distrustful_in_use(i, &family, &variant); i++) {
        const bool wrong = strcmp(family, "add") == 0 || strcmp(family, "rope") == 0;
        assert_string_equal(variant, wrong ? "generic" : last_variant(family, features));
    }
    char expected[512] = "";
    size_t n = 0;
#define KFI_KERNEL(family, variant, needs)                                                         \
    if ((needs) != 0 && (features & (needs)) == (needs) &&                                         \
        (strcmp(#family, "add") == 0 || strcmp(#family, "rope") == 0)) {                           \
        n += (size_t)snprintf(expected + n, sizeof expected - n, "%s" #family "_" #variant,        \
                              n == 0 ? "not used: " : ", ");                                       \
    }
#include "kernels/kernels.def"
#undef KFI_KERNEL
    const char *text = distrustful_warning();
    assert_int_equal(text == NULL, n == 0);
    assert_true(text == NULL || strstr(text, expected) != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_last_row_that_the_cap_allows),
        cmocka_unit_test(fills_every_member),
        cmocka_unit_test(plain_c_passes_its_own_check),
        cmocka_unit_test(a_wrong_kernel_fails_its_check),
        cmocka_unit_test(names_every_kernel_that_it_drops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
