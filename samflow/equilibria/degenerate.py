"""What a fixed point is where linearisation does not decide, by higher order."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import sympy
from flint import fmpq, fmpq_mat, fmpq_poly
from jaxtyping import Array

from samflow._status import Verdict
from samflow.equilibria import normal_forms
from samflow.equilibria._units import bending_length
from samflow.equilibria.higher import (
    ATTRACTING,
    REPELLING,
    SADDLE,
    SEMI_STABLE,
    UNDECIDED,
    HigherOrder,
)
from samflow.equilibria.nearness import bends_sharply
from samflow.proofs.balls import working_precision
from samflow.proofs.centre_manifold import Centre, reduced, twice
from samflow.proofs.exact_motion import Motion, motion_of
from samflow.proofs.series import NotRational, Series
from samflow.systems import AbstractFlow, AbstractMap, AbstractSystem

_PRECISION = 128
_VANISHES = 1e-7
"""A coefficient in floating point is 0 below this part of the largest Taylor term at a length."""
_RESONANT = 1e-6
"""A multiplier this near to a third or fourth root of 1 is one: order 3 then does not decide."""
_WORDS = {2: "two", 3: "three", 4: "four"}


def higher_order(
    system: AbstractSystem, z: np.ndarray, *, reach: float, order: int, functions: bool
) -> HigherOrder | None:
    """Say what the fixed point `z` is, whose linearisation leaves neutral directions.

    One neutral direction is reduced to the centre manifold, order by order, until a coefficient
    does not vanish. A complex pair is decided by its first Lyapunov coefficient. Where H vanishes
    altogether in two dimensions the leading form of the loss decides, if it has no multiple root.

    Args:
        system: a map or a flow.
        z: the state.
        reach: how far from `z` a rational point that is exactly fixed may lie: then all is exact.
        order: the last order to look at.
        functions: whether to differentiate where there is no formula of GD or USAM; this compiles
            programs for every order.

    Returns:
        What was found; None where nothing was tried.

    """
    made = motion_of(system, exact=True)
    if made is not None:
        try:
            point = made.rational_point(z.tolist(), [reach] * len(z))
            if point is not None:
                return _exactly(system, made, point, order)
        except NotRational:
            pass
    numeric = motion_of(system, exact=False)
    if numeric is None and not functions:
        return None
    return _numerically(system, numeric, z, order)


def _exactly(
    system: AbstractSystem, made: Motion, point: Sequence[Any], order: int
) -> HigherOrder | None:
    """Decide at a rational fixed point, in rational numbers; only a pair in floating point."""
    jacobian = made.jacobian(point)
    n = len(point)
    polynomial: Any = fmpq_mat(jacobian).charpoly()
    neutral: list[int] = []
    for value in (1, -1) if made.discrete else (0,):
        factor = fmpq_poly([-value, 1])
        while polynomial.degree() > 0 and polynomial(fmpq(value)) == 0:
            polynomial //= factor
            neutral.append(value)
    with working_precision(_PRECISION):
        roots: Any = polynomial.complex_roots() if polynomial.degree() > 0 else []
        growth = [
            root.real * root.real + root.imag * root.imag - 1 if made.discrete else root.real
            for root, many in roots
            for _ in range(many)
        ]
    sides = [None if 0 in value else bool(value < 0) for value in growth]
    open_sides = sides.count(None)
    total = len(neutral) + open_sides
    if total == 0:
        return None
    if total == 2 and open_sides == 2:
        return _pair(system, np.array([float(_number(x)) for x in point]), sides)
    if total > 1 or open_sides:
        if total == n == 2 and not open_sides and made.momentum is None and made.decay == 0:
            form = _leading_form(made, point)
            if form is not None and neutral == [1 if made.discrete else 0] * 2:
                return form
        return _several(total, neutral[0] if neutral else 1, Verdict.proved)
    mu = neutral[0]
    right, left = _kernels(jacobian, mu)

    def enough(found: list[Any]) -> bool:
        values = twice(found, len(found) + 1) if mu == -1 else found
        return values[-1] != 0

    found = reduced(
        made.advance, point, jacobian, Centre(mu, right, left, made.discrete), order, until=enough
    )
    length = float(np.linalg.norm([float(_number(x)) for x in right]))
    values = twice(found, len(found) + 1) if mu == -1 else found
    whole = [x for x in sides if x is not None]
    unit = np.array([float(_number(x)) for x in right]) / length
    coefficient = float(_number(values[-1])) / length ** len(found)
    return _one(mu, len(found) + 1, coefficient, values[-1] != 0, unit, whole, Verdict.proved)


def _number(value: Any) -> float:
    """Return a rational number in floating point."""
    return int(value.p) / int(value.q)


def _kernels(jacobian: Sequence[Sequence[Any]], mu: int) -> tuple[list[Any], list[Any]]:
    """Return q and p of a simple rational eigenvalue, with pᵀq = 1."""
    n = len(jacobian)
    shifted = [
        [x - (mu if i == j else 0) for j, x in enumerate(row)] for i, row in enumerate(jacobian)
    ]
    right = _kernel(shifted)
    left = _kernel([list(column) for column in zip(*shifted, strict=True)])
    scale = sum((a * b for a, b in zip(left, right, strict=True)), fmpq(0))
    return right, [left[i] / scale for i in range(n)]


def _kernel(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the vector that spans the kernel of a rational matrix of rank n − 1."""
    n = len(rows)
    reduced_rows, rank = fmpq_mat([list(row) for row in rows]).rref()
    pivots = [next(j for j in range(n) if reduced_rows[i, j] != 0) for i in range(rank)]
    (free,) = (j for j in range(n) if j not in pivots)
    vector = [fmpq(0)] * n
    vector[free] = fmpq(1)
    for i, j in enumerate(pivots):
        vector[j] = -reduced_rows[i, free]
    return vector


