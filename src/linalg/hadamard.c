/* hadamard.c - Paley's matrices, and rotations by them.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "linalg/hadamard.h"

#include "base/alloc.h"
#include "base/fail.h"

/* Rows that are worth a hand-over to the pool. */
#define ROWS_A_PIECE 8

/* Digits of an element: 3^5 is the largest power below KFI_ROTATION_MOST. */
#define DIGITS_MOST 5u

/* ---- finite fields ---- */

/* GF(p^e), or what the modulus makes instead. */
typedef struct field {
    size_t p, e, q;
    size_t modulus;                      /* number of the polynomial that is added to x^e */
    int8_t character[KFI_ROTATION_MOST]; /* [q] */
} field;

/* Whether an odd q > 1 is a power of a prime, and of which. */
static bool split_power(field *f, size_t q)
{
    size_t p = 3;
    while (p * p <= q && q % p != 0) {
        p += 2;
    }
    p = p * p <= q ? p : q;
    f->p = p;
    f->q = q;
    f->e = 0;
    for (; q % p == 0; q /= p) {
        f->e++;
    }
    return q == 1;
}

static void to_digits(size_t digits[DIGITS_MOST], const field *f, size_t a)
{
    for (size_t i = 0; i < f->e; i++) {
        digits[i] = a % f->p;
        a /= f->p;
    }
}

static size_t from_digits(const size_t *digits, const field *f)
{
    size_t a = 0;
    for (size_t i = f->e; i-- > 0;) {
        a = a * f->p + digits[i];
    }
    return a;
}

static size_t subtract(const field *f, size_t a, size_t b)
{
    size_t x[DIGITS_MOST];
    size_t y[DIGITS_MOST];
    to_digits(x, f, a);
    to_digits(y, f, b);
    for (size_t i = 0; i < f->e; i++) {
        x[i] = (x[i] + f->p - y[i]) % f->p;
    }
    return from_digits(x, f);
}

static size_t square(const field *f, size_t a)
{
    size_t x[DIGITS_MOST];
    size_t modulus[DIGITS_MOST];
    size_t product[2 * DIGITS_MOST] = {0};
    to_digits(x, f, a);
    to_digits(modulus, f, f->modulus);
    for (size_t i = 0; i < f->e; i++) {
        for (size_t j = 0; j < f->e; j++) {
            product[i + j] = (product[i + j] + x[i] * x[j]) % f->p;
        }
    }
    for (size_t i = 2 * f->e - 1; i-- > f->e;) { /* x^e = -modulus */
        for (size_t j = 0; j < f->e; j++) {
            size_t *place = &product[i - f->e + j];
            *place = (*place + product[i] * (f->p - modulus[j])) % f->p;
        }
    }
    return from_digits(product, f);
}

/* Marks the squares. Where the modulus makes no field, either some square is 0 (of what is
 * nilpotent), or the ring is a product of fields and has fewer of them. */
static bool mark_squares(field *f)
{
    size_t n_squares = 0;
    for (size_t a = 0; a < f->q; a++) {
        f->character[a] = -1;
    }
    f->character[0] = 0;
    for (size_t a = 1; a < f->q; a++) {
        const size_t b = square(f, a);
        if (b == 0) {
            return false;
        }
        n_squares += f->character[b] == -1;
        f->character[b] = 1;
    }
    return n_squares == (f->q - 1) / 2;
}

static void make_field(field *f)
{
    f->modulus = 0;
    while (!mark_squares(f)) {
        f->modulus++;
    }
}

/* ---- Paley's matrices ---- */

static bool is_first(size_t m)
{
    field f;
    return m % 4 == 0 && split_power(&f, m - 1);
}

static bool is_second(size_t m)
{
    field f;
    return m % 8 == 4 && split_power(&f, m / 2 - 1);
}

/* Element [i][j] of the matrix with a border of ones: 0 on the diagonal. */
static int bordered(const field *f, size_t i, size_t j)
{
    if (i == 0 || j == 0) {
        return i != j;
    }
    return f->character[subtract(f, i - 1, j - 1)];
}

static int first_element(const field *f, size_t i, size_t j)
{
    const int sign = j == 0 && i > 0 ? -1 : 1;
    return i == j ? 1 : sign * bordered(f, i, j);
}

