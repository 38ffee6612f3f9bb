/* The peer of benchmarks/basin.py: a million starts of USAM on the quartic, as one writes it down:
   one point after another, compiled with -O2 and no fast-math, half of them on either thread. */
#include <pthread.h>

struct share {
  double *x, *y, rho, lr;
  long points, steps;
};

static void *run(void *given) {
  struct share *s = given;
  for (long i = 0; i < s->points; i++) {
    double x = s->x[i], y = s->y[i];
    for (long k = 0; k < s->steps; k++) {
      double p = x + s->rho * x, q = y + s->rho * (y * y * y - y);
      x -= s->lr * p;
      y -= s->lr * (q * q * q - q);
    }
    s->x[i] = x, s->y[i] = y;
  }
  return 0;
}

void quartic_usam(double *x, double *y, long points, long steps, double rho, double lr) {
  long half = points / 2;
  pthread_t other;
  struct share a = {x, y, rho, lr, half, steps};
  struct share b = {x + half, y + half, rho, lr, points - half, steps};
  pthread_create(&other, 0, run, &a);
  run(&b);
  pthread_join(other, 0);
}