def _one(
    mu: int,
    order: int,
    coefficient: float,
    decided: bool,
    direction: np.ndarray,
    stable: Sequence[bool],
    evidence: Verdict,
) -> HigherOrder:
    """Return the verdict from the first term that does not vanish, and the other directions.

    Args:
        mu: the neutral multiplier, or 0 of a flow.
        order: of the term; the last one where all vanish.
        coefficient: of r(s) − s, of a flow of r(s), for μ = −1 of r(r(s)) − s.
        decided: whether it does not vanish.
        direction: of length 1.
        stable: of each other eigenvalue whether it is stable.
        evidence: of all this.

    """
    if not decided:
        reason = f"all orders up to {order} vanish along the one centre direction"
        along = tuple(direction.tolist())
        return HigherOrder(UNDECIDED, 1, mu, order, 0.0, along, evidence, reason)
    if order % 2 == 0:
        if coefficient > 0:
            coefficient, direction = -coefficient, -direction
        verdict = SEMI_STABLE if all(stable) else SADDLE
    elif coefficient < 0:
        verdict = ATTRACTING if all(stable) else SADDLE
    else:
        verdict = REPELLING if not any(stable) else SADDLE
    value = -0.5 * coefficient if mu == -1 else coefficient
    return HigherOrder(verdict, 1, mu, order, value, tuple(direction.tolist()), evidence)


def _several(count: int, mu: complex, evidence: Verdict) -> HigherOrder:
    reason = f"{_WORDS.get(count, str(count))} centre directions; order 3 is not reduced"
    return HigherOrder(UNDECIDED, count, mu, 3, float("nan"), (), evidence, reason)


