"""Toy losses with known critical points.

Each factory returns an `ExpressionLoss` whose `critical_points` are complete in its domain unless
its docstring says otherwise. Decimals are rounded to double precision; tests check every one.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import sympy

from samflow import _checks
from samflow._types import Box
from samflow.losses.expression import CriticalPoint, ExpressionLoss
from samflow.losses.parser import parse

_MOST_LISTED = 10_000
"""A sum over coordinates has its critical points listed up to this many, and none beyond."""
_SURVEY = "Jamil, Yang 2013, arXiv 1308.4008"


def _loss(
    name: str,
    text: str,
    variables: str,
    *,
    domain: Box | None,
    points: Sequence[CriticalPoint],
    source: str,
) -> ExpressionLoss:
    symbols = tuple(sympy.Symbol(v, real=True) for v in variables.split())
    return ExpressionLoss(parse(text), symbols, name, domain, tuple(points), source)


def _points(**kinds: Sequence[tuple[float, ...]]) -> list[CriticalPoint]:
    return [CriticalPoint(w, kind) for kind, ws in kinds.items() for w in ws]


def saddle(eigenvalues: Sequence[float] = (1.0, -1.0)) -> ExpressionLoss:
    """Return ½ Σ λᵢ wᵢ², with the Hessian's eigenvalues λ to choose; ½(x² − y²) by default.

    Raises:
        ArgumentError: for an empty list or an eigenvalue that is not finite.

    """
    try:
        values = _checks.real_numbers(eigenvalues).ravel().tolist()
    except TypeError as error:
        raise _checks.ArgumentError(
            f"Argument `eigenvalues` must be one or more finite numbers, but is "
            f"{_checks.excerpt(eigenvalues)} ({error})."
        ) from error
    if not values or not all(math.isfinite(value) for value in values):
        raise _checks.ArgumentError(
            f"Argument `eigenvalues` must be one or more finite numbers, but is {values}."
        )
    names = ["x", "y", "z"] if len(values) <= 3 else [f"x{i + 1}" for i in range(len(values))]
    symbols = tuple(sympy.Symbol(name, real=True) for name in names[: len(values)])
    terms = (sympy.Rational(repr(v)) * s**2 for v, s in zip(values, symbols, strict=True))
    kind = "degenerate" if 0 in values else "minimum" if min(values) > 0 else "saddle"
    kind = "maximum" if max(values) < 0 else kind
    origin = CriticalPoint((0.0,) * len(values), kind)
    return ExpressionLoss(sum(terms, sympy.Integer(0)) / 2, symbols, "saddle", None, (origin,))


def valley() -> ExpressionLoss:
    """Return ½(1 + u²)v²: minima on the line v = 0, sharpness λ(u) = 1 + u², flattest at u = 0.

    The critical points are the whole line, all degenerate; two of them are listed.
    """
    points = _points(degenerate=[(0.0, 0.0), (2.0, 0.0)])
    source = "the valley model of docs/theory"
    return _loss("valley", "(1 + u**2)*v**2/2", "u v", domain=None, points=points, source=source)


def curved_valley() -> ExpressionLoss:
    """Return ½(y − ½x²)²: sharpness 1 + x² on the parabola, its direction (−x, 1) turning.

    The critical points are the whole parabola, all degenerate; three of them are listed.
    """
    points = _points(degenerate=[(0.0, 0.0), (2.0, 2.0), (-1.0, 0.5)])
    source = "the valley model of docs/theory, bent"
    text = "(y - x**2/2)**2/2"
    return _loss("curved_valley", text, "x y", domain=None, points=points, source=source)


def beale() -> ExpressionLoss:
    """Return Beale's function, whose saddle (0, 1) attracts USAM from rho = 4/111."""
    points = _points(
        minimum=[(3.0, 0.5)],
        saddle=[(0.0, 1.0), (0.10053793732415836, -2.644513585023125)],
    )
    text = "(1.5 - x + x*y)**2 + (2.25 - x + x*y**2)**2 + (2.625 - x + x*y**3)**2"
    source = f"Beale 1958; {_SURVEY}, no. 10"
    return _loss("beale", text, "x y", domain=((-4.5, 4.5),) * 2, points=points, source=source)


