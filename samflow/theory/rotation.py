"""SAM along one normal direction on any loss: a contracted rotation and its cycles.

With a = g(ρ) > 0, b = −g(−ρ) > 0 and c± = 1 − ηg′(±ρ), SAM's step near a critical point at 0 is

    z⁺ = c₊z − ηa for z > 0,    z⁺ = c₋z + ηb for z < 0,

to first order in z. Only a/b and c± decide which cycle there is. Its rotation number p/q is the
share of steps that begin at z < 0. Tests are in integers: numbers are taken as they are stored.
docs/theory, rotation.md.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import sympy

from samflow.theory.symbols import positive_number, real_number, sign

MAX_PERIOD = 64
"""Cycles are looked for up to this period unless another is asked for."""


class RotationCycle(NamedTuple):
    """The cycle of a contracted rotation.

    Attributes:
        share: rotation number p/q: of the steps of the cycle, p of q begin at z < 0.
        word: the signs of the points, from the smallest positive point on, as in "+-+--".
        points: z in this order. At the ends of the interval of p/q one of them is 0, where SAM is
            not defined: orbits then approach the cycle from one side.
        multiplier: c₊^(q−p) c₋^p, over the whole period.
        attained: whether no point is 0, so that the cycle is one of SAM.

    """

    share: Fraction
    word: str
    points: tuple[Fraction, ...]
    multiplier: Fraction
    attained: bool

    @property
    def period(self) -> int:
        """Return q."""
        return self.share.denominator


class NoCycle(NamedTuple):
    """No cycle has a period up to the bound; the rotation number lies between two neighbours.

    It is rational all the same, as all numbers given are (Laurent, Nogueira 2021).

    Attributes:
        low: the largest p/q with q ≤ bound below the rotation number.
        high: the smallest above it.
        max_period: the bound.

    """

    low: Fraction
    high: Fraction
    max_period: int


def rotation_limit(a: Any, b: Any) -> sympy.Expr:
    """Return a/(a + b), to which the share of steps at z < 0 tends as η → 0."""
    a, b = map(sympy.sympify, (a, b))
    return a / (a + b)


def two_cycle_exists(a: Any, b: Any, *, plus: Any, minus: Any) -> bool:
    """Say whether c₊b < a and c₋a < b: iff so, there is the 2-cycle +−; it needs |c₊c₋| < 1.

    Args:
        a: g(ρ) > 0.
        b: −g(−ρ) > 0.
        plus: c₊ = 1 − ηg′(ρ).
        minus: c₋ = 1 − ηg′(−ρ).

    """
    a, b = positive_number("a", a), positive_number("b", b)
    plus, minus = real_number("plus", plus), real_number("minus", minus)
    return sign(a - plus * b) > 0 and sign(b - minus * a) > 0


def two_cycle_lr(a: Any, b: Any, *, curvature_plus: Any, curvature_minus: Any) -> sympy.Expr:
    """Return the η above which the 2-cycle exists: max(0, (1 − a/b)/g′(ρ), (1 − b/a)/g′(−ρ)).

    It is 0 only if a = b. For small ρ it is ρ|L‴|/λ²: a third derivative takes the 2-cycle away
    as η → 0 at every ρ.

    Args:
        a: g(ρ) > 0.
        b: −g(−ρ) > 0.
        curvature_plus: g′(ρ) > 0.
        curvature_minus: g′(−ρ) > 0.

    """
    a, b = positive_number("a", a), positive_number("b", b)
    plus = positive_number("curvature_plus", curvature_plus)
    minus = positive_number("curvature_minus", curvature_minus)
    return max(sympy.Integer(0), (1 - a / b) / plus, (1 - b / a) / minus)


def transverse_rotation_exponent(a: Any, b: Any, *, plus: Any, minus: Any) -> sympy.Expr:
    """Return the growth per step across the rotation as η → 0, where a/(a + b) is irrational.

    At z a deviation along another eigenvector is multiplied by 1 − ηK/|z| + O(η), with
    K± = ρλⱼhⱼ(±ρ)/λ₁, and z is uniform on (−ηa, ηb). The mean of log|1 − ηK/|z|| is

        (φ(b, K₊) + φ(a, K₋))/(a + b),  φ(m, K) = (m − K)log|m − K| + K log|K| − m log m.

    On a quadratic, K = ka with k = (λⱼ/λ₁)² and a = b, it is k log k + (1 − k)log|1 − k|: negative,
    so that deviations die out, iff |λⱼ| < λ₁.

    Args:
        a: g(ρ) > 0.
        b: −g(−ρ) > 0.
        plus: K₊; hⱼ(e) is the second derivative across at the distance e along the direction.
        minus: K₋.

    """
    a, b = positive_number("a", a), positive_number("b", b)

    def side(width: sympy.Expr, pull: sympy.Expr) -> sympy.Expr:
        return _xlogx(width - pull) + _xlogx(pull) - _xlogx(width)

    plus, minus = real_number("plus", plus), real_number("minus", minus)
    return (side(b, plus) + side(a, minus)) / (a + b)


def _xlogx(x: sympy.Expr) -> sympy.Expr:
    return sympy.Integer(0) if sign(x) == 0 else x * sympy.log(sympy.Abs(x))


def rotation_word(share: Any, rank: int | None = None) -> str:
    """Return the signs of the cycle p/q, from its smallest positive point on, or another.

    The q points in their order are turned by a step: of p negative ones the j-th smallest becomes
    the (j + q − p)-th, and each positive one falls by p places.

    Args:
        share: p/q with 0 < p < q.
        rank: of the first point, from the smallest, 0; by default p, the smallest positive one.

    """
    share = _share(share)
    p, q = share.numerator, share.denominator
    return _word(p, q, p if rank is None else rank)


def rotation_interval(share: Any, *, plus: Any, minus: Any) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the ends of the interval of a/b in which the rotation number is p/q.

    Inside it the cycle exists. Takes symbols: the ends are rational functions of c₊ and c₋.

    Args:
        share: p/q with 0 < p < q.
        plus: c₊.
        minus: c₋.

    """
    share = _share(share)
    slopes = {"+": sympy.sympify(plus), "-": sympy.sympify(minus)}
    p, q = share.numerator, share.denominator
    ends = []
    for rank in (p - 1, p):  # the largest negative point, the smallest positive one
        falls = rises = sympy.Integer(0)
        for side in _word(p, q, rank):
            falls, rises = slopes[side] * falls, slopes[side] * rises
            falls, rises = falls + int(side == "+"), rises + int(side == "-")
        ends.append(rises / falls)
    return ends[0], ends[1]