def _leading_form(made: Motion, point: Sequence[Any]) -> HigherOrder | None:
    """Decide by the form of least degree of the loss about a point where its Hessian vanishes.

    A definite form makes L a Lyapunov function. One that changes sign without a multiple root has
    orbits that come and orbits that leave. None where neither is so.
    """
    loss = made.loss
    if not loss.expression.is_polynomial(*loss.symbols):
        return None
    at = [sympy.Rational(int(x.p), int(x.q)) for x in point]
    moved: Any = {s: s + x for s, x in zip(loss.symbols, at, strict=True)}
    whole = sympy.Poly(loss.expression.subs(moved, simultaneous=True), *loss.symbols)
    terms = {key: c for key, c in whole.terms() if sum(key) > 0 and c != 0}
    degree = min(map(sum, terms))
    form = {key: c for key, c in terms.items() if sum(key) == degree}
    t = sympy.Symbol("t", real=True)
    line = sympy.Poly({(key[1],): c for key, c in form.items()}, t)
    at_infinity = degree - line.degree()
    roots = sympy.real_roots(line, multiple=False) if line.degree() > 0 else []
    many = [count for _, count in roots] + ([at_infinity] if at_infinity else [])
    if any(count > 1 for count in many):
        return None
    verdict = SADDLE if many else ATTRACTING if line.LC() > 0 else REPELLING
    reason = f"the form of degree {degree} of the loss "
    reason += "takes both signs" if many else f"is {'positive' if line.LC() > 0 else 'negative'}"
    mu = 1 if made.discrete else 0
    return HigherOrder(verdict, 2, mu, degree - 1, float("nan"), (), Verdict.proved, reason)


class _AtRest(eqx.Module):
    """A system as `normal_forms.Derivatives` takes it; it has no parameter."""

    system: AbstractMap | AbstractFlow

    def advance(self, z: Array, _: Any) -> Array:
        """Return the next state, of a flow the velocity."""
        if isinstance(self.system, AbstractMap):
            return self.system.step(z)
        return self.system.velocity(z)


def _pair(system: AbstractSystem, z: np.ndarray, sides: Sequence[bool | None]) -> HigherOrder:
    """Decide at a complex pair by its first Lyapunov coefficient, in floating point."""
    assert isinstance(system, (AbstractMap, AbstractFlow))
    jacobian = np.asarray(system.jacobian(jnp.asarray(z)))
    discrete = isinstance(system, AbstractMap)
    values = np.linalg.eigvals(jacobian).astype(complex)
    growth = np.abs(np.abs(values) - 1) if discrete else np.abs(np.real(values))
    near = complex(values[np.argsort(growth + 1e9 * (np.imag(values) <= 0))[0]])
    nothing = (UNDECIDED, 2, near, 3, float("nan"), (), Verdict.unsupported)
    if discrete and min(abs(near**3 - 1), abs(near**4 - 1)) <= _RESONANT:
        return HigherOrder(*nothing, "a strong resonance: order 3 alone does not decide")
    forms = normal_forms.Derivatives(_AtRest(system), np.append(z, 0.0))
    pair = normal_forms.eigenpair(jacobian, near)
    value = normal_forms.rotating(forms, jacobian, pair, discrete)
    scale = (
        1 / bending_length(system, jnp.asarray(z)) ** 2
        if bending_length(system, jnp.asarray(z))
        else 0.0
    )
    if not abs(value) > _VANISHES * scale:
        return HigherOrder(*nothing, "order 3 vanishes at a complex pair")
    others = [side for side in sides if side is not None]
    if value < 0:
        verdict = ATTRACTING if all(others) else SADDLE
    else:
        verdict = REPELLING if not any(others) else SADDLE
    evidence = Verdict.unsupported
    return HigherOrder(verdict, 2, near, 3, float(value), (), evidence, "complex pair")


