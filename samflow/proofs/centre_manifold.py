"""The centre manifold at a fixed point with one neutral direction, as a power series.

With Aq = μq, pᵀA = μpᵀ, pᵀq = 1 and μ = ±1 (of a flow 0), the centre manifold is z* + qs + h(s),
pᵀh = 0, and the motion on it s⁺ = r(s) = μs + a₂s² + ..., of a flow ṡ = r(s). Order k of invariance
is a linear equation for h_k, whose part along p gives a_k:

    map:   (A − μᵏ)h_k = q a_k + Σ_{j<k} h_j [r(s)ʲ]_k − R_k,      a_k = pᵀR_k,
    flow:   A h_k      = q a_k + Σ_{j<k} j h_j [sʲ⁻¹ r(s)]_k − R_k,  a_k = pᵀR_k,

with R_k the s^k of F(z* + qs + Σ_{j<k} h_j sʲ). Source: Kuznetsov, Elements of Applied Bifurcation
Theory, 2004, section 5.4; Wiggins, Introduction to Applied Nonlinear Dynamical Systems, 2003,
section 18.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from samflow.proofs.series import Scalar, Series

Advance = Callable[[list[Series]], list[Series]]
"""F of a map, or the velocity of a flow, on series."""


class Centre(NamedTuple):
    """A simple neutral eigenvalue: μ = ±1 of a map; 0 of a flow.

    Attributes:
        multiplier: μ; 0 for a flow.
        right: q.
        left: p, with pᵀq = 1.
        discrete: whether the system is a map.

    """

    multiplier: int
    right: Sequence[Scalar]
    left: Sequence[Scalar]
    discrete: bool


def reduced(
    advance: Advance,
    point: Sequence[Scalar],
    jacobian: Sequence[Sequence[Scalar]],
    centre: Centre,
    order: int,
    *,
    until: Callable[[list[Scalar]], bool] = lambda found: False,
) -> list[Scalar]:
    """Return a₂, a₃, ... up to `order`, or until the coefficients so far are enough.

    Args:
        advance: the system on series of length `order` + 1.
        point: z*, in the numbers of the series.
        jacobian: A, rows.
        centre: the neutral direction.
        order: the last order.
        until: says of a₂, ..., a_k whether no more are needed.

    """
    mu, q, p = centre.multiplier, centre.right, centre.left
    n, zero = len(point), 0 * point[0]
    shape: list[list[Scalar]] = [[*point], [*q]]  # z* + qs + h₂s² + ...
    motion = [zero, mu + zero]
    for k in range(2, order + 1):
        filled = [*shape, *[[zero] * n] * (order + 1 - len(shape))]
        image = advance([Series([row[i] for row in filled]) for i in range(n)])
        rest = [image[i].c[k] for i in range(n)]
        a = sum((x * y for x, y in zip(p, rest, strict=True)), zero)
        known = _carried(shape, motion, k, centre.discrete)
        right = [q[i] * a + known[i] - rest[i] for i in range(n)]
        scale = mu**k if centre.discrete else 0
        matrix = [
            [x - (scale if i == j else 0) for j, x in enumerate(row)] + [q[i]]
            for i, row in enumerate(jacobian)
        ]
        matrix.append([*p, zero])
        shape.append(solve(matrix, [*right, zero])[:-1])
        motion.append(a)
        if until(motion[2:]):
            break
    return motion[2:]


def _carried(
    shape: list[list[Scalar]], motion: list[Scalar], k: int, discrete: bool
) -> list[Scalar]:
    """Return what lower orders of h contribute at order k to h(r(s)), of a flow to h'(s) r(s)."""
    n, zero = len(shape[0]), 0 * motion[0]
    r = Series([*motion, *[zero] * (k + 1 - len(motion))])
    total = [zero] * n
    power = r
    for j in range(2, k):
        power = power * r
        # Of a flow sʲ⁻¹ r(s) has at order k what r has at order k − j + 1.
        share = power.c[k] if discrete else j * r.c[k - j + 1]
        total = [t + share * x for t, x in zip(total, shape[j], strict=True)]
    return total


def twice(coefficients: Sequence[Scalar], order: int) -> list[Scalar]:
    """Return b₂, b₃, ... of r(r(s)) = s + b₂s² + ..., for r(s) = −s + a₂s² + ...."""
    zero = 0 * coefficients[0]
    c = [zero, zero - 1, *coefficients]
    r = Series([*c, *[zero] * (order + 1 - len(c))][: order + 1])
    total, power = r * r.c[1], r
    for j in range(2, order + 1):
        power = power * r
        total = total + power * r.c[j]
    return total.c[2:]


def solve(matrix: Sequence[Sequence[Scalar]], right: Sequence[Scalar]) -> list[Scalar]:
    """Solve a regular linear system by elimination, with the numbers' own arithmetic."""
    rows = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    n = len(rows)
    for i in range(n):
        best = max(range(i, n), key=lambda k: abs(rows[k][i]))
        rows[i], rows[best] = rows[best], rows[i]
        pivot = rows[i]
        for k in range(n):
            if k != i:
                factor = rows[k][i] / pivot[i]
                rows[k] = [x - factor * y for x, y in zip(rows[k], pivot, strict=True)]
    return [row[-1] / row[i] for i, row in enumerate(rows)]
