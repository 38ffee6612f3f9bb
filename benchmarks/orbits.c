/* The peer of benchmarks/orbits.py: one long orbit, of which every `every`-th state is kept. */

#define ORBIT(NAME, ...)                                                                 \
  void NAME(double *start, long steps, long every, double *kept) {                       \
    double x = start[0], y = start[1];                                                   \
    for (long k = 1; k <= steps; k++) {                                                  \
      __VA_ARGS__                                                                        \
      if (k % every == 0) *kept++ = x, *kept++ = y;                                      \
    }                                                                                    \
  }

ORBIT(henon, double next = y + 1 - 1.4 * x * x; y = 0.3 * x; x = next;)
ORBIT(quartic, double p = x + 0.05 * x, q = y + 0.05 * (y * y * y - y); x -= 1.1 * p;
      y -= 1.1 * (q * q * q - q);)
