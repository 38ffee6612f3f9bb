/* The peer of benchmarks/ensembles.py: ensembles of maps, written for vectorisation.
   Blocks of WIDTH points stay in registers for the whole time loop. */
#include <math.h>

#ifndef WIDTH
#define WIDTH 8
#endif
typedef double real;

static inline void quartic(real x, real y, real *gx, real *gy) {
    *gx = x;
    *gy = -y + y * y * y;
}

static inline void beale(real x, real y, real *gx, real *gy) {
    real y2 = y * y, y3 = y2 * y;
    real a = 1.5 - x + x * y, b = 2.25 - x + x * y2, c = 2.625 - x + x * y3;
    *gx = 2 * (a * (y - 1) + b * (y2 - 1) + c * (y3 - 1));
    *gy = 2 * x * (a + 2 * y * b + 3 * y2 * c);
}

#define KERNEL(NAME, GRADIENT, SCALE)                                              \
    void NAME(real *restrict x, real *restrict y, long points, long steps,         \
              real rho, real lr) {                                                 \
        for (long start = 0; start < points; start += WIDTH) {                     \
            real u[WIDTH], v[WIDTH];                                               \
            for (int i = 0; i < WIDTH; i++) u[i] = x[start + i], v[i] = y[start + i]; \
            for (long step = 0; step < steps; step++)                              \
                for (int i = 0; i < WIDTH; i++) {                                  \
                    real p, q, h, k;                                               \
                    GRADIENT(u[i], v[i], &p, &q);                                  \
                    real scale = SCALE;                                            \
                    GRADIENT(u[i] + scale * p, v[i] + scale * q, &h, &k);          \
                    u[i] -= lr * h;                                                \
                    v[i] -= lr * k;                                                \
                }                                                                  \
            for (int i = 0; i < WIDTH; i++) x[start + i] = u[i], y[start + i] = v[i]; \
        }                                                                          \
    }

KERNEL(quartic_usam, quartic, rho)
KERNEL(quartic_sam, quartic, rho / sqrt(p * p + q * q))
KERNEL(beale_usam, beale, rho)
KERNEL(beale_sam, beale, rho / sqrt(p * p + q * q))
