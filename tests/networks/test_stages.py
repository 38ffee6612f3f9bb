"""A diagnosis in stages: each continues the products of the one before, and says how far it is."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import networks
from samflow.losses import network
from samflow.networks import Checkpoint, Effort, diagnose
from samflow.spectra.curvature import deflated_trace
from samflow.spectra.density import spectral_density
from samflow.spectra.directions import measured_along
from samflow.spectra.krylov import lanczos
from samflow.spectra.products import Remembered, watched
from samflow.spectra.spectrum import extreme_eigenpairs

SETTINGS: dict[str, Any] = {"rho": 0.05, "lr": 0.1}


@pytest.fixture(scope="module")
def checkpoint():
    """A perceptron of 256 weights: more than are diagonalised as a whole."""
    x = np.random.default_rng(0).normal(size=(20, 16))
    model = eqx.nn.MLP(16, 4, 12, 1, activation=jnp.tanh, key=jr.key(0))
    loss = network(model, x, np.arange(20) % 4, loss="cross_entropy")
    return Checkpoint(loss, jnp.linspace(-1, 1, loss.dim))


@pytest.fixture(scope="module")
def answers(checkpoint):
    """The record after each stage, and the last one."""
    found = []
    found.append(diagnose(checkpoint, **SETTINGS, effort=Effort(2), answer=found.append))
    return found


@pytest.fixture(scope="module")
def dense(checkpoint):
    return np.linalg.eigvalsh(np.asarray(checkpoint.loss.hessian(checkpoint.w)))


def test_stages_are_named_and_the_last_one_is_whole(answers):
    assert [each.stage for each in answers] == ["first answer", "ends", "whole"]
    assert [each.trace is None for each in answers] == [True, True, False]
    assert "This is the first answer" in str(answers[0])
    assert "first answer" not in str(answers[-1])
    assert answers[0].to_dict()["stage"] == "first answer"


def test_the_first_answer_has_both_ends_to_5_percent(answers, dense):
    pairs = answers[0].pairs
    assert (np.asarray(pairs.status) == sf.Status.located).all()
    np.testing.assert_allclose(pairs.values, dense[[0, -1]], rtol=0.05)
    assert pairs.num_products <= 60


def test_stages_are_nested(answers, dense):
    first, final = answers[0].pairs, answers[-1].pairs
    assert first.num_products < final.num_products
    assert (np.asarray(final.residuals)[[0, -1]] <= np.asarray(first.residuals)).all()
    for each in answers:
        # H has an eigenvalue within the residual of each value; rounding of the dense solver.
        gaps = np.abs(np.asarray(each.pairs.values)[:, None] - dense).min(axis=1)
        assert (gaps <= np.asarray(each.pairs.residuals) + 1e-12).all()
    # Ritz values at the ends move outwards only.
    assert final.values[0] <= first.values[0] < first.values[-1] <= final.values[-1] + 1e-12


def test_the_first_answer_costs_the_last_one_nothing(answers, checkpoint):
    alone = extreme_eigenpairs(checkpoint.loss, checkpoint.w, k=2)
    final = answers[-1].pairs
    assert final.num_products == alone.num_products
    np.testing.assert_allclose(final.values, alone.values, atol=1e-12)  # another program's rounding


def test_rules_share_products(checkpoint, answers):
    """3 rules along m directions: m products at w, and m at each of two ascent points."""
    loss, made = checkpoint.loss, []
    held, vectors = Remembered(loss), np.asarray(answers[-1].pairs.vectors)
    rules = (sf.GD(), sf.USAM(rho=0.05), sf.rules.PracticalSAM(rho=0.05))
    with watched(lambda: made.append(1)):
        for rule in rules:
            measured_along(sf.Map(loss, rule, lr=0.1), checkpoint.w, vectors, remembered=held)
    assert len(made) == 3 * len(vectors)


def test_a_quick_one_ends_with_the_first_answer(checkpoint, answers):
    found = diagnose(checkpoint, **SETTINGS, effort=Effort(quick=True))
    assert (found.stage, found.trace) == ("first answer", None)
    np.testing.assert_array_equal(found.pairs.values, answers[0].pairs.values)


def test_an_interrupt_after_the_first_answer_keeps_it(checkpoint, answers):
    def stop(found):
        raise KeyboardInterrupt

    with pytest.raises(networks.Interrupted) as stopped:
        diagnose(checkpoint, **SETTINGS, answer=stop)
    assert stopped.value.found.stage == "first answer"
    np.testing.assert_array_equal(stopped.value.found.pairs.values, answers[0].pairs.values)
    assert "trace" in stopped.value.left


@pytest.fixture(scope="module")
def run():
    """A quadratic with known eigenvalues, and ten steps of Lanczos on it."""
    values = np.concatenate([[-2.0, 9.0, 30.0], np.linspace(0, 1, 37)])
    h = np.diag(values)
    generator = np.random.default_rng(1)
    made = list(
        lanczos(lambda v: h @ v, generator.normal(size=40), max_steps=40, generator=generator)
    )
    return sf.losses.Quadratic(values), h, made


def test_the_deflated_trace_covers_as_often_as_it_says(run):
    """Of 60 intervals of 95 %, 51 or fewer cover with a probability of 1 in 1000."""
    loss, h, made = run
    product = lambda v: h @ v  # noqa: E731
    found = [
        deflated_trace(loss, made[9], num_products=8, key=jr.key(i), product=product)
        for i in range(60)
    ]
    covered = [float(f.interval[0]) <= np.trace(h) <= float(f.interval[1]) for f in found]
    assert sum(covered) > 51
    # Ten times narrower than without the run, whose ends have 30² of ‖H‖_F² = 997.
    assert np.std([float(f.value) for f in found]) < 0.1 * np.sqrt(2 / 8 * np.sum(h**2))
    whole = deflated_trace(loss, made[-1], num_products=8, key=jr.key(0), product=product)
    assert (whole.method, whole.num_products) == ("exact", 0)
    assert float(whole.value) == pytest.approx(np.trace(h), rel=1e-12)


def test_a_run_that_is_there_is_the_first_probe_of_a_density(run):
    loss, h, made = run
    found = spectral_density(
        loss, jnp.zeros(40), key=jr.key(0), num_probes=40, num_steps=6, krylov=made[19]
    )
    assert found.num_products == 39 * 6
    np.testing.assert_allclose(found.nodes[0], made[5].ritz()[0], atol=1e-12)
    # As many orthonormal probes as weights: the mean of vᵀHv is exact.
    assert found.moment(1)[0] == pytest.approx(np.trace(h) / 40, rel=1e-10)
