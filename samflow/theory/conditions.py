"""Linear stability of smooth rules at a critical point, exactly, for one Hessian eigenvalue λ.

The update is written once in sympy. The Jacobian, the characteristic polynomial, the Jury
conditions, the thresholds and the edges of stability are derived from it. Sections 1 and 2 of
docs/theory.
"""

import functools

import sympy

from samflow.theory.symbols import beta, grad_norm, lam, lr, multiplier, rho, scaled_curvature

RULES = ("gd", "usam", "two-step-usam", "nested-usam", "hessian-usam")
"""The forms g(w + a) that are differentiable at a critical point, see `effective_curvature`."""

CUBIC = RULES[2:]
"""Those with a U of degree 3, whose sign is that of λ: none attracts where an eigenvalue is < 0."""

SCHEMES = ("none", "heavy_ball", "nesterov")
"""The schemes of momentum, in the convention of torch.optim.SGD."""

_w, _v = sympy.symbols("w v", real=True)


@functools.cache
def effective_curvature(rule: str) -> sympy.Expr:
    """Return U(λ), with d(w) = U(λ) w on the quadratic loss ½λw².

    ===============  =================================  ====================
    "gd"             g(w)                               λ
    "usam"           g(w + ρg(w))                       λ(1 + ρλ)
    "two-step-usam"  g(v + ρg(v)), v = w + ρg(w)        λ(1 + ρλ)²
    "nested-usam"    g(w + ρg(w + ρg(w)))               λ(1 + ρλ + ρ²λ²)
    "hessian-usam"   g(w + ρHg(w))                      λ(1 + ρλ²)
    ===============  =================================  ====================

    Raises:
        ValueError: for SAM, whose direction jumps at a critical point: it has no Jacobian, and so
            no effective curvature and no multipliers there. See `samflow.theory.normalised`.

    """
    _check_rule(rule)
    direction = lam * (_w + _ascents()[rule])
    return direction.diff(_w).factor()


def update_matrix(rule: str, scheme: str = "none") -> sympy.Matrix:
    """Return the Jacobian of the update at the critical point, in the state (w, v), or (w,).

    With d = U(λ) w: plain w⁺ = w − ηd; heavy ball v⁺ = βv + d, w⁺ = w − ηv⁺;
    Nesterov v⁺ = βv + d, w⁺ = w − η(d + βv⁺).
    """
    return _jacobian(effective_curvature(rule), scheme)


@functools.cache
def characteristic_polynomial(scheme: str = "none") -> sympy.Expr:
    """Return det(zI − A) in z, x = ηU and β; its roots are the multipliers.

    Plain z − (1 − x); heavy ball z² − (1 + β − x)z + β;
    Nesterov z² − (1 + β)(1 − x)z + β(1 − x).
    """
    matrix = _jacobian(scaled_curvature / lr, scheme)
    difference = multiplier * sympy.eye(matrix.rows) - matrix
    return sympy.collect(sympy.expand(difference.det()), multiplier)


@functools.cache
def multipliers(rule: str, scheme: str = "none") -> tuple[sympy.Expr, ...]:
    """Return the multipliers of the update: one, or with momentum two, for each λ."""
    roots = sympy.solve(characteristic_polynomial(scheme), multiplier)
    return tuple(root.subs(scaled_curvature, lr * effective_curvature(rule)) for root in roots)


def flow_eigenvalue(rule: str) -> sympy.Expr:
    """Return −U(λ), the eigenvalue of the flow ẇ = −d(w)."""
    return -effective_curvature(rule)


def escape_rate(rule: str) -> sympy.Expr:
    """Return log|1 − ηU(λ)|, the growth rate per step of the plain map; positive means escape."""
    (root,) = multipliers(rule)
    return sympy.log(sympy.Abs(root))


@functools.cache
def jury(scheme: str = "none") -> tuple[sympy.Expr, sympy.Expr, sympy.Expr]:
    """Return p(1), p(−1) and 1 − D in x = ηU and β: all multipliers are inside iff all are > 0.

    p(z) = z² − Tz + D is the characteristic polynomial; without momentum it gets the root 0.
    Jury's criterion needs no root of p.
    """
    missing_root = multiplier if scheme == "none" else 1
    polynomial = characteristic_polynomial(scheme) * missing_root
    at_plus, at_minus, determinant = (
        sympy.expand(polynomial.subs(multiplier, z)) for z in (1, -1, 0)
    )
    return at_plus, at_minus, 1 - determinant