def himmelblau() -> ExpressionLoss:
    """Return Himmelblau's function: four minima, four saddles, one maximum."""
    points = _points(
        minimum=[
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.2831859912861696),
            (3.5844283403304917, -1.8481265269644036),
        ],
        saddle=[
            (-3.0730257507643897, -0.08135304428796751),
            (-0.12796134673068008, -1.9537149802445763),
            (0.08667750455539636, 2.884254701174776),
            (3.3851541836070207, 0.07385187983774928),
        ],
        maximum=[(-0.2708445906673476, -0.9230385564799815)],
    )
    text = "(x**2 + y - 11)**2 + (x + y**2 - 7)**2"
    source = f"Himmelblau 1972; {_SURVEY}, no. 65"
    return _loss("himmelblau", text, "x y", domain=((-6.0, 6.0),) * 2, points=points, source=source)


def six_hump_camel() -> ExpressionLoss:
    """Return the six-hump camel: six minima, seven saddles, two maxima."""
    half = {
        "minimum": [
            (-1.7036067149699807, 0.7960835686726251),
            (-1.6071047529201972, -0.5686514548841314),
            (-0.08984201310031806, 0.7126564030207396),
        ],
        "saddle": [
            (-1.6380679841897785, -0.22867406904439408),
            (-1.2960702671671092, -0.6050843880386585),
            (-1.1092053368047865, 0.7682680925095399),
        ],
        "maximum": [(-1.2302298765166526, -0.16233458445899496)],
    }
    points = [CriticalPoint((0.0, 0.0), "saddle")]
    for kind, ws in half.items():
        points += [CriticalPoint((s * x, s * y), kind) for x, y in ws for s in (1.0, -1.0)]
    text = "(4 - 2.1*x**2 + x**4/3)*x**2 + x*y + (4*y**2 - 4)*y**2"
    source = f"Branin 1972; {_SURVEY}, no. 30"
    domain = ((-3.0, 3.0), (-2.0, 2.0))
    return _loss("six_hump_camel", text, "x y", domain=domain, points=points, source=source)


def rosenbrock(dim: int = 2) -> ExpressionLoss:
    """Return Σ 100(wᵢ₊₁ − wᵢ²)² + (1 − wᵢ)², minimum at (1, ..., 1).

    In two dimensions this is the only critical point; from dim = 4 on there are others, which are
    not listed.
    """
    dim = _checks.count("dim", dim, minimum=2)
    names = ["x", "y"] if dim == 2 else [f"x{i + 1}" for i in range(dim)]
    pairs = itertools.pairwise(names)
    text = " + ".join(f"100*({b} - {a}**2)**2 + (1 - {a})**2" for a, b in pairs)
    points = _points(minimum=[(1.0,) * dim])
    source = f"Rosenbrock 1960; {_SURVEY}, no. 105"
    box = ((-5.0, 10.0),) * dim
    return _loss("rosenbrock", text, " ".join(names), domain=box, points=points, source=source)


def _separable(
    name: str, term: str, dim: int, bound: float, roots: dict[float, bool], source: str
) -> ExpressionLoss:
    """Return a sum of one term per coordinate; `roots` maps its critical points to `is minimum`."""
    dim = _checks.count("dim", dim)
    names = ["x", "y", "z"][:dim] if dim <= 3 else [f"x{i + 1}" for i in range(dim)]
    points = []
    listed = itertools.product(roots, repeat=dim) if len(roots) ** dim <= _MOST_LISTED else ()
    for w in listed:
        minima = [roots[x] for x in w]
        kind = "minimum" if all(minima) else "saddle" if any(minima) else "maximum"
        points.append(CriticalPoint(w, kind))
    text = " + ".join(term.format(t=symbol) for symbol in names)
    box = ((-bound, bound),) * dim
    return _loss(name, text, " ".join(names), domain=box, points=points, source=source)


def styblinski_tang(dim: int = 2) -> ExpressionLoss:
    """Return ½ Σ (wᵢ⁴ − 16wᵢ² + 5wᵢ), with 3^dim critical points."""
    roots = {-2.903534027771177: True, 0.1567312567803401: False, 2.746802770990837: True}
    source = f"Styblinski, Tang 1990; {_SURVEY}, no. 144"
    term = "({t}**4 - 16*{t}**2 + 5*{t})/2"
    return _separable("styblinski_tang", term, dim, 5.0, roots, source)


