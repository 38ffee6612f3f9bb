"""Decentralised SGD near a minimum: how far the workers are apart, and what that adds to the mean.

n workers hold weights x_i and mix them by a symmetric doubly stochastic matrix W. Proposition 25 of
docs/theory. Answers are sympy expressions, exact for exact input.
"""

from collections.abc import Sequence
from typing import Any

import sympy

from samflow.theory.symbols import real_number, sign


def consensus_covariance(
    eigenvalues: Sequence[Any],
    noise: Any,
    *,
    gossip: Sequence[Any],
    lr: Any,
    mix_last: bool = False,
) -> sympy.Matrix:
    """Return Ξ, the stationary mean over workers of (x_i − x̄)(x_i − x̄)ᵀ, on a quadratic.

    For x⁺ = Wx − η(Hx + ξ), ξ independent between workers and steps with covariance Σ each, in the
    eigenbasis of H: Ξᵢⱼ = (η²Σᵢⱼ/n) Σₖ 1/(1 − (ωₖ − ηλᵢ)(ωₖ − ηλⱼ)), over the eigenvalues of W but
    the 1 of the mean. With `mix_last`, x⁺ = W(x − η(Hx + ξ)): each term is
    ωₖ²/(1 − ωₖ²(1 − ηλᵢ)(1 − ηλⱼ)).

    Args:
        eigenvalues: λ, of H.
        noise: Σ in the eigenbasis of H, a matrix.
        gossip: ω, all n eigenvalues of W, one of which is 1.
        lr: η.
        mix_last: whether the gradient step is mixed, too.

    Raises:
        ValueError: where the workers' differences have no stationary covariance.

    """
    lams = [real_number("eigenvalues", value) for value in eigenvalues]
    step, sigma = real_number("lr", lr), sympy.Matrix(noise)
    modes = sorted(real_number("gossip", value) for value in gossip)[:-1]
    total = sympy.zeros(len(lams), len(lams))
    for omega in modes:
        factors = [omega * (1 - step * lam) if mix_last else omega - step * lam for lam in lams]
        if any(sign(1 - abs(factor)) <= 0 for factor in factors):
            raise ValueError(
                f"Argument `gossip` has the eigenvalue {omega}, along which the workers part: "
                "|ω − ηλ| must be below 1. Use a smaller `lr` or another W."
            )
        gain = omega**2 if mix_last else sympy.Integer(1)
        for i, a in enumerate(factors):
            for j, b in enumerate(factors):
                total[i, j] += gain * step**2 * sigma[i, j] / (1 - a * b)
    return total / len(gossip)


def mean_covariance(
    eigenvalues: Sequence[Any], noise: Any, *, num_workers: int, lr: Any
) -> sympy.Matrix:
    """Return the stationary covariance of the workers' mean: that of SGD with the noise Σ/n."""
    lams = [real_number("eigenvalues", value) for value in eigenvalues]
    step, sigma = real_number("lr", lr), sympy.Matrix(noise)

    def entry(i: int, j: int) -> sympy.Expr:
        a, b = (1 - step * lams[k] for k in (i, j))
        return step**2 * sigma[i, j] / num_workers / (1 - a * b)

    return sympy.Matrix(len(lams), len(lams), entry)


def ring_gossip(num_workers: int, *, share: Any) -> list[sympy.Expr]:
    """Return 1 − 2s(1 − cos 2πk/n): each worker takes the share s of either neighbour on a ring."""
    share = sympy.sympify(share)
    turns = (2 * sympy.pi * k / num_workers for k in range(num_workers))
    return [1 - 2 * share * (1 - sympy.cos(turn)) for turn in turns]
