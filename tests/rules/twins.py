"""Every rule once more, in plain NumPy, from its formula; the gradients written by hand.

A twin is a function of (g, w, memory) and hyperparameters that returns d and the new memory.
"""

import itertools

import numpy as np


def beale(w):
    x, y = w
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    along_x = 2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1)
    return np.array([along_x, 2 * a * x + 4 * b * x * y + 6 * c * x * y**2])


def himmelblau(w):
    x, y = w
    a, b = x**2 + y - 11, x + y**2 - 7
    return np.array([4 * x * a + 2 * b, 2 * a + 4 * y * b])


FOUR = "x1**2/2 + x2**2 - x3**2/2 + sin(x1)*x4 + x2*x3*x4 + x4**4/4"


def four(w):
    x1, x2, x3, x4 = w
    return np.array(
        [x1 + np.cos(x1) * x4, 2 * x2 + x3 * x4, -x3 + x2 * x4, np.sin(x1) + x2 * x3 + x4**3]
    )


def length(v):
    return np.sqrt(np.sum(np.square(v)))


def gd(g, w, memory):
    return g(w), None


def usam(g, w, memory, rho):
    return g(w + rho * g(w)), None


def two_step(g, w, memory, rho):
    first = w + rho * g(w)
    second = first + rho * g(first)
    return g(second), None


def two_step_back(g, w, memory, rho):
    return g(w + rho * g(w + rho * g(w))), None


def curved(g, w, v):
    """Return H(w) v as a derivative by a complex step, which is exact up to rounding."""
    return np.imag(g(w + 1e-30j * v)) / 1e-30


def hessian_usam(g, w, memory, rho):
    return g(w + rho * curved(g, w, g(w))), None


def penalised_square(g, w, memory, rho):
    return g(w) + rho * curved(g, w, g(w)), None


def unified(g, w, memory, rho, mix):
    size = length(g(w))
    return g(w + rho * ((1 - mix) + mix / size) * g(w)), None


def monge(g, w, memory, rho, metric):
    """By the metric G = I + metric² g gᵀ itself: rho G⁻¹g/√(gᵀG⁻¹g)."""
    up = np.linalg.solve(np.eye(len(w)) + metric**2 * np.outer(g(w), g(w)), g(w))
    return g(w + rho * up / np.sqrt(g(w) @ up)), None


def sam(g, w, memory, rho):
    return g(w + rho * g(w) / length(g(w))), None


def practical_outside(g, w, memory, rho, eps):
    return g(w + rho * g(w) / (length(g(w)) + eps)), None


def practical_inside(g, w, memory, rho, eps):
    return g(w + rho * g(w) / np.sqrt(length(g(w)) ** 2 + eps**2)), None


def asam(g, w, memory, rho, shift):
    t = np.diag(np.abs(w) + shift)
    return g(w + rho * t @ t @ g(w) / length(t @ g(w))), None


def multistep(g, w, memory, rho, num_steps, average):
    points = [w]
    for _ in range(num_steps):
        here = points[-1]
        points.append(here + rho / num_steps * g(here) / length(g(here)))
    if average:
        return np.mean([g(point) for point in points[1:]], axis=0), None
    return g(points[-1]), None


def ssam(g, w, memory, rho):
    perturbed, _ = sam(g, w, memory, rho)
    return perturbed * length(g(w)) / length(perturbed), None


def pgn(g, w, memory, rho, alpha):
    perturbed, _ = sam(g, w, memory, rho)
    return (1 - alpha) * g(w) + alpha * perturbed, None


def lookahead(g, w, memory, rho, lookahead):
    trial, _ = sam(g, w, memory, rho)
    return sam(g, w - lookahead * trial, memory, rho)


def optimistic(g, w, memory, rho, lookahead):
    last = np.zeros_like(w) if memory is None else memory
    d, _ = sam(g, w - lookahead * last, None, rho)
    return d, d


def gcsam(g, w, memory, rho, centralised_norm, blocks):
    gradient, parts, begin = g(w), [], 0
    for size in blocks:
        part = gradient[begin : begin + size]
        projector = np.eye(size) - np.ones((size, size)) / size
        parts.append(projector @ part)
        begin += size
    ascent = np.concatenate(parts)
    return g(w + rho * ascent / length(ascent if centralised_norm else gradient)), None


def average(g, w, memory, rho, nodes):
    """By the rule for the weight exp(−x²), hence the √2."""
    x, weight = np.polynomial.hermite.hermgauss(nodes)
    total = np.zeros_like(w)
    for choice in itertools.product(range(nodes), repeat=len(w)):
        shift = np.sqrt(2) * x[list(choice)] * rho / np.sqrt(len(w))
        total += np.prod(weight[list(choice)]) * g(w + shift)
    return total / np.pi ** (len(w) / 2), None


def sampled(g, w, memory, rho, sample):
    shifts = [sign * rho / np.sqrt(len(w)) * z for z in sample for sign in (1, -1)]
    return np.mean([g(w + shift) for shift in shifts], axis=0), None


def msam(parts, w, memory, rho):
    return np.mean([sam(g, w, memory, rho)[0] for g in parts], axis=0), None


def fsam(g, w, memory, rho, sigma, decay):
    m = np.zeros_like(w) if memory is None else memory
    u = g(w) - sigma * m
    return g(w + rho * u / length(u)), decay * m + (1 - decay) * g(w)


def vasso(g, w, memory, rho, theta):
    a = g(w) if memory is None else memory
    a = (1 - theta) * a + theta * g(w)
    return g(w + rho * a / length(a)), a


def dpsat(g, w, memory, rho):
    p = g(w) if memory is None else memory
    d = g(w + rho * p / length(p))
    return d, d


def orbit(twin, w, *, lr, num_steps, momentum=0.0):
    """Return the weights and the memory after each step of heavy ball."""
    v, memory, path = np.zeros_like(w), None, []
    for _ in range(num_steps):
        d, memory = twin(w, memory)
        v = momentum * v + d
        w = w - lr * v
        path.append((w, memory))
    return path
