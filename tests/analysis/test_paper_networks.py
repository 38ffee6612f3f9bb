"""The studies of papers about trained networks decide both ways, and leave open what is open."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import samflow as sf
from analysis.claims import Verdict
from analysis.papers import dpsat, multistep, robust_measures, robust_networks
from analysis.papers.digits import Ends
from analysis.papers.multistep import RHO, Arm
from analysis.papers.robust_measures import kendall, kendall_along
from analysis.papers.robust_networks import Networks, Settings
from samflow import networks

HOLDS, FAILS, DISAGREES = Verdict.holds, Verdict.fails, Verdict.disagrees
SPREAD = np.linspace(-1e-3, 1e-3, 5)


def of_arms(sharpness, error, *, spread=1.0):
    """Make the record of three ascent steps whose arms end as two functions of the arm say."""
    ends = {
        arm: Ends(error(arm) + i * spread * SPREAD, SPREAD, sharpness(arm) * (1 + i * SPREAD))
        for i, arm in enumerate(multistep.arms((3,)))
    }
    return multistep.Record((3,), ends)


@pytest.mark.parametrize(
    ("sharpness", "error", "verdicts"),
    [  # flatter; no gain, twice; apart, twice; only the length
        (lambda a: 1 / (1 + a.length), lambda a: 0.1, [HOLDS] * 3 + [DISAGREES, HOLDS, HOLDS]),
        (lambda a: 1 / (1 + a.length * a.num_steps), lambda a: 0.1, [HOLDS] * 5 + [FAILS]),
        (
            lambda a: 1 + 1e-3 * a.length,
            lambda a: 0.1 / a.num_steps,
            [FAILS, DISAGREES, DISAGREES, DISAGREES, DISAGREES, FAILS],
        ),
    ],
)
def test_length_and_number_of_ascent_steps_are_told_apart(sharpness, error, verdicts):
    assert [c.verdict for c in multistep.judge(of_arms(sharpness, error))] == verdicts


def test_arms_keep_one_of_the_two_lengths():
    assert multistep.arms((3,))[2:] == [Arm(1, 3 * RHO), Arm(3, RHO), Arm(3, 3 * RHO)]


def test_a_seed_that_is_lost_decides_nothing():
    record = of_arms(lambda a: 1 / (1 + a.length), lambda a: float("nan"))
    found = [c.verdict for c in multistep.judge(record)]
    assert found[1:3] == [Verdict.undecided] * 2


def nets(sharper, worse, more_clipped):
    """Make DP-SAT's ends from DP-SGD's by what is added to each quantity."""
    plain = Ends(0.1 + SPREAD, 0.1 + SPREAD, 1 + SPREAD)
    ends, clipped = {0.0: plain}, {0.0: 0.1 + SPREAD}
    for i, rho in enumerate(dpsat.RHOS, 1):
        ends[rho] = Ends(plain.error + worse + i * SPREAD, plain.loss, np.exp(sharper + i * SPREAD))
        clipped[rho] = clipped[0.0] + more_clipped + i * SPREAD
    return dpsat.Nets(ends, clipped)


@pytest.mark.parametrize(("change", "verdict"), [(-0.1, HOLDS), (0.1, DISAGREES)])
def test_dpsat_is_set_beside_dpsgd_both_ways(change, verdict):
    found = dpsat._ends(nets(change, change, change), dpsat.RHOS[0])
    assert [claim.verdict for claim in found] == [verdict] * 3
    even = dpsat._ends(nets(0.0, 0.0, 0.0), dpsat.RHOS[0])
    assert [claim.verdict for claim in even] == [Verdict.undecided] * 3


def test_a_saddle_is_left_more_slowly_only_if_the_times_say_so():
    above = dpsat._above_one
    slow, fast, lost = dpsat.Mean(1.2, 0.01), dpsat.Mean(1.0, 0.01), dpsat.Mean(np.nan, np.nan)
    assert (above(slow, fast), above(fast, slow)) == (True, False)
    assert above(slow, slow) is above(lost, fast) is None


def test_theory_without_an_ascent_is_sgd():
    for lam in (-1.0, 1.0):
        assert dpsat.response(lam, 0.0) == 0
        expected = dpsat.LR / 2 / lam * (1 - np.exp(-2 * lam))
        assert dpsat.formula(lam, 0.0, 1.0) == pytest.approx(expected, rel=1e-12)
    assert dpsat.predicted_exit(0.5) > dpsat.predicted_exit(0.0)


def test_tau_is_scipys_and_its_interval_can_decide():
    generator = np.random.default_rng(0)
    x, alone = generator.normal(size=40), np.arange(40)
    y = (x + generator.normal(size=40)).round(1)  # with ties
    found = kendall(x, y, alone)
    assert found.value == pytest.approx(scipy.stats.kendalltau(x, y)[0], rel=1e-12)
    assert found.low < found.value < found.high
    assert kendall(x, x**3, alone)[0] == pytest.approx(1)
    assert [kendall(x, v, alone).sign for v in (y, -y)] == ["positive", "negative"]
    assert kendall(x, generator.normal(size=40), alone).sign == "undecided"
    assert kendall(x, np.full(40, 1.0), alone).sign == "not finite"


def test_networks_of_one_setting_are_drawn_together():
    """Twice the same network is no more evidence; as independent ones the interval is narrower."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=20)
    y = x + generator.normal(size=20)
    twice = np.concatenate([x, x]), np.concatenate([y, y])
    together = kendall(*twice, np.tile(np.arange(20), 2))
    apart = kendall(*twice, np.arange(40))
    width = lambda tau: tau.high - tau.low  # noqa: E731
    assert width(apart) < 0.85 * width(together)  # 1/√2, and what resampling adds
    assert width(together) == pytest.approx(width(kendall(x, y, np.arange(20))), rel=0.2)