def equal_slopes_interval(share: Any, slope: Any) -> tuple[sympy.Expr, sympy.Expr]:
    """Return the ends of the interval of a/(a + b) for p/q, where c₊ = c₋ = c.

    (1 − c)/(1 − c^q) Σ (⌊((j+2)p − i)/q⌋ − ⌊((j+1)p − i)/q⌋) c^j over 0 ≤ j < q, with i = 1 for
    the lower end and 0 for the upper. It is (1 − c)²c^(q−2)/(1 − c^q) long.

    Source: Bugeaud 1993; Bugeaud, Conze 1999; Laurent, Nogueira 2018 (arXiv 1704.05130).
    """
    share, slope = _share(share), sympy.sympify(slope)
    p, q = share.numerator, share.denominator
    unit = 1 / sum((slope**j for j in range(q)), sympy.Integer(0))

    def end(i: int) -> sympy.Expr:
        turns = [((j + 2) * p - i) // q - ((j + 1) * p - i) // q for j in range(q)]
        return unit * sum((slope**j for j in range(q) if turns[j]), sympy.Integer(0))

    return end(1), end(0)


def rotation_staircase(
    *, plus: Any, minus: Any, max_period: int
) -> list[tuple[Fraction, sympy.Expr, sympy.Expr]]:
    """Return p/q with its interval of a/b, for every q ≤ max_period, ascending."""
    shares = sorted({Fraction(p, q) for q in range(2, max_period + 1) for p in range(1, q)})
    return [(share, *rotation_interval(share, plus=plus, minus=minus)) for share in shares]


def rotation_cycle(
    a: Any, b: Any, *, plus: Any, minus: Any, lr: Any = 1, max_period: int = MAX_PERIOD
) -> RotationCycle | NoCycle:
    """Return the cycle of the contracted rotation: the only one, and every orbit comes to it.

    Goes down the Stern–Brocot tree: the sign of the smallest positive point of the cycle of p/q,
    and of its largest negative one, say whether the rotation number is larger or smaller.

    Args:
        a: g(ρ) > 0.
        b: −g(−ρ) > 0.
        plus: c₊ = 1 − ηg′(ρ).
        minus: c₋ = 1 − ηg′(−ρ).
        lr: η, the unit of the points.
        max_period: of a cycle.

    Returns:
        `RotationCycle`, or `NoCycle` where its period exceeds `max_period`.

    Raises:
        ValueError: for numbers that are not rational, or unless c± > 0 and
            (1 − c₊)b + (1 − c₋)a > 0: the step is then no circle map of degree one.

    """
    numbers = {"a": a, "b": b, "plus": plus, "minus": minus, "lr": lr}
    a, b, plus, minus, lr = (_rational(name, value) for name, value in numbers.items())
    if not (min(a, b, plus, minus, lr) > 0 and (1 - plus) * b + (1 - minus) * a > 0):
        raise ValueError(
            "A contracted rotation needs a, b, c₊, c₋, η > 0 and (1 − c₊)b + (1 − c₋)a > 0, but "
            f"received a = {a}, b = {b}, c₊ = {plus}, c₋ = {minus}, η = {lr}."
        )
    test = _SignTest(a, b, plus, minus)
    low, high = Fraction(0), Fraction(1)
    while (between := _mediant(low, high)).denominator <= max_period:
        p, q = between.numerator, between.denominator
        least = test.sign(_word(p, q, p))
        greatest = test.sign(_word(p, q, p - 1))
        if least >= 0 and greatest <= 0:
            return _cycle(between, a * lr, b * lr, plus, minus, least > 0 > greatest)
        low, high = (between, high) if least < 0 else (low, between)
    return NoCycle(low, high, max_period)


def rotation_number(
    plus: Callable[[float], float],
    minus: Callable[[float], float],
    *,
    max_period: int = MAX_PERIOD,
) -> Fraction | NoCycle:
    """Return the rotation number of a step that is not affine, by the same search, in floats.

    Args:
        plus: z ↦ f(z) for z > 0, which must increase and contract, 0 < f′ < 1, on both sides of 0.
        minus: z ↦ f(z) for z < 0, likewise.
        max_period: of a cycle.

    Not guaranteed within rounding of the ends of a step, nor where f does not contract.

    """
    sides = {"+": plus, "-": minus}

    def fixed_point(word: str) -> float:
        z, moved = 0.0, float("inf")
        while True:
            image = z
            for side in word:
                image = sides[side](image)
            if not abs(image - z) < moved:  # contraction has come to rounding, or there is none
                return image
            z, moved = image, abs(image - z)

    low, high = Fraction(0), Fraction(1)
    while (between := _mediant(low, high)).denominator <= max_period:
        p, q = between.numerator, between.denominator
        least, greatest = (fixed_point(_word(p, q, rank)) for rank in (p, p - 1))
        if least >= 0 >= greatest:
            return between
        low, high = (between, high) if least < 0 else (low, between)
    return NoCycle(low, high, max_period)


class _SignTest:
    """Decide in integers the sign of the fixed point of a word, −aP + bQ."""

    def __init__(self, a: Fraction, b: Fraction, plus: Fraction, minus: Fraction) -> None:
        scale = plus.denominator * minus.denominator
        self._scale = scale
        self._slopes = {"+": int(plus * scale), "-": int(minus * scale)}
        unit = a.denominator * b.denominator
        self._moves = {"+": -int(a * unit), "-": int(b * unit)}

    def sign(self, word: str) -> int:
        """Return −1, 0 or 1."""
        end, power = 0, 1
        for side in word:
            end = end * self._slopes[side] + self._moves[side] * power
            power *= self._scale
        return (end > 0) - (end < 0)


def _cycle(
    share: Fraction, a: Fraction, b: Fraction, plus: Fraction, minus: Fraction, attained: bool
) -> RotationCycle:
    word = rotation_word(share)
    slopes, moves = {"+": plus, "-": minus}, {"+": -a, "-": b}
    multiplier, end = Fraction(1), Fraction(0)
    for side in word:
        multiplier *= slopes[side]
        end = slopes[side] * end + moves[side]
    points = [end / (1 - multiplier)]
    for side in word[:-1]:
        points.append(slopes[side] * points[-1] + moves[side])
    return RotationCycle(share, word, tuple(points), multiplier, attained)


def _word(p: int, q: int, rank: int) -> str:
    """Return the signs along the cycle p/q from its point of that rank, 0 the smallest, on."""
    return "".join(_signs(p, q, rank))


def _signs(p: int, q: int, rank: int) -> Iterator[str]:
    for _ in range(q):
        yield "-" if rank < p else "+"
        rank = (rank - p) % q


def _mediant(low: Fraction, high: Fraction) -> Fraction:
    return Fraction(low.numerator + high.numerator, low.denominator + high.denominator)


def _share(value: Any) -> Fraction:
    share = _rational("share", value)
    if not 0 < share < 1:
        raise ValueError(f"Argument `share` must be p/q with 0 < p < q, but is {value}.")
    return share


def _rational(name: str, value: Any) -> Fraction:
    """Return a number as it is stored: of a float its bits, not its decimals."""
    number = real_number(name, value)
    if not (number.is_Float or number.is_Rational):
        raise ValueError(f"Argument `{name}` must be a rational number or a float, but is {value}.")
    return Fraction(str(sympy.Rational(number)))