static int second_element(const field *f, size_t i, size_t j)
{
    static const int off_diagonal[2][2] = {{1, 1}, {1, -1}};
    static const int diagonal[2][2] = {{1, -1}, {-1, -1}};
    return i / 2 == j / 2 ? diagonal[i % 2][j % 2]
                          : bordered(f, i / 2, j / 2) * off_diagonal[i % 2][j % 2];
}

static void fill(kfi_hadamard *h)
{
    const bool first = is_first(h->m);
    field f;
    (void)split_power(&f, first ? h->m - 1 : h->m / 2 - 1);
    make_field(&f);
    for (size_t i = 0; i < h->m; i++) {
        for (size_t j = 0; j < h->m; j++) {
            const int element = first ? first_element(&f, i, j) : second_element(&f, i, j);
            h->matrix[i * h->m + j] = (float)element;
            h->transposed[j * h->m + i] = (float)element;
        }
    }
}

/* The order m for rows of n; 0: there is none. */
static size_t find_order(size_t n)
{
    const size_t power = n & (~n + 1);
    size_t m = n == 0 ? 0 : n / power;
    if (m <= 1 || m > KFI_ROTATION_MOST) {
        return m == 1 ? 1 : 0;
    }
    for (m *= 4; n % m == 0 && m <= KFI_ROTATION_MOST; m *= 2) {
        if (is_first(m) || is_second(m)) {
            return m;
        }
    }
    return 0;
}

kf_status kfi_hadamard_check(size_t n, kf_error *err)
{
    return find_order(n) > 0 ? KF_OK
                             : kfi_fail(err, KF_UNSUPPORTED, KF_NO_OFFSET,
                                        "no Hadamard matrix is known here for %zu values", n);
}

kf_status kfi_hadamard_init(kfi_hadamard *hadamard, size_t n, const kf_allocator *alloc,
                            kf_error *err)
{
    *hadamard = (kfi_hadamard){.alloc = alloc, .n = n, .m = find_order(n)};
    KFI_TRY(kfi_hadamard_check(n, err));
    hadamard->block = n / hadamard->m;
    if (hadamard->m == 1) {
        return KF_OK;
    }
    const size_t n_elements = hadamard->m * hadamard->m;
    hadamard->matrix = kfi_alloc(alloc, 2 * n_elements * sizeof(float));
    if (hadamard->matrix == NULL) {
        return kfi_fail(err, KF_NOMEM, KF_NO_OFFSET, "no memory for a Hadamard matrix of %zu",
                        hadamard->m);
    }
    hadamard->transposed = hadamard->matrix + n_elements;
    fill(hadamard);
    return KF_OK;
}

void kfi_hadamard_deinit(kfi_hadamard *hadamard)
{
    kfi_free(hadamard->alloc, hadamard->matrix, 2 * hadamard->m * hadamard->m * sizeof(float));
    *hadamard = (kfi_hadamard){0};
}

/* ---- rotations ---- */

kfi_rotation kfi_hadamard_forward(const kfi_hadamard *hadamard, const int8_t *signs)
{
    return (kfi_rotation){
        .m = hadamard->m, .block = hadamard->block, .matrix = hadamard->matrix, .signs = signs};
}

kfi_rotation kfi_hadamard_back(const kfi_hadamard *hadamard, const int8_t *signs)
{
    return (kfi_rotation){.m = hadamard->m,
                          .block = hadamard->block,
                          .matrix = hadamard->transposed,
                          .undoing = signs};
}

typedef struct rotating {
    const kfi_rotation *rotation;
    float *x;
    kfi_split split;
} rotating;

static void rotate_rows(void *ctx, size_t i_item, size_t i_thread)
{
    (void)i_thread;
    const rotating *r = ctx;
    const size_t n = r->rotation->m * r->rotation->block;
    const size_t end = kfi_split_begin(&r->split, i_item + 1);
    for (size_t row = kfi_split_begin(&r->split, i_item); row < end; row++) {
        kfi_kernels_get()->rotate(r->x + row * n, r->rotation);
    }
}

void kfi_hadamard_rows(kf_pool *pool, const kfi_rotation *rotation, float *x, size_t n_rows)
{
    rotating r = {.rotation = rotation, .x = x};
    r.split = kfi_split_make(pool, n_rows, ROWS_A_PIECE, 4);
    kfi_pool_run(pool, rotate_rows, &r, r.split.n_pieces);
}
