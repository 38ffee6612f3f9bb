"""Training: known minima, the edge of stability, and how a run can end."""

import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import networks
from samflow._checks import ArgumentError
from samflow._status import Status
from samflow.spectra.spectrum import extreme_eigenpairs

QUADRATIC = "x**2/2 + 2*y**2"  # eigenvalues 1 and 4


@pytest.fixture(scope="module")
def small():
    return networks.digits_loss(jr.key(0), num_images=40, hidden=6)


def test_a_quadratic_is_brought_to_its_minimum():
    run = networks.train_to_minimum(
        sf.loss(QUADRATIC), [1.0, 1.0], lrs=(0.1,), num_steps=(1000,), tol=1e-10
    )
    assert run.status == Status.converged
    assert run.gradient_norm <= 1e-10
    np.testing.assert_allclose(run.w, 0.0, atol=1e-10)  # ‖w‖ ≤ ‖g‖/λmin
    np.testing.assert_allclose(run.sharpness.values, [4.0])
    # ‖g‖ = 0.9ᵏ once y is gone; the test comes every 50 steps.
    exact = np.log(1e-10) / np.log(0.9)
    assert exact <= run.num_steps[0] <= exact + 51


def test_the_second_lr_starts_where_the_first_ended():
    loss = sf.loss(QUADRATIC)
    run = networks.train_to_minimum(loss, [1.0, 1.0], lrs=(0.1, 0.05), num_steps=(10, 20), tol=1e-9)
    assert (run.status, run.num_steps) == (Status.out_of_steps, (10, 20))
    expected = [0.9**10 * 0.95**20, 0.6**10 * 0.8**20]
    np.testing.assert_allclose(run.w, expected, rtol=1e-13)
    assert float(run.loss) == pytest.approx(float(loss(run.w)), rel=1e-14)


def test_above_the_edge_of_stability_the_run_diverges_and_says_so():
    run = networks.train_to_minimum(
        sf.loss(QUADRATIC), [1.0, 1.0], lrs=(0.6, 0.1), num_steps=(1000, 1000)
    )
    assert run.status == Status.diverged
    assert run.num_steps[1] == 0


def test_a_minimum_is_left_alone():
    run = networks.train_to_minimum(sf.losses.beale(), [3.0, 0.5])
    assert (run.status, run.num_steps) == (Status.converged, (0, 0))


def test_progress_is_told_every_thousand_steps():
    seen = []
    networks.train_to_minimum(
        sf.loss(QUADRATIC),
        [1.0, 1.0],
        lrs=(1e-4, 1e-4),
        num_steps=(1500, 100),
        progress=lambda *told: seen.append(told),
    )
    assert [told[:2] for told in seen] == [(1000, 1600), (1500, 1600), (1600, 1600)]
    assert seen[0][2] > seen[1][2] > seen[2][2] > 0


def test_a_network_reaches_the_edge_of_stability_then_settles(small):
    """At lr 0.1 the sharpness stops at 2/0.1 = 20; at lr 0.05 the edge, 40, is out of reach."""
    loss, w0 = small
    rough = networks.train_to_minimum(loss, w0, lrs=(0.1,), num_steps=(6000,), tol=1e-9)
    settled = networks.train_to_minimum(loss, rough.w, lrs=(0.05,), num_steps=(6000,), tol=2e-3)
    assert extreme_eigenpairs(loss, w0, which="largest").values[0] < 15
    # It hovers about the edge, some percent to either side, and the gradient does not settle.
    assert float(rough.sharpness.values[0]) == pytest.approx(20, rel=0.05)
    assert rough.gradient_norm > 0.01
    assert settled.status == Status.converged
    assert settled.gradient_norm <= 2e-3
    assert 0.05 * settled.sharpness.values[0] < 2


def test_the_record_turns_into_json(small):
    loss, w0 = small
    run = networks.train_to_minimum(loss, w0, num_steps=(5, 5))
    assert '"status": "out of steps"' in run.to_json()


def test_bad_input_fails_at_the_door():
    loss = sf.loss(QUADRATIC)
    with pytest.raises(ArgumentError, match="one entry per lr, 2, but has 1"):
        networks.train_to_minimum(loss, [1.0, 1.0], num_steps=(5,))
    with pytest.raises(ArgumentError, match="`lrs` must be finite and greater than 0"):
        networks.train_to_minimum(loss, [1.0, 1.0], lrs=(0.1, -0.1))
    with pytest.raises(ArgumentError, match=r"`w0` must have shape \(2,\)"):
        networks.train_to_minimum(loss, [1.0])
    with pytest.raises(ArgumentError, match="`num_steps` must be a whole number"):
        networks.train_to_minimum(loss, [1.0, 1.0], num_steps=(5.5, 5))
