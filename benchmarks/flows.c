/* The peer of benchmarks/flows.py: ensembles of flows by Tsitouras' 5/4 method, every solution with
   its own step size. Blocks of WIDTH solutions run until all of them are at the end. */
#include <math.h>

#ifndef WIDTH
#define WIDTH 8
#endif
#define SMALL 1e-13

static const double A[6][6] = {
    {0.161},
    {-0.008480655492356989, 0.335480655492357},
    {2.8971530571054935, -6.359448489975075, 4.3622954328695815},
    {5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525},
    {5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401,
     -0.028269050394068383},
    {0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081,
     2.324710524099774}};
static const double E[7] = {0.001780011052226, 0.000816434459657, -0.007880878010262,
                            0.144711007173263, -0.582357165452555, 0.458082105929187,
                            -0.015151515151515152};

static inline void quartic(double x, double y, double *gx, double *gy) {
  *gx = x;
  *gy = y * y * y - y;
}

static inline void beale(double x, double y, double *gx, double *gy) {
  double y2 = y * y, y3 = y2 * y;
  double a = 1.5 - x + x * y, b = 2.25 - x + x * y2, c = 2.625 - x + x * y3;
  *gx = 2 * (a * (y - 1) + b * (y2 - 1) + c * (y3 - 1));
  *gy = 2 * x * (a + 2 * y * b + 3 * y2 * c);
}

/* size^(-1/5) in single precision, as samflow does it. */
static inline double root(double size) {
  return (double)exp2f(-0.2f * log2f((float)fmax(size, 1e-30)));
}

#define FLOW(NAME, G)                                                                              \
  static inline void NAME##_field(double x, double y, double rho, double *u, double *v) {          \
    double p, q;                                                                                   \
    G(x, y, &p, &q);                                                                               \
    G(x + rho * p, y + rho * q, u, v);                                                             \
    *u = -*u, *v = -*v;                                                                            \
  }                                                                                                \
  void NAME(double *xs, double *ys, long points, double end, double rho, double rtol,              \
            double atol) {                                                                         \
    for (long first = 0; first < points; first += WIDTH) {                                         \
      double x[WIDTH], y[WIDTH], t[WIDTH], h[WIDTH], k[7][WIDTH], l[7][WIDTH];                      \
      double size[WIDTH], u[WIDTH], v[WIDTH], cut[WIDTH];                                          \
      for (int i = 0; i < WIDTH; i++) {                                                            \
        x[i] = xs[first + i], y[i] = ys[first + i], t[i] = 0, h[i] = 1e-3;                         \
        NAME##_field(x[i], y[i], rho, &k[0][i], &l[0][i]);                                         \
      }                                                                                            \
      for (int left = 1; left;) {                                                                  \
        for (int i = 0; i < WIDTH; i++) cut[i] = fmin(h[i], end - t[i]);                           \
        _Pragma("GCC unroll 6") for (int s = 0; s < 6; s++)                                        \
          for (int i = 0; i < WIDTH; i++) {                                                        \
            double a = 0, b = 0;                                                                   \
            _Pragma("GCC unroll 6") for (int j = 0; j <= s; j++) a += A[s][j] * k[j][i], b += A[s][j] * l[j][i];           \
            u[i] = x[i] + cut[i] * a, v[i] = y[i] + cut[i] * b;                                    \
            NAME##_field(u[i], v[i], rho, &k[s + 1][i], &l[s + 1][i]);                             \
          }                                                                                        \
        for (int i = 0; i < WIDTH; i++) {                                                          \
          double a = 0, b = 0;                                                                     \
          _Pragma("GCC unroll 7") for (int j = 0; j < 7; j++) a += E[j] * k[j][i], b += E[j] * l[j][i];                    \
          a *= cut[i] / (atol + rtol * fmax(fabs(x[i]), fabs(u[i])));                              \
          b *= cut[i] / (atol + rtol * fmax(fabs(y[i]), fabs(v[i])));                              \
          size[i] = sqrt((a * a + b * b) / 2);                                                     \
        }                                                                                          \
        left = 0;                                                                                  \
        for (int i = 0; i < WIDTH; i++) {                                                          \
          int keep = size[i] < 1 && t[i] < end;                                                    \
          double factor = 0.9 * root(size[i]), last = h[i];                                        \
          factor = keep ? fmin(fmax(factor, 1), 10) : fmin(fmax(factor, 0.2), 0.9);                \
          h[i] = keep && cut[i] < last ? fmax(last, cut[i] * factor) : cut[i] * factor;            \
          h[i] = fmax(h[i], SMALL * end);                                                          \
          t[i] = keep ? t[i] + cut[i] : t[i];                                                      \
          x[i] = keep ? u[i] : x[i], y[i] = keep ? v[i] : y[i];                                    \
          k[0][i] = keep ? k[6][i] : k[0][i], l[0][i] = keep ? l[6][i] : l[0][i];                  \
          left |= t[i] < end * (1 - SMALL);                                                        \
        }                                                                                          \
      }                                                                                            \
      for (int i = 0; i < WIDTH; i++) xs[first + i] = x[i], ys[first + i] = y[i];                  \
    }                                                                                              \
  }

FLOW(quartic_usam, quartic)
FLOW(beale_usam, beale)