@functools.cache
def flip_threshold(scheme: str = "none") -> sympy.Expr:
    """Return κ(β), the value of x = ηU at which a multiplier is −1.

    2 without momentum, 2(1 + β) for heavy ball, (2 + 2β)/(1 + 2β) for Nesterov. For 0 ≤ β < 1 the
    critical point attracts along this eigenvector iff 0 < ηU < κ.
    """
    (threshold,) = sympy.solve(jury(scheme)[1], scaled_curvature)
    return threshold.factor()


def edge(rule: str, scheme: str = "none") -> sympy.Expr:
    """Return the edge of stability: the λ > 0 at which a multiplier passes −1, ηU(λ) = κ.

    GD: κ/η. USAM: (√(1 + 4κρ/η) − 1)/(2ρ). A U of degree 3: Cardano's root. "sam": that of USAM
    with ρ/‖g‖ for ρ. This assumes that the gradient points along the eigenvector of λ. It is an
    edge along an orbit, not at a critical point (Long and Bartlett 2024, with κ = 2).
    """
    if rule == "sam":
        return edge("usam", scheme).subs(rho, rho / grad_norm)
    if rule in CUBIC:
        return _cubic_edge(effective_curvature(rule), flip_threshold(scheme) / lr)
    level = sympy.Symbol("level", positive=True)
    # U(λ) is convex with U(0) = 0: it takes a positive level once at a λ > 0, and maybe at λ < 0.
    roots = sympy.solve(effective_curvature(rule) - level, lam)
    (root,) = (root for root in roots if not root.is_negative)
    return root.subs(level, flip_threshold(scheme) / lr)


def _ascents() -> dict[str, sympy.Expr]:
    """Return the ascents a of d(w) = g(w + a) on ½λw²."""
    gradient = lam * _w
    first = rho * gradient
    second = rho * gradient.subs(_w, _w + first)
    return {
        "gd": sympy.Integer(0),
        "usam": first,
        "two-step-usam": first + second,
        "nested-usam": second,
        "hessian-usam": rho * lam * gradient,
    }


def _cubic_edge(curvature: sympy.Expr, level: sympy.Expr) -> sympy.Expr:
    """Return the one real root of U = level > 0, for aλ³ + bλ² + λ with a, b ≥ 0, increasing."""
    a, b, c, _ = sympy.Poly(curvature, lam).all_coeffs()
    # With λ = t − b/3a: t³ + pt + q = 0, −q > 0 in all three, and only one real root.
    p = sympy.simplify((3 * a * c - b**2) / (3 * a**2))
    q = sympy.simplify((2 * b**3 - 9 * a * b * c) / (27 * a**3)) - level / a
    u = sympy.cbrt(sympy.sqrt(q**2 / 4 + p**3 / 27) - q / 2)
    return u - p / (3 * u) - b / (3 * a)


def _jacobian(curvature: sympy.Expr, scheme: str) -> sympy.Matrix:
    d = curvature * _w
    velocity = beta * _v + d
    if scheme == "none":
        return sympy.Matrix([_w - lr * d]).jacobian([_w])
    if scheme == "heavy_ball":
        return sympy.Matrix([_w - lr * velocity, velocity]).jacobian([_w, _v])
    if scheme == "nesterov":
        return sympy.Matrix([_w - lr * (d + beta * velocity), velocity]).jacobian([_w, _v])
    raise ValueError(f"Unknown scheme of momentum `{scheme}`. Known: {', '.join(SCHEMES)}.")


def _check_rule(rule: str) -> None:
    if rule == "sam":
        raise ValueError(
            "Rule `sam` is not differentiable at a critical point, so it has no multipliers "
            "there. Use samflow.theory.normalised, or rule `usam`."
        )
    if rule not in RULES:
        raise ValueError(f"Unknown rule `{rule}`. Known: {', '.join(RULES)}.")
