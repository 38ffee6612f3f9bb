/* The peer of benchmarks/lyapunov.py: both exponents along orbits of planar maps.
   As samflow: Gram–Schmidt at every step, lengths taken out every GROUP steps. */
#include <math.h>

#define GROUP 64
#ifndef WIDTH
#define WIDTH 8
#endif
typedef double real;

static inline void henon(real *x, real *y, real j[4], real rho, real lr) {
    real slope = -2.8 * *x, next = 1 - 1.4 * *x * *x + *y;
    *y = 0.3 * *x, *x = next;
    j[0] = slope, j[1] = 1, j[2] = 0.3, j[3] = 0;
}

static inline void beale(real x, real y, real g[2], real h[3]) {
    real y2 = y * y, y3 = y2 * y, p = y - 1, q = y2 - 1, r = y3 - 1;
    real a = 1.5 + x * p, b = 2.25 + x * q, c = 2.625 + x * r;
    real slope = 2 * (a + 2 * y * b + 3 * y2 * c);
    g[0] = 2 * (a * p + b * q + c * r);
    g[1] = x * slope;
    h[0] = 2 * (p * p + q * q + r * r);
    h[1] = slope + 2 * x * (p + 2 * y * q + 3 * y2 * r);
    h[2] = 2 * x * (x + 2 * b + 4 * y2 * x + 6 * y * c + 9 * y2 * y2 * x);
}

static inline void beale_usam(real *x, real *y, real j[4], real rho, real lr) {
    real g[2], h[3], d[2], k[3];
    beale(*x, *y, g, h);
    beale(*x + rho * g[0], *y + rho * g[1], d, k);
    *x -= lr * d[0], *y -= lr * d[1];
    real a = 1 + rho * h[0], b = rho * h[1], c = 1 + rho * h[2];
    j[0] = 1 - lr * (k[0] * a + k[1] * b), j[1] = -lr * (k[0] * b + k[1] * c);
    j[2] = -lr * (k[1] * a + k[2] * b), j[3] = 1 - lr * (k[1] * b + k[2] * c);
}

/* Blocks of W orbits stay in registers for the whole time loop. */
#define KERNEL(NAME, MAP, W)                                                        \
    void NAME(real *restrict xs, real *restrict ys, long points, long steps,        \
              real rho, real lr, real *restrict exponents) {                        \
        for (long start = 0; start < points; start += W) {                          \
            real x[W], y[W], u0[W], u1[W], v0[W], v1[W], first[W], second[W];       \
            for (int i = 0; i < W; i++) {                                           \
                x[i] = xs[start + i], y[i] = ys[start + i];                         \
                u0[i] = 0.6, u1[i] = 0.8, v0[i] = -0.8, v1[i] = 0.6;                \
                first[i] = second[i] = 0;                                           \
            }                                                                       \
            for (long left = steps; left > 0; left -= GROUP) {                      \
                long count = left < GROUP ? left : GROUP;                           \
                for (long t = 0; t < count; t++)                                    \
                    for (int i = 0; i < W; i++) {                                   \
                        real j[4];                                                  \
                        MAP(&x[i], &y[i], j, rho, lr);                              \
                        real p = j[0] * u0[i] + j[1] * u1[i];                       \
                        real q = j[2] * u0[i] + j[3] * u1[i];                       \
                        real r = j[0] * v0[i] + j[1] * v1[i];                       \
                        real s = j[2] * v0[i] + j[3] * v1[i];                       \
                        /* The reciprocal does not wait for v. */                   \
                        real share = (p * r + q * s) * (1 / (p * p + q * q));       \
                        u0[i] = p, u1[i] = q;                                       \
                        v0[i] = r - share * p, v1[i] = s - share * q;               \
                    }                                                               \
                for (int i = 0; i < W; i++) {                                       \
                    real a = u0[i] * u0[i] + u1[i] * u1[i];                         \
                    real b = v0[i] * v0[i] + v1[i] * v1[i];                         \
                    first[i] += log(a), second[i] += log(b);                        \
                    a = 1 / sqrt(a), b = 1 / sqrt(b);                               \
                    u0[i] *= a, u1[i] *= a, v0[i] *= b, v1[i] *= b;                 \
                }                                                                   \
            }                                                                       \
            for (int i = 0; i < W; i++) {                                           \
                exponents[2 * (start + i)] = first[i] / 2 / steps;                  \
                exponents[2 * (start + i) + 1] = second[i] / 2 / steps;             \
            }                                                                       \
        }                                                                           \
    }

KERNEL(henon_many, henon, WIDTH)
KERNEL(beale_usam_many, beale_usam, WIDTH)

/* One orbit, in plain scalars: a tenth faster than a block of one. */
void henon_one(real *xs, real *ys, long points, long steps, real rho, real lr, real *exponents) {
    real x = *xs, y = *ys, u0 = 0.6, u1 = 0.8, v0 = -0.8, v1 = 0.6, first = 0, second = 0;
    for (long left = steps; left > 0; left -= GROUP) {
        long count = left < GROUP ? left : GROUP;
        for (long t = 0; t < count; t++) {
            real slope = -2.8 * x, next = 1 - 1.4 * x * x + y;
            y = 0.3 * x, x = next;
            real p = slope * u0 + u1, r = slope * v0 + v1;
            u1 = 0.3 * u0, u0 = p;
            v1 = 0.3 * v0, v0 = r;
            real share = (u0 * v0 + u1 * v1) * (1 / (u0 * u0 + u1 * u1));
            v0 -= share * u0, v1 -= share * u1;
        }
        real a = u0 * u0 + u1 * u1, b = v0 * v0 + v1 * v1;
        first += log(a), second += log(b);
        a = 1 / sqrt(a), b = 1 / sqrt(b);
        u0 *= a, u1 *= a, v0 *= b, v1 *= b;
    }
    exponents[0] = first / 2 / steps;
    exponents[1] = second / 2 / steps;
}