def rastrigin(dim: int = 2) -> ExpressionLoss:
    """Return Σ wᵢ² + 10 − 10 cos 2πwᵢ, with 21^dim critical points in its domain."""
    half = {
        0.5025460365546747: False,
        0.9949586376523348: True,
        1.5076407318703584: False,
        1.9899122337085495: True,
        2.512743318200085: False,
        2.984855701039481: True,
        3.517859138170441: False,
        3.9797838603007536: True,
        4.522993659584519: False,
        4.974691390895051: True,
    }
    roots = {0.0: True} | half | {-x: minimum for x, minimum in half.items()}
    term = "{t}**2 + 10 - 10*cos(2*pi*{t})"
    return _separable("rastrigin", term, dim, 5.12, roots, "Rastrigin 1974; Hoffmeister, Bäck 1991")


def goldstein_price() -> ExpressionLoss:
    """Return the Goldstein–Price function: four minima, four saddles, one maximum."""
    points = _points(
        minimum=[(0.0, -1.0), (-0.6, -0.4), (1.8, 0.2), (1.2, 0.8)],
        saddle=[(-0.4, -0.6), (0.6, 0.4), (1.2, -0.2), (1.4, 0.6)],
        maximum=[(0.8, 0.2)],
    )
    text = (
        "(1 + (x + y + 1)**2*(19 - 14*x + 3*x**2 - 14*y + 6*x*y + 3*y**2))"
        "*(30 + (2*x - 3*y)**2*(18 - 32*x + 12*x**2 + 48*y - 36*x*y + 27*y**2))"
    )
    source = f"Goldstein, Price 1971; {_SURVEY}, no. 53"
    domain = ((-2.0, 2.0),) * 2
    return _loss("goldstein_price", text, "x y", domain=domain, points=points, source=source)


def mccormick() -> ExpressionLoss:
    """Return McCormick's function: two minima with a saddle between them in its domain."""
    third = math.pi / 3
    points = _points(
        minimum=[(0.5 - third, -0.5 - third), (0.5 + 2 * third, -0.5 + 2 * third)],
        saddle=[(0.5 + third, -0.5 + third)],
    )
    text = "sin(x + y) + (x - y)**2 - 1.5*x + 2.5*y + 1"
    source = f"McCormick 1976; {_SURVEY}, no. 83; critical points in closed form"
    domain = ((-1.5, 4.0), (-3.0, 4.0))
    return _loss("mccormick", text, "x y", domain=domain, points=points, source=source)


def quartic() -> ExpressionLoss:
    """Return ½x² − ½y² + ¼y⁴: a saddle at 0 between the minima (0, ±1).

    Under the flow of USAM the saddle attracts from rho = 1 (a pitchfork); folds at rho = 4.
    """
    points = _points(minimum=[(0.0, 1.0), (0.0, -1.0)], saddle=[(0.0, 0.0)])
    source = "derived in docs/theory"
    text = "x**2/2 - y**2/2 + y**4/4"
    return _loss("quartic", text, "x y", domain=None, points=points, source=source)


def matrix_factorisation() -> ExpressionLoss:
    """Return ½(xy − 1)²: a saddle at 0, minima on the hyperbola xy = 1 (three are listed)."""
    points = _points(saddle=[(0.0, 0.0)], degenerate=[(1.0, 1.0), (-1.0, -1.0), (2.0, 0.5)])
    source = "the scalar case of low-rank factorisation"
    text = "(x*y - 1)**2/2"
    name = "matrix_factorisation"
    return _loss(name, text, "x y", domain=None, points=points, source=source)


def double_well() -> ExpressionLoss:
    """Return ¼(x² − 1)² in one dimension: minima at ±1, a maximum at 0."""
    points = _points(minimum=[(1.0,), (-1.0,)], maximum=[(0.0,)])
    source = "Kramers 1940"
    return _loss("double_well", "(x**2 - 1)**2/4", "x", domain=None, points=points, source=source)


ZOO: dict[str, Callable[[], ExpressionLoss]] = {
    factory.__name__: factory
    for factory in (
        saddle,
        valley,
        curved_valley,
        beale,
        himmelblau,
        six_hump_camel,
        rosenbrock,
        styblinski_tang,
        rastrigin,
        goldstein_price,
        mccormick,
        quartic,
        matrix_factorisation,
        double_well,
    )
}
"""Every factory by the name that `loss` and the command line take."""
