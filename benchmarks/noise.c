/* Noisy ensembles with second moments, written to be vectorised: the peer of benchmarks/noise.py.

   Blocks of LANES members, one array a quantity, short loops that a compiler turns into SIMD code.
   The generator is Threefry-2x32 with 13 rounds and the counter (draw, member), the transform that
   of Box and Muller, as in samflow/_random.py: paths agree to rounding. Its log, cos and sin are
   series here too: a compiler that turns cos and sin of one angle into a call of sincos no longer
   vectorises the loop, and the whole is three times as slow. Moments of (x, y) about a point are
   added up at every record. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef WIDTH
#define WIDTH 64
#endif
enum { LANES = WIDTH };

static const int TURNS[8] = {13, 15, 26, 6, 17, 29, 16, 24};

static inline void threefry(uint32_t k0, uint32_t k1, uint32_t draw, const uint32_t *member,
                            double *restrict uniform) {
  const uint32_t keys[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDAu};
  uint32_t high[LANES], low[LANES];
  for (int l = 0; l < LANES; l++) {
    uint32_t x = draw + keys[0], y = member[l] + keys[1];
#pragma GCC unroll 13
    for (int i = 0; i < 13; i++) {
      x += y;
      y = ((y << TURNS[i % 8]) | (y >> (32 - TURNS[i % 8]))) ^ x;
      if (i % 4 == 3) {
        x += keys[(i / 4 + 1) % 3];
        y += keys[(i / 4 + 2) % 3] + (uint32_t)(i / 4 + 1);
      }
    }
    high[l] = x;
    low[l] = y;
  }
  for (int l = 0; l < LANES; l++)
    uniform[l] = ((double)(int32_t)(high[l] >> 6) * 67108864.0 + (double)(int32_t)(low[l] >> 6) + 0.5) *
                 0x1p-52;
}

static const double LOG[11] = {2.,      2. / 3,  2. / 5,  2. / 7,  2. / 9, 2. / 11,
                               2. / 13, 2. / 15, 2. / 17, 2. / 19, 2. / 21};
/* (π/2)^k/k! with alternating signs: even k and odd k. */
static double COS[9], SIN[8];

static void series(void) {
  double term = 1;
  for (int k = 0; k < 17; k++) {
    *(k % 2 ? &SIN[k / 2] : &COS[k / 2]) = k / 2 % 2 ? -term : term;
    term *= 1.5707963267948966 / (k + 1);
  }
}

static inline double log_of(double x) {
  const int64_t half = 0x3FE6A09E667F3BCD;
  int64_t bits;
  double m, sum = LOG[10];
  memcpy(&bits, &x, 8);
  int64_t shifted = bits - half, rest = (shifted & 0xFFFFFFFFFFFFF) + half;
  memcpy(&m, &rest, 8);
  double s = (m - 1) / (m + 1);
#pragma GCC unroll 10
  for (int k = 9; k >= 0; k--) sum = sum * (s * s) + LOG[k];
  return (double)(int32_t)(shifted >> 52) * 0.6931471805599453 + s * sum;
}

static inline void normals(uint32_t k0, uint32_t k1, uint32_t step, const uint32_t *member,
                           double *restrict n, double *restrict m) {
  double u[LANES], v[LANES];
  threefry(k0, k1, 2 * step, member, u);
  threefry(k0, k1, 2 * step + 1, member, v);
  for (int l = 0; l < LANES; l++) {
    double radius = sqrt(-2 * log_of(u[l]));
    double quarter = floor(4 * v[l] + 0.5), rest = 4 * v[l] - quarter, square = rest * rest;
    double c = COS[8], s = SIN[7];
#pragma GCC unroll 8
    for (int k = 7; k >= 0; k--) c = c * square + COS[k];
#pragma GCC unroll 7
    for (int k = 6; k >= 0; k--) s = s * square + SIN[k];
    s *= rest;
    int odd = (quarter == 1) | (quarter == 3);
    double x = odd ? s : c, y = odd ? c : s;
    n[l] = radius * ((quarter == 1) | (quarter == 2) ? -x : x);
    m[l] = radius * ((quarter == 2) | (quarter == 3) ? -y : y);
  }
}

#define SADDLE_X(x, y) (x)
#define SADDLE_Y(x, y) (-(y))
#define QUARTIC_X(x, y) (x)
#define QUARTIC_Y(x, y) ((y) * (y) * (y) - (y))

static inline double beale_x(double x, double y) {
  double a = 1.5 - x + x * y, b = 2.25 - x + x * y * y, c = 2.625 - x + x * y * y * y;
  return 2 * (a * (y - 1) + b * (y * y - 1) + c * (y * y * y - 1));
}

static inline double beale_y(double x, double y) {
  double a = 1.5 - x + x * y, b = 2.25 - x + x * y * y, c = 2.625 - x + x * y * y * y;
  return 2 * x * (a + 2 * y * b + 3 * y * y * c);
}

/* sums: 3 numbers a record, of x², xy and y² about (x0, y0), divided by the number of members. */
#define ENSEMBLE(NAME, GX, GY)                                                                     \
  void NAME(double *sums, long members, long steps, long every, long key0, long key1, double x0,   \
            double y0, double fx, double fy, double rho, double lr) {                              \
    series();                                                                                      \
    for (long first = 0; first < members; first += LANES) {                                        \
      uint32_t member[LANES];                                                                      \
      double x[LANES], y[LANES], n[LANES], m[LANES];                                               \
      for (int l = 0; l < LANES; l++) {                                                            \
        member[l] = (uint32_t)(first + l);                                                         \
        x[l] = x0;                                                                                 \
        y[l] = y0;                                                                                 \
      }                                                                                            \
      for (long k = 0; k < steps; k++) {                                                           \
        normals((uint32_t)key0, (uint32_t)key1, (uint32_t)k, member, n, m);                        \
        for (int l = 0; l < LANES; l++) {                                                          \
          double p = GX(x[l], y[l]) + fx * n[l], q = GY(x[l], y[l]) + fy * m[l];                   \
          double u = x[l] + rho * p, v = y[l] + rho * q;                                           \
          x[l] -= lr * (GX(u, v) + fx * n[l]);                                                     \
          y[l] -= lr * (GY(u, v) + fy * m[l]);                                                     \
        }                                                                                          \
        if ((k + 1) % every == 0) {                                                                \
          double *sum = sums + 3 * ((k + 1) / every - 1);                                          \
          for (int l = 0; l < LANES; l++) {                                                        \
            double a = x[l] - x0, b = y[l] - y0;                                                   \
            sum[0] += a * a / members;                                                             \
            sum[1] += a * b / members;                                                             \
            sum[2] += b * b / members;                                                             \
          }                                                                                        \
        }                                                                                          \
      }                                                                                            \
    }                                                                                              \
  }

ENSEMBLE(saddle, SADDLE_X, SADDLE_Y)
ENSEMBLE(quartic, QUARTIC_X, QUARTIC_Y)
ENSEMBLE(beale, beale_x, beale_y)
