"""Studies of papers on rules: their own formulas, and that a wrong number fails."""

import jax.numpy as jnp
import numpy as np
import pytest
import sympy

from analysis.claims import Verdict
from analysis.papers import decentralised, gcsam, lookahead
from samflow.rules import TensorSAM


def test_the_loss_of_the_workers_has_this_gradient_and_third_derivative():
    x, y = sympy.symbols("x y")
    (a, b), h = decentralised.CUBIC, decentralised.HESSIAN
    w = sympy.Matrix([x, y])
    loss = (w.T * sympy.Matrix(h) * w)[0] / 2 + a * x**3 / 6 + b * x * y**2 / 2
    at = {x: 0.3, y: -0.7}
    g = [float(sympy.diff(loss, s).subs(at)) for s in (x, y)]
    np.testing.assert_allclose(decentralised.gradient(np.array([0.3, -0.7])), g, rtol=1e-12)
    c = np.array([[0.4, 0.1], [0.1, 0.2]])
    hessian = sympy.hessian(loss, (x, y))
    half = [
        sum(c[i, j] * sympy.diff(hessian[i, j], s) for i in range(2) for j in range(2)) / 2
        for s in (x, y)
    ]
    np.testing.assert_allclose(decentralised.third(c), np.array(half, float), rtol=1e-12)


@pytest.fixture(scope="module")
def workers():
    rng = np.random.default_rng(0)
    spread, own = decentralised.covariances()
    shift = -np.linalg.solve(decentralised.HESSIAN, decentralised.third(spread + own))
    plain = -np.linalg.solve(decentralised.HESSIAN, decentralised.third(own))

    def rows(mean):
        return np.asarray(mean) + 1e-5 * rng.normal(size=(100, len(mean)))

    return decentralised.Record(
        rows([spread[0, 0], spread[0, 1], spread[1, 1]]),
        rows(decentralised.third(spread)),
        rows(shift),
        rows(shift),
        rows(plain),
    )


def test_workers_that_do_as_predicted_pass(workers):
    claims = {claim.name: claim.verdict for claim in decentralised.judge(workers)}
    against = {name for name, verdict in claims.items() if verdict is not Verdict.holds}
    assert against == {"large total batch: larger batches"}


@pytest.mark.parametrize(
    ("field", "name", "verdict"),
    [
        ("spread", "spread of the workers, xx", Verdict.fails),
        ("drift", "drift of the mean", Verdict.fails),
        ("mean", "stationary mean, x", Verdict.fails),
        ("average", "equivalence", Verdict.disagrees),
    ],
)
def test_workers_that_do_otherwise_do_not(workers, field, name, verdict):
    changed = workers._replace(**{field: 1.5 * getattr(workers, field)})
    claims = {claim.name: claim.verdict for claim in decentralised.judge(changed)}
    assert claims[name] is verdict


def test_centred_rows_are_those_of_the_rule():
    shapes = ((3, 4), (3,), (2, 3))
    g = jnp.asarray(np.random.default_rng(0).normal(size=21))
    rule = TensorSAM(0.1, tensors=shapes, centred=True)
    np.testing.assert_allclose(gcsam.centred(g, shapes), rule._centred(g), rtol=1e-14)


def test_the_paper_on_lookahead_is_decided_by_ranks():
    early, late = np.arange(100, 150), np.arange(200, 250)
    same = dict.fromkeys(lookahead.NAMES, early)
    record = lookahead.Record((1, 1), {}, {0.06: same | {"lookahead": late}}, {}, {})
    claims = {
        claim.name: claim.verdict
        for claim in (lookahead._paper(record, name, 0.06) for name in ("lookahead", "optimistic"))
    }
    assert list(claims.values()) == [Verdict.disagrees, Verdict.undecided]
    sooner = lookahead.Record((1, 1), {}, {0.06: same | {"sam": late}}, {}, {})
    assert lookahead._paper(sooner, "optimistic", 0.06).holds
    # Paths that did not escape decide nothing.
    lost = lookahead.Record((1, 1), {}, {}, {}, same | {"lookahead": np.full(50, np.nan)})
    assert lookahead._with_noise(lost, "lookahead").verdict is Verdict.undecided
