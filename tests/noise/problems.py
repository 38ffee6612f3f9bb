"""Least-squares problems that a point fits exactly, and brute-force twins of their analyses."""

import itertools

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import samflow as sf


class Linear(eqx.Module):
    """The network f(x) = W x without a bias."""

    weight: jnp.ndarray

    def __call__(self, x):
        return self.weight @ x


def least_squares(rows):
    """Return L(w) = (1/n) Σ ½(aᵢ·w)², fitted by w = 0, as a network of one linear layer."""
    rows = np.asarray(rows, float)
    model = Linear(jnp.zeros((1, rows.shape[1])))
    return sf.losses.network(model, rows, np.zeros((len(rows), 1)), name="least squares")


def random_rows(seed, n=5, d=3, spread=0.5):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, d)) * np.exp(spread * generator.normal(size=(n, 1)))


def system(rows, rho=None, *, lr, batch_size=1, replacement=False, fresh=False, **momentum):
    """Return GD, or USAM where `rho` is given, on batches of least squares."""
    rule = sf.GD() if rho is None else sf.USAM(rho=rho)
    step = sf.Map(least_squares(rows), rule, lr=lr, **momentum)
    return sf.StochasticMap(step, sf.noise.MiniBatch(batch_size, replacement), fresh=fresh)


def every_batch(n, batch_size, replacement):
    """Return all batches, equally likely: sequences with replacement, sets without."""
    if replacement:
        return list(itertools.product(range(n), repeat=batch_size))
    return list(itertools.combinations(range(n), batch_size))


def brute_force(
    rows, rho, *, lr, batch_size, replacement, fresh=False, momentum=None, nesterov=False
):
    """Return the spectral radius of E[J ⊗ J] over all batches, from Kronecker products."""
    rows = np.asarray(rows, float)
    n, d = rows.shape
    hessians = [
        np.mean([np.outer(rows[i], rows[i]) for i in batch], axis=0)
        for batch in every_batch(n, batch_size, replacement)
    ]
    pairs = list(itertools.product(hessians, hessians)) if fresh else [(h, h) for h in hessians]
    identity = np.eye(d)
    total = 0.0
    for first, second in pairs:
        curvature = second @ (identity + rho * first)
        if momentum is None:
            jacobian = identity - lr * curvature
        else:
            weight, kept = (1 + momentum, momentum**2) if nesterov else (1, momentum)
            jacobian = np.block(
                [
                    [identity - lr * weight * curvature, -lr * kept * identity],
                    [curvature, momentum * identity],
                ]
            )
        total = total + np.kron(jacobian, jacobian) / len(pairs)
    return np.abs(np.linalg.eigvals(total)).max()
