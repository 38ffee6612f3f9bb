"""Conventions against their published formulas, each written out once more without samflow."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import samflow as sf
from samflow import networks
from samflow._checks import ArgumentError
from samflow.networks.conventions import CONVENTIONS, Convention, make_loss, make_map, make_rule
from samflow.rules import ASAM, FSAM, SAM, SSAM, MultiStepSAM, PracticalFSAM, PracticalSAM
from samflow.rules.practical import TensorSAM

RHO, LR, BETA, DECAY = 0.3, 0.1, 0.9, 0.02
IMAGES, HIDDEN = 12, 4
ROUNDING = 1e-12
"""Relative: sums over 310 weights and 12 images, three steps, each ascent divided by ‖g‖ ≈ 0.7.

Each operation is right to 1.1e-16; the two programs differ in the order of some thousand of them.
"""


@pytest.fixture(scope="module")
def digits():
    """A perceptron on a few digits: cross-entropy of classes, weights and biases named."""
    pytest.importorskip("sklearn")
    x, y = networks.load_digits(IMAGES)
    model = networks.perceptron(jr.key(0), hidden=HIDDEN)
    loss = sf.losses.network(model, x, y, loss="cross_entropy")
    return types.SimpleNamespace(loss=loss, w=loss.flatten(model), x=np.asarray(x), y=np.asarray(y))


def test_the_tensors_are_named_as_in_pytorch(digits):
    assert [name.split(".")[-1] for name in digits.loss.weight_names] == ["weight", "bias"] * 2


# Plain NumPy from here to `STEPS`: a network is a list of tensors [W₁, b₁, W₂, b₂].


def gradient_of(x, y, decay=0.0):
    """Return the gradient of mean cross-entropy with targets y, plus that of ½ decay ‖w‖²."""

    def gradient(tensors):
        w1, b1, w2, b2 = tensors
        hidden = np.tanh(x @ w1.T + b1)
        logits = hidden @ w2.T + b2
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        # The rows of y add up to 1.
        out = (share - y) / len(x)
        back = (out @ w2) * (1 - hidden**2)
        found = [back.T @ x, back.sum(axis=0), out.T @ hidden, out.sum(axis=0)]
        return [g + decay * t for g, t in zip(found, tensors, strict=True)]

    return gradient


def length(tensors):
    return np.sqrt(sum(np.sum(t**2) for t in tensors))


def plus(tensors, steps, factor=1.0):
    return [t + factor * s for t, s in zip(tensors, steps, strict=True)]


def smoothed(y, s, others):
    if others:  # s/(K − 1) to each of the others
        return np.where(y == 1, 1 - s, s / (y.shape[1] - 1))
    return (1 - s) * y + s / y.shape[1]


class Sgd:
    """Momentum as torch.optim.SGD and flax.optim.Momentum have it."""

    def __init__(self, momentum, decay, nesterov=False):
        self.momentum, self.decay, self.nesterov, self.v = momentum, decay, nesterov, None
        self.mean = None  # of gradients, F-SAM's

    def step(self, tensors, gradient):
        d = plus(gradient, tensors, self.decay)
        self.v = d if self.v is None else plus(d, self.v, self.momentum)
        return plus(tensors, plus(d, self.v, self.momentum) if self.nesterov else self.v, -LR)


def google(tensors, data, sgd, decay):
    """L2 in the loss, no eps, Nesterov."""
    gradient = gradient_of(data.x, data.y, decay)
    g = gradient(tensors)
    return sgd.step(tensors, gradient(plus(tensors, g, RHO / length(g))))


def davda54(tensors, data, sgd, decay, y=None):
    gradient = gradient_of(data.x, data.y if y is None else y)
    g = gradient(tensors)
    return sgd.step(tensors, gradient(plus(tensors, g, RHO / (length(g) + 1e-12))))


def late_sam(tensors, data, sgd, decay):
    """The same with 0.1 of each label shared by the nine others."""
    return davda54(tensors, data, sgd, decay, smoothed(data.y, 0.1, others=True))


def optax_sam(tensors, data, sgd, decay):
    gradient = gradient_of(data.x, data.y)
    g = gradient(tensors)
    return sgd.step(tensors, gradient(plus(tensors, g, RHO / length(g))))


def asam_davda54(tensors, data, sgd, decay):
    """w² g rho/(‖|w| g‖ + 1e-12)."""
    gradient = gradient_of(data.x, data.y)
    g = gradient(tensors)
    scale = RHO / (length([np.abs(t) * each for t, each in zip(tensors, g, strict=True)]) + 1e-12)
    climb = [t**2 * each * scale for t, each in zip(tensors, g, strict=True)]
    return sgd.step(tensors, gradient(plus(tensors, climb)))


def asam(tensors, data, sgd, decay):
    """T = |w| + 0.01 for weights, 1 for biases; T² g rho/(‖T g‖ + 1e-16); labels smoothed."""
    gradient = gradient_of(data.x, smoothed(data.y, 0.1, others=False))
    g = gradient(tensors)
    scales = [np.abs(t) + 0.01 if t.ndim == 2 else np.ones_like(t) for t in tensors]
    scaled = [t * each for t, each in zip(scales, g, strict=True)]
    climb = [t * each for t, each in zip(scales, scaled, strict=True)]
    return sgd.step(tensors, gradient(plus(tensors, climb, RHO / (length(scaled) + 1e-16))))


def gcsam(tensors, data, sgd, decay):
    """Names of matrices less their mean, divided by the norm of the raw gradient plus 1e-12."""
    gradient = gradient_of(data.x, data.y)
    g = gradient(tensors)
    centred = [t - t.mean(axis=1, keepdims=True) if t.ndim == 2 else t for t in g]
    return sgd.step(tensors, gradient(plus(tensors, centred, RHO / (length(g) + 1e-12))))


def ssam(tensors, data, sgd, decay):
    gradient = gradient_of(data.x, data.y)
    g = gradient(tensors)
    there = gradient(plus(tensors, g, RHO / length(g)))
    return sgd.step(tensors, [t * length(g) / length(there) for t in there])


def friendly(tensors, data, sgd, decay):
    """Along g less the old mean of gradients; the mean begins as the first gradient."""
    gradient = gradient_of(data.x, data.y)
    g = gradient(tensors)
    u = g if sgd.mean is None else plus(g, sgd.mean, -1.0)
    blend = None if sgd.mean is None else plus([0.6 * t for t in sgd.mean], g, 0.4)
    sgd.mean = g if blend is None else blend
    return sgd.step(tensors, gradient(plus(tensors, u, RHO / (length(u) + 1e-12))))


STEPS = {
    "google": google,
    "davda54": davda54,
    "optax": optax_sam,
    "late-sam": late_sam,
    "asam-davda54": asam_davda54,
    "asam": asam,
    "gcsam": gcsam,
    "ssam": ssam,
    "f-sam": friendly,
}


def published(name, digits, *, num_steps, momentum=0.0, decay=0.0):
    inside = name == "google"
    sgd = Sgd(momentum, 0.0 if inside else decay, nesterov=inside)
    tensors = [np.asarray(t) for t in digits.loss.split(digits.w)]
    for _ in range(num_steps):
        tensors = STEPS[name](tensors, digits, sgd, decay)
    return np.concatenate([np.ravel(t) for t in tensors])


def ours(like, loss, w, *, num_steps, momentum=0.0, decay=0.0, rho=RHO):
    system = make_map(like, loss, rho=rho, lr=LR, momentum=momentum, weight_decay=decay)
    z = system.lift(w)
    for _ in range(num_steps):
        z = system.step(z)
    return np.asarray(system.position(z))


def same(found, expected, start):
    """Compare how far the weights went, on the scale of the step."""
    moved = expected - np.asarray(start)
    scale = np.abs(moved).max()
    assert scale > 1e-3
    np.testing.assert_allclose(found - np.asarray(start), moved, rtol=0, atol=ROUNDING * scale)


def test_every_convention_has_its_formula_here_and_says_where_it_is_from():
    assert set(STEPS) == set(CONVENTIONS)
    assert all(each.source for each in CONVENTIONS.values())


@pytest.mark.parametrize("name", CONVENTIONS)
def test_one_step_is_the_published_formula(name, digits):
    expected = published(name, digits, num_steps=1)
    same(ours(name, digits.loss, digits.w, num_steps=1), expected, digits.w)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_three_steps_with_momentum_and_weight_decay_are_too(name, digits):
    settings = {"num_steps": 3, "momentum": BETA, "decay": DECAY}
    expected = published(name, digits, **settings)
    same(ours(name, digits.loss, digits.w, **settings), expected, digits.w)


def test_they_all_differ(digits):
    """But davda54 from optax, by eps alone: below rounding where ‖g‖ is of order 1."""
    paths = {
        name: ours(name, digits.loss, digits.w, num_steps=3, momentum=BETA, decay=DECAY)
        for name in CONVENTIONS
    }
    names = sorted(paths)
    near = {
        (a, b) for a in names for b in names if a < b and np.abs(paths[a] - paths[b]).max() < 1e-5
    }
    assert near == {("davda54", "optax")}


def optax_run(digits, *, opaque, num_ascents, num_steps):
    optax = pytest.importorskip("optax")
    outer = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(LR, momentum=BETA))
    climb = optax.chain(optax.contrib.normalize(), optax.sgd(RHO))
    sam = optax.contrib.sam(outer, climb, sync_period=num_ascents + 1, opaque_mode=opaque)
    gradient = jax.jit(lambda w: digits.loss.gradient(w))
    w, state = digits.w, sam.init(digits.w)
    for _ in range(num_steps if opaque else num_steps * (num_ascents + 1)):
        more = {"grad_fn": lambda w, _: gradient(w)} if opaque else {}
        updates, state = sam.update(gradient(w), state, w, **more)
        w = optax.apply_updates(w, updates)
    return np.asarray(w)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("num_ascents", [1, 2])
def test_optax_makes_the_same_steps(digits, opaque, num_ascents):
    theirs = optax_run(digits, opaque=opaque, num_ascents=num_ascents, num_steps=3)
    like = CONVENTIONS["optax"]._replace(num_steps=num_ascents)
    settings = {"num_steps": 3, "momentum": BETA, "decay": DECAY}
    same(ours(like, digits.loss, digits.w, **settings), theirs, digits.w)


def torch_run(digits, *, num_steps, adaptive):
    """SAM around torch.optim.SGD: climb, take the gradient, go back, let SGD make the step."""
    torch = pytest.importorskip("torch")
    split = [torch.tensor(np.asarray(t)).requires_grad_() for t in digits.loss.split(digits.w)]
    x, classes = torch.tensor(digits.x), torch.tensor(digits.y.argmax(axis=1))
    sgd = torch.optim.SGD(split, lr=LR, momentum=BETA, weight_decay=DECAY)

    def backward():
        sgd.zero_grad()
        hidden = torch.tanh(x @ split[0].T + split[1])
        torch.nn.functional.cross_entropy(hidden @ split[2].T + split[3], classes).backward()

    for _ in range(num_steps):
        backward()
        with torch.no_grad():
            before = [p.clone() for p in split]
            scales = [p.abs() if adaptive else torch.ones_like(p) for p in split]
            size = sum(((t * p.grad) ** 2).sum() for t, p in zip(scales, split, strict=True)).sqrt()
            for t, p in zip(scales, split, strict=True):
                p += t**2 * p.grad * RHO / (size + 1e-12)
        backward()
        with torch.no_grad():
            for p, old in zip(split, before, strict=True):
                p.copy_(old)
        sgd.step()
    return np.concatenate([p.detach().numpy().ravel() for p in split])


@pytest.mark.parametrize(("name", "adaptive"), [("davda54", False), ("asam-davda54", True)])
def test_around_pytorchs_sgd_the_steps_are_the_same(digits, name, adaptive):
    settings = {"num_steps": 3, "momentum": BETA, "decay": DECAY}
    theirs = torch_run(digits, num_steps=3, adaptive=adaptive)
    same(ours(name, digits.loss, digits.w, **settings), theirs, digits.w)


def test_weight_decay_in_the_loss_turns_the_ascent_by_the_predicted_amount(digits):
    """With decay μ in the loss, to first order in μ, P = I − ĝĝᵀ:

    d_loss − d_step = μ (rho ĝ + (rho/‖g‖) H(wᵖ) P w).
    """
    loss, w = digits.loss, digits.w
    g = loss.gradient(w)
    size = jnp.linalg.norm(g)
    unit = g / size
    across = w - unit * (unit @ w)
    predicted = RHO * (unit + loss.hvp(w + RHO * unit, across) / size)
    inside = CONVENTIONS["optax"]._replace(weight_decay="loss")
    errors = []
    for decay in (1e-3, 1e-4):
        steps = [ours(c, loss, w, num_steps=1, decay=decay) for c in (inside, "optax")]
        found = (steps[1] - steps[0]) / (LR * decay)
        errors.append(float(jnp.linalg.norm(found - predicted) / jnp.linalg.norm(predicted)))
    assert errors[0] < 0.02
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)  # the next order in μ


def test_eps_as_large_as_the_gradient_halves_the_ascent(digits):
    size = float(jnp.linalg.norm(digits.loss.gradient(digits.w)))
    for placement, part in (("outside", 0.5), ("inside", np.sqrt(0.5))):
        like = CONVENTIONS["davda54"]._replace(eps=size, placement=placement)
        found = ours(like, digits.loss, digits.w, num_steps=1)
        short = ours("optax", digits.loss, digits.w, num_steps=1, rho=part * RHO)
        same(found, short, digits.w)
        full = ours("davda54", digits.loss, digits.w, num_steps=1)
        assert np.abs(found - full).max() > 1e-4


def test_a_zero_gradient_stops_davda54_and_breaks_optax_and_google():
    saddle, w = sf.losses.saddle(), jnp.zeros(2)
    np.testing.assert_array_equal(ours("davda54", saddle, w, num_steps=1), 0)
    assert np.isnan(ours("optax", saddle, w, num_steps=1)).all()
    assert np.isnan(ours("google", saddle, w, num_steps=1)).all()


def test_transparent_optax_breaks_where_the_ascent_ends_on_a_critical_point_too():
    """It normalises the descent gradient as well and multiplies the NaN by 0; opaque does not."""
    optax = pytest.importorskip("optax")
    well, w0 = sf.losses.double_well(), jnp.array([0.5])
    climb = optax.chain(optax.contrib.normalize(), optax.sgd(0.5))
    assert float(well.gradient(jnp.array([0.0]))[0]) == 0  # w0 + rho g/‖g‖ = 0
    for opaque in (False, True):
        sam = optax.contrib.sam(optax.sgd(LR), climb, sync_period=2, opaque_mode=opaque)
        state, w = sam.init(w0), w0
        with jax.debug_nans(False):
            for _ in range(1 if opaque else 2):
                more = {"grad_fn": lambda w, _: well.gradient(w)} if opaque else {}
                updates, state = sam.update(well.gradient(w), state, w, **more)
                w = optax.apply_updates(w, updates)
        assert bool(np.isnan(w).all()) is not opaque
    assert ours("optax", well, w0, num_steps=1, rho=0.5) == 0.5  # g(wᵖ) = 0: no step


@pytest.fixture(scope="module")
def two_blocks():
    """L = ½(2a² + 0.5b²) with a and b tensors of their own."""
    roots = jnp.sqrt(jnp.array([2.0, 0.5]))

    def outputs(params, x):
        return x * (roots * jnp.concatenate([params["a"], params["b"]]))

    params = {"a": jnp.array([0.6]), "b": jnp.array([-1.5])}
    loss = sf.losses.network_function(outputs, params, np.ones((1, 1)), np.zeros((1, 2)))
    return loss, loss.flatten(params)


@pytest.mark.parametrize("eps", [0.0, 1e-12, 0.4])
def test_a_norm_a_tensor_is_a_sign_in_tensors_of_one_weight(two_blocks, eps):
    """With g = λw: each ascends by rho g/(|g| + eps), together by rho g/(‖g‖ + eps)."""
    loss, w = two_blocks
    eigenvalues, start = np.array([2.0, 0.5]), np.asarray(w)
    g = eigenvalues * start
    for scope, size in (("each", np.abs(g)), ("all", np.hypot(*g))):
        like = Convention(eps=eps, norm_scope=scope)
        expected = start - LR * eigenvalues * (start + RHO * g / (size + eps))
        found = ours(like, loss, w, num_steps=1)
        np.testing.assert_allclose(found, expected, rtol=1e-14)  # ten operations


def test_each_convention_is_made_of_the_simplest_rule(digits):
    loss = digits.loss

    def made(like, on=loss):
        return type(make_rule(like, on, rho=RHO))

    assert made("google") is made("optax") is SAM
    assert made("davda54") is made("late-sam") is PracticalSAM
    assert made("ssam") is SSAM
    assert made("f-sam") is PracticalFSAM
    assert made(Convention(ascent="fsam", eps=0.0, first_memory="blended")) is FSAM
    assert made(CONVENTIONS["optax"]._replace(num_steps=3)) is MultiStepSAM
    assert made(Convention(ascent="asam", eps=0.0)) is ASAM
    for name in ("asam", "asam-davda54", "gcsam"):
        assert made(name) is TensorSAM
    assert made("asam-davda54", sf.losses.beale()) is TensorSAM  # needs no tensors


def test_the_loss_takes_the_conventions_options(digits):
    late = make_loss("late-sam", digits.loss)
    # (1 − s) y + s/K with s = 0.1 K/(K − 1) leaves 0.9 to the class.
    assert late.options.label_smoothing == pytest.approx(1 / 9, rel=1e-15)
    assert make_loss("asam", digits.loss).options.label_smoothing == 0.1
    assert make_loss("google", digits.loss, weight_decay=DECAY).options.weight_decay == DECAY
    assert make_loss("google", late).options.label_smoothing == 0
    for name in ("davda54", "optax", "ssam"):
        assert make_loss(name, late, weight_decay=DECAY) is late
    part = make_loss("google", digits.loss.batch([0, 1]), weight_decay=DECAY)
    assert part.whole.options == part.options
    counted = make_loss("google", digits.loss, weight_decay=DECAY)
    assert make_loss("google", counted) is counted
    assert make_loss("google", counted, weight_decay=DECAY) is counted


def test_every_field_can_be_set_by_itself(digits):
    """And says something else than it did: each by another step, but for what a switch reads."""
    changes = [
        {"eps": 0.1},
        {"eps": 0.1, "placement": "inside"},
        {"norm_scope": "each"},
        {"ascent": "asam"},
        {"ascent": "asam", "shift": 0.1},
        {"ascent": "asam", "scaled": "weights"},
        {"ascent": "gcsam"},
        {"ascent": "ssam", "eps": 0.0},
        {"ascent": "fsam"},
        {"ascent": "fsam", "sigma": 0.5},
        {"ascent": "fsam", "decay": 0.9},
        {"ascent": "fsam", "first_memory": "blended"},
        {"num_steps": 2, "eps": 0.0},
        {"nesterov": True},
        {"weight_decay": "loss"},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.1, "smoothing_over": "others"},
        {},
    ]
    settings = {"num_steps": 3, "momentum": BETA, "decay": DECAY}
    paths = [ours(Convention(**c), digits.loss, digits.w, **settings) for c in changes]
    for i, path in enumerate(paths):
        for other in paths[:i]:
            assert np.abs(path - other).max() > 1e-6


def test_hyperparameters_are_leaves(digits):
    """One program for all rho, lr, eps and momenta, and for many at once."""
    loss, w = digits.loss, digits.w

    @jax.jit
    def run(rho, lr, eps):
        like = CONVENTIONS["davda54"]._replace(eps=eps)
        return make_map(like, loss, rho=rho, lr=lr, weight_decay=DECAY).step(w)

    for rho, lr, eps in ((RHO, LR, 1e-12), (0.1, 0.05, 0.3)):
        like = Convention(eps=eps)
        expected = make_map(like, loss, rho=rho, lr=lr, weight_decay=DECAY).step(w)
        np.testing.assert_allclose(run(rho, lr, eps), expected, rtol=1e-12)
    assert run._cache_size() == 1
    system = make_map("asam", loss, rho=RHO, lr=LR)
    rhos = jnp.array([0.1, RHO])
    many = jax.vmap(
        lambda rho: eqx.tree_at(lambda s: s.rule.rho, system, rho).step(w)
    )(rhos)  # fmt: skip
    np.testing.assert_allclose(many[1], system.step(w), rtol=1e-12)


def test_what_the_conventions_say_of_a_switch():
    kept = {name: c.momentum_at_switch for name, c in CONVENTIONS.items()}
    assert {name for name, how in kept.items() if how == "zero"} == {"late-sam"}


def squared(digits):
    return sf.losses.network(networks.perceptron(jr.key(0), hidden=2), digits.x, digits.y)


COMMON = Convention()


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ("davda", "Unknown convention `davda`. Did you mean davda54"),
        (COMMON._replace(ascent="sma"), "Unknown ascent `sma`. Did you mean sam"),
        (COMMON._replace(placement="insied"), "Unknown placement `insied`"),
        (COMMON._replace(norm_scope="layer"), "Unknown norm_scope `layer`"),
        (COMMON._replace(scaled="biases"), "Unknown scaled `biases`"),
        (COMMON._replace(weight_decay="optimiser"), "Unknown weight_decay `optimiser`"),
        (COMMON._replace(momentum_at_switch="drop"), "Unknown momentum_at_switch `drop`"),
        (COMMON._replace(batch_norm="running"), "Unknown batch_norm `running`"),
        (COMMON._replace(smoothing_over="none"), "Unknown smoothing_over `none`"),
        (COMMON._replace(label_smoothing=1.0), r"`label_smoothing` must be in \[0, 1\)"),
        (COMMON._replace(eps=-1.0), "`eps` must be finite and at least 0"),
        (COMMON._replace(shift=-1.0), "`shift` must be finite and at least 0"),
        (COMMON._replace(shift=0.1), '`shift` must be 0 unless ascent is "asam"'),
        (COMMON._replace(num_steps=0), "`num_steps` must be a whole number of at least 1"),
        (COMMON._replace(num_steps=2), "`eps` must be 0 for several ascent steps"),
        (COMMON._replace(ascent="ssam"), '`eps` must be 0 for ascent "ssam"'),
        (
            COMMON._replace(ascent="fsam", norm_scope="each"),
            '`norm_scope` must be "all" for ascent "fsam"',
        ),
        (COMMON._replace(ascent="fsam", eps=0.0), '`eps` must be above 0 for first_memory "grad'),
        (COMMON._replace(sigma=-1.0), "`sigma` must be finite and at least 0"),
        (COMMON._replace(decay=1.0), r"`decay` must be in \[0, 1\)"),
        (
            COMMON._replace(ascent="asam", num_steps=2),
            '`num_steps` must be 1 unless ascent is "sam"',
        ),
        (
            COMMON._replace(ascent="ssam", eps=0.0, norm_scope="each"),
            '`norm_scope` must be "all" for ascent "ssam"',
        ),
        (COMMON._replace(nesterov=1), "`nesterov` must be a bool"),
        (3, "`convention` must be a Convention, but is int"),
    ],
)
def test_bad_conventions_are_refused(digits, like, words):
    with pytest.raises(ArgumentError, match=words):
        make_map(like, digits.loss, rho=RHO, lr=LR)


def test_losses_that_do_not_admit_a_convention_are_refused(digits):
    def refused(like, loss, words, **settings):
        with pytest.raises(ArgumentError, match=words):
            make_map(like, loss, rho=RHO, lr=LR, **settings)

    refused("gcsam", sf.losses.beale(), "`loss` must be of a network")
    refused("google", sf.losses.beale(), "`loss` must be of a network", weight_decay=DECAY)
    refused("google", "beale", "`loss` must be a Loss")
    refused(
        "late-sam", squared(digits), "`label_smoothing` must be 0 unless the loss is cross_entropy"
    )
    counted = make_loss("google", digits.loss, weight_decay=DECAY)
    refused("davda54", counted, "`loss` must not include weight decay")
    refused("google", counted, "must be that of the loss, 0.02", weight_decay=0.1)
    refused("google", digits.loss, "`weight_decay` must be finite", weight_decay=-1.0)
    refused("davda54", digits.loss, "`weight_decay` must be finite", weight_decay=-1.0)
    kernels = sf.losses.network_function(
        lambda p, x: x @ p["kernel"], {"kernel": jnp.ones((64, 10))}, digits.x, digits.y
    )
    some = Convention(ascent="asam", scaled="weights")
    refused(some, kernels, "with `weight` in their name .* but has kernel")
    normed = sf.losses.network(
        networks.perceptron(jr.key(0), hidden=2), digits.x, digits.y, loss="cross_entropy",
        batch_norm="eval",
    )  # fmt: skip
    refused("late-sam", normed, "batch_norm='train'")
    assert make_map("davda54", normed, rho=RHO, lr=LR).loss is normed
    traced = jax.jit(lambda decay: make_loss("google", digits.loss, weight_decay=decay).dim)
    with pytest.raises(ArgumentError, match="plain number if it is part of the loss"):
        traced(DECAY)