def planted(sign, index):
    """Make a measure that rises with the radius and with weight decay, and a gap that need not.

    The index is that measure for networks without attack, and `index` times it for the others.
    """
    rows = Settings(num_seeds=2).rows()
    _, rho, decay, attack, seed = rows.T
    noise = 1e-3 * np.random.default_rng(0).normal(size=len(rows))
    gap = 0.2 + 0.1 * rho - sign * 40 * decay + noise
    plain = rho + 400 * decay + 1e-3 * seed
    measures = {name: plain for name in robust_networks.MEASURES}
    measures["index"] = np.where(attack > 0, index, 1) * plain
    return robust_measures.ranked(Networks(rows, measures, 0 * gap, gap))


def test_a_sign_that_two_causes_turn_is_told_by_cause(monkeypatch):
    monkeypatch.setattr(robust_measures, "NUM_RESAMPLES", 200)
    record = planted(1, 1)
    assert record.whole["index"].sign == "negative"  # that of the larger cause
    group = "trained under attack"
    assert record.along[group, "λ_max", "rho"].sign == "positive"
    assert record.along[group, "λ_max", "weight decay"].sign == "negative"
    # random numbers, the index, and whether settings matter: all measures have the same sign
    assert [c.verdict for c in robust_measures.judge(record)] == [HOLDS, DISAGREES, DISAGREES]
    found = [c.verdict for c in robust_measures.judge(planted(-1, 1))]
    assert found == [HOLDS, HOLDS, DISAGREES]
    turned = planted(-1, -1)
    assert [c.verdict for c in robust_measures.judge(turned)] == [HOLDS, DISAGREES, HOLDS]
    # Opposite signs in two groups of one size cancel over all networks.
    assert turned.whole["index"].sign == "undecided"
    text = f"of the index over all {len(turned.found.gap)} networks {turned.whole['index']}"
    assert text in robust_measures.judge(turned)[1].statement


def test_pairs_along_an_axis_differ_in_nothing_else():
    """Of x = (seed, rho) the cells of one seed hold pairs that differ in rho alone."""
    rows = np.array([[s, r] for s in (0.0, 1.0) for r in (0.0, 1.0, 2.0)])
    x = rows[:, 1] + 10 * rows[:, 0]
    y = rows[:, 1] - 10 * rows[:, 0]  # over all pairs τ is negative
    assert kendall_along(x, y, rows, 1) == (1.0, 1.0, 1.0)
    assert kendall_along(x, y, rows, 0).value == -1


def test_the_index_of_a_linear_layer_is_its_closed_form():
    """½(Wx)² over x: tr H_W = mean |x|² for each of the outputs, 2 here."""
    model = eqx.nn.Linear(3, 2, use_bias=False, key=jr.key(0))
    x = np.random.default_rng(0).normal(size=(5, 3))
    loss = sf.losses.network(model, x, np.zeros((5, 2)), loss="squared")
    w = loss.flatten(model)
    expected = float(jnp.linalg.norm(w)) * np.sqrt(2 * np.mean((x**2).sum(axis=1)))
    assert robust_networks._measured("clean index", loss, w) == pytest.approx(expected, rel=1e-10)


def test_networks_trained_side_by_side_are_those_of_a_loop(monkeypatch):
    """SAM under attack with momentum and weight decay; single precision rounds to 1e-7."""
    for name, value in {"NUM_STEPS": 2, "NUM_TRAIN": 20, "BATCH_SIZE": 4}.items():
        monkeypatch.setattr(robust_networks, name, value)
    x, y = networks.load_digits(20)
    model = networks.perceptron(jr.key(0), hidden=4)
    loss = sf.losses.network(model, x, y, loss="cross_entropy", dtype="float32")
    w = loss.flatten(model)
    step = sf.Map(loss, sf.SAM(rho=0.3), lr=0.3, momentum=0.9, weight_decay=0.5)  # pyright: ignore
    fgsm = networks.PGD(0.3, num_steps=1, step_size=0.3)  # pyright: ignore
    lr, rho, decay, epsilon = 0.1, 0.05, 1e-3, 0.1
    hyper = jnp.array([[lr, rho, decay, epsilon], [lr, 0.0, decay, 0.0]])
    found = robust_networks._trained(step, fgsm, hyper, jnp.stack([w, w]))
    attack = networks.PGD(epsilon, num_steps=1, step_size=1.25 * epsilon)  # pyright: ignore
    gradient = eqx.filter_jit(lambda loss, w: loss.gradient(w))
    z, v = w, 0.0 * w
    for k in range(2):
        key = jr.fold_in(jr.key(1), k)
        batch = loss.batch(jr.randint(key, (4,), 0, 20))
        batch = batch.on(attack.perturb(batch, z, batch.x, key), batch.y, None)
        g = gradient(batch, z)
        v = 0.9 * v + gradient(batch, z + rho * g / jnp.linalg.norm(g)) + decay * z
        z = z - lr * v
    np.testing.assert_allclose(found[0], z, atol=2e-6)
    assert float(jnp.abs(found[1] - z).max()) > 1e-4