def _numerically(
    system: AbstractSystem, made: Motion | None, z: np.ndarray, order: int
) -> HigherOrder | None:
    """Decide in floating point, where rational arithmetic does not reach."""
    assert isinstance(system, (AbstractMap, AbstractFlow))
    discrete = isinstance(system, AbstractMap)
    jacobian = np.asarray(system.jacobian(jnp.asarray(z)))
    values, vectors = np.linalg.eig(jacobian)
    growth = np.abs(values) - 1 if discrete else np.real(values)
    size = max(1.0, float(np.abs(jacobian).max())) if discrete else float(np.abs(jacobian).max())
    neutral = np.abs(growth) <= 1e-6 * (size if discrete else max(size, 1e-300))
    stable = [bool(g < 0) for g, flat in zip(growth, neutral, strict=True) if not flat]
    if neutral.any() and bends_sharply(system, z, bending_length(system, jnp.asarray(z)) or 1.0):
        count, mu = int(neutral.sum()), complex(values[neutral][0])
        reason = "the rule has no second derivative at a critical point"
        return HigherOrder(UNDECIDED, count, mu, 2, np.nan, (), Verdict.unsupported, reason)
    if neutral.sum() == 2 and (np.abs(np.imag(values[neutral])) > 1e-6 * size).all():
        sides = [*stable, None, None]
        return _pair(system, z, sides)
    if neutral.sum() != 1:
        count = int(neutral.sum())
        return _several(count, 1.0 if discrete else 0.0, Verdict.unsupported) if count else None
    i = int(np.flatnonzero(neutral)[0])
    mu = round(float(np.real(values[i]))) if discrete else 0
    right = np.real(vectors[:, i]) / np.linalg.norm(np.real(vectors[:, i]))
    lefts, rows = np.linalg.eig(jacobian.T)
    left = np.real(rows[:, int(np.argmin(np.abs(lefts - values[i])))])
    left = left / (left @ right)
    advance = made.advance if made is not None else _Jets(system, z).advance
    centre = Centre(mu, right.tolist(), left.tolist(), discrete)
    found = reduced(advance, z.tolist(), jacobian.tolist(), centre, order)
    terms = twice(found, order) if mu == -1 else found
    length = bending_length(system, jnp.asarray(z)) or 1.0
    scale = _taylor_scale(advance, z, right, order, length)
    sizes = np.array([abs(a) * length**k for k, a in enumerate(terms, start=2)])
    counts = sizes > _VANISHES * scale
    k = int(np.argmax(counts)) if counts.any() else len(terms) - 1
    value, decided = float(terms[k]), bool(counts.any())
    return _one(mu, k + 2, value, decided, right, stable, Verdict.unsupported)


def _taylor_scale(
    advance: Any, z: np.ndarray, direction: np.ndarray, order: int, length: float
) -> float:
    """Return the largest nonlinear Taylor term of F at a length, along three straight lines."""
    turns = np.random.default_rng(0).normal(size=(2, len(z)))
    lines = [direction, *(turns / np.linalg.norm(turns, axis=1, keepdims=True))]
    largest = 0.0
    for line in lines:
        curve = [Series([x, v, *[0.0] * (order - 1)]) for x, v in zip(z, line, strict=True)]
        image = np.array([x.c for x in advance(curve)])
        sizes = np.linalg.norm(image[:, 2:], axis=0) * length ** np.arange(2, order + 1)
        largest = max(largest, float(sizes.max()))
    return largest


class _Jets:
    """A system on power series by nested forward derivatives along a polynomial curve."""

    def __init__(self, system: AbstractMap | AbstractFlow, z: np.ndarray) -> None:
        self._system, self._z = _AtRest(system), z

    def advance(self, state: list[Series]) -> list[Series]:
        """Return the image of a curve."""
        coefficients = np.array([x.c for x in state]).T
        image = np.asarray(_taylor(self._system, jnp.asarray(coefficients)))
        return [Series(column.tolist()) for column in image.T]


@eqx.filter_jit
def _taylor(system: _AtRest, coefficients: Array) -> Array:
    """Return the Taylor coefficients of F along Σ cₖ sᵏ, shape (order + 1, n)."""
    order = len(coefficients) - 1

    def curve(s: Array) -> Array:
        point = coefficients[order]
        for row in coefficients[:order][::-1]:
            point = row + s * point
        return system.advance(point, None)

    found, function, factorial = [], curve, 1.0
    for k in range(order + 1):
        found.append(function(jnp.zeros(())) / factorial)
        function, factorial = jax.jacfwd(function), factorial * (k + 1)
    return jnp.stack(found)
