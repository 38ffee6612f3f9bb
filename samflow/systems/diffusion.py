"""Systems driven by Brownian motion: diffusion models of optimisers, and any Itô equation."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from samflow import _checks
from samflow._components import Components
from samflow._random import Words, normals
from samflow._types import Matrix, Point, Scalar, V, Vector
from samflow.losses.base import AbstractLoss
from samflow.rules.base import AbstractRule
from samflow.rules.description import describe_rule, shown
from samflow.systems import update_moments
from samflow.systems.base import AbstractWeightSystem, check_fixed
from samflow.systems.gradient_noise import AbstractNoise
from samflow.systems.map import in_layout, step_size
from samflow.systems.stochastic_map import AbstractStochasticMap

if TYPE_CHECKING:  # type checkers would take abstract variables for constructor arguments
    from typing import ClassVar as AbstractVar
else:
    from equinox import AbstractVar

MOMENTS = ("leading", "exact")


class AbstractDiffusion(AbstractWeightSystem):
    """A stochastic differential equation dX = b(X) dt + σ(X) dB, in the sense of Itô."""

    num_noises: AbstractVar[int]
    """How many Brownian motions drive the system."""

    @abc.abstractmethod
    def drift(self, z: V) -> V:
        """Return b(z), in the layout of `z`; NaN where it is not defined."""

    @abc.abstractmethod
    def diffusion(self, z: Vector) -> Any:
        """Return σ(z), shape (dim, num_noises); for `Components` a tuple of rows of arrays."""

    def generator(self, function: Callable[[Point], Scalar], z: Point) -> Scalar:
        """Return (Aφ)(z) = b·∇φ + ½ tr(σσᵀ∇²φ), the rate at which E φ(X) begins to change.

        `function` takes a point (dim,) and returns a scalar, twice differentiable by JAX.
        """
        factor = self.diffusion(z)
        curvature = jnp.sum(factor * (jax.hessian(function)(z) @ factor))
        return self.drift(z) @ jax.grad(function)(z) + curvature / 2


class Diffusion(AbstractDiffusion):
    """The diffusion model of an optimiser: dX = −E d_γ dt + √lr (Cov d_γ)^½ dB, t = lr · steps.

    d_γ is the rule's direction on the loss f_γ that a step draws. To first order in rho it is
    d_γ = g_γ + rho H_γ u_γ, with the ascent u_γ = g_γ for USAM, g_γ/‖g_γ‖ for SAM, g_γ/‖g‖ for
    DNSAM, g the gradient of the whole loss f. With moments="leading", the default,

    ======  =============================================  ==================================
    rule    drift                                          covariance / lr
    ======  =============================================  ==================================
    GD      −∇f                                            Σ = Cov g_γ
    USAM    −∇(f + (rho/2) E‖g_γ‖²)                        Cov(g_γ + rho H_γ g_γ)
    SAM     −∇(f + rho E‖g_γ‖)                             Cov(g_γ + rho H_γ g_γ/‖g_γ‖)
    DNSAM   −∇f − rho E[H_γ g_γ]/‖g‖                       Cov(g_γ + rho H_γ g_γ/‖g‖)
    ======  =============================================  ==================================

    and likewise for any rule with a `rho`, by its derivative at rho = 0. The covariance is
    Σ + rho (S + Sᵀ), the source's, plus the term in rho² that makes it positive semidefinite at
    every rho; `expanded_covariance` leaves it out. The drift of DNSAM is no gradient in general:
    it is −∇(f + rho‖∇f‖), as for the full batch, where Cov(H_γ, g_γ) has no effect, such as for
    additive noise. With moments="exact" mean and covariance are those of the update itself at the
    given rho, which needs no Hessians, and stays right where rho does not shrink with lr.

    Both have weak order 1 in lr: for φ smooth and t fixed E φ(w_k) − E φ(X(lr k)) = O(lr), the
    first where rho = O(√lr), the second at fixed rho as well. That order rests on the drift alone
    while Σ stays fixed: without the terms in rho it is ½; a wrong covariance costs accuracy, not
    order, unless Σ grows as 1/lr (docs/theory, section 8).

    Not covered: momentum and weight decay; gradients from two draws (`fresh`). Where SAM's
    ‖g_γ‖, or DNSAM's ‖g‖, is 0 the model is NaN, and near there it is no good approximation.

    >>> import samflow as sf
    >>> noise = sf.noise.isotropic_noise(2, sigma=0.1)
    >>> sf.Diffusion(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01, noise=noise).describe()
    'diffusion of usam(rho=0.05) on beale, lr=0.01; additive Gaussian noise, batch_size=1; leading'

    Attributes:
        loss: the whole loss.
        rule: its direction.
        lr: step size of the optimiser that is modelled, > 0; a function of time, the sum of the
            steps' lr, may also be 0. So may the numbers of the rule be functions of time.
        noise: how a step's loss is drawn, a `MiniBatch` or `AdditiveNoise`.
        moments: "leading" or "exact". Batches are enumerated for both. Additive noise with
            "leading" is exact for GD, USAM, DNSAM and SAM and refused for others; with "exact" it
            is integrated by Gauss-Hermite quadrature, for smooth rules of up to 3 weights.

    Raises:
        ArgumentError: for a rule with a memory, a noise that does not fit the loss, too many
            batches to enumerate, and moments that cannot be computed.

    Source: Compagnoni, Biggio, Orvieto, Proske, Kersting, Lucchi 2023 (arXiv 2301.08203) for
    "leading" up to the term in rho²; derived again in docs/theory.

    """

    loss: AbstractLoss
    rule: AbstractRule
    lr: Scalar = eqx.field(converter=step_size)
    noise: AbstractNoise
    moments: str = eqx.field(
        static=True, default="leading", converter=lambda v: _checks.known("moments", v, MOMENTS)
    )

    def __check_init__(self) -> None:
        _checks.instance("loss", self.loss, AbstractLoss, "Use `sf.loss` to make one.")
        _checks.instance("rule", self.rule, AbstractRule, "Use an instance, such as `sf.GD()`.")
        if self.rule.num_memories:
            raise _checks.ArgumentError(
                f"Argument `rule` of a diffusion must have no memory, but is {self.rule.name}. "
                "Use a `StochasticMap`."
            )
        _checks.instance("noise", self.noise, AbstractNoise, "Use `sf.noise.MiniBatch(1)`.")
        update_moments.check(self.loss, self.rule, self.noise, self.moments == "exact")

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.loss.dim

    @property
    def elementwise(self) -> bool:
        """No: it is made of matrices."""
        return False

    @property
    def num_noises(self) -> int:
        """The number of weights, or of different batches if that is less."""
        return update_moments.num_noises(self.loss, self.noise)

    def drift(self, z: Point) -> Point:
        """Return −E d_γ(z)."""
        return -self._moments(z).mean

    def diffusion(self, z: Point) -> Array:
        """Return √lr F, shape (dim, num_noises), with FFᵀ = Cov d_γ(z)."""
        return jnp.sqrt(self.lr) * self._moments(z).factor

    def expanded_covariance(self, z: Point) -> Matrix:
        """Return lr (Σ + rho (S + Sᵀ)), as the source has the covariance: perhaps indefinite.

        S = E[(g − g_γ)(E[H_γu_γ] − H_γu_γ)ᵀ].
        """
        return self.lr * update_moments.expanded_covariance(self.loss, self.rule, self.noise, z)

    def _moments(self, z: Point) -> update_moments.Moments:
        exact = self.moments == "exact"
        find = update_moments.exact_moments if exact else update_moments.leading_moments
        return find(self.loss, self.rule, self.noise, z)

    def singularity(self, z: Point) -> Scalar:
        """Return the least distance, over the draws, from where the rule is not smooth."""
        return update_moments.singularity(self.loss, self.rule, self.noise, z)

    def describe(self) -> str:
        """Say what the system is."""
        text = f"diffusion of {describe_rule(self.rule)} on {self.loss.name}, lr={shown(self.lr)}"
        return f"{text}; {self.noise.describe()}; {self.moments}"


class FunctionDiffusion(AbstractDiffusion):
    """The Itô equation dX = drift(X) dt + diffusion(X) dB, taken to be smooth everywhere.

    >>> import jax.numpy as jnp
    >>> well = FunctionDiffusion(lambda z: z - z**3, lambda z: jnp.eye(1) * 0.5, dim=1)
    >>> well.num_noises, float(well.generator(lambda z: z[0] ** 2, jnp.array([1.0])))
    (1, 0.25)

    Attributes:
        drift_function: takes z of shape (dim,) and returns b(z): an array or a sequence of numbers.
        diffusion_function: takes z and returns σ(z), shape (dim, k), for k Brownian motions.
        elementwise: a promise about both, as in `FunctionMap`: one array a coordinate, and `dim`
            rows of k, as in `lambda z: ((0.5, 0.0), (0.0, z[0]))`.

    Raises:
        ArgumentError: for a diffusion that is no matrix of `dim` rows.

    """

    drift_function: Callable[[Vector], Any]
    diffusion_function: Callable[[Vector], Any]
    dim: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    elementwise: bool = eqx.field(static=True)
    num_noises: int = eqx.field(static=True)

    def __init__(
        self,
        drift: Callable[[Vector], Any],
        diffusion: Callable[[Vector], Any],
        dim: int,
        name: str = "function",
        elementwise: bool = False,
    ) -> None:
        self.drift_function, self.diffusion_function = drift, diffusion
        self.dim, self.name, self.elementwise = _checks.count("dim", dim), name, elementwise
        found = eqx.filter_eval_shape(lambda z: jnp.asarray(diffusion(z)), jnp.zeros(dim)).shape
        if len(found) != 2 or found[0] != dim or not found[1]:
            raise _checks.ArgumentError(
                f"Argument `diffusion` must return a matrix of {dim} rows, one column per Brownian "
                f"motion, but returns shape {found}."
            )
        self.num_noises = found[1]

    def drift(self, z: V) -> V:
        """Return b(z), by the function given."""
        return in_layout(self.drift_function, z, self.elementwise)

    def diffusion(self, z: Vector) -> Any:
        """Return σ(z): an array (dim, k), or `dim` rows of k arrays for `Components`."""
        if not isinstance(z, Components):
            return jnp.asarray(self.diffusion_function(z), float)
        if not self.elementwise:
            raise TypeError("This function takes arrays of shape (dim,): it is not `elementwise`.")
        return tuple(tuple(row) for row in self.diffusion_function(z))

    def singularity(self, z: Vector) -> Scalar:
        """Return infinity."""
        return jnp.asarray(jnp.inf)

    def describe(self) -> str:
        """Say what the system is."""
        return f"diffusion {self.name}"


class EulerMaruyama(AbstractWeightSystem, AbstractStochasticMap):
    """The map z⁺ = z + dt b(z) + √dt σ(z) ξ, ξ ~ N(0, I): Euler and Maruyama's method as a system.

    Ensembles of solutions then run as those of any map with noise do. The method has strong order
    ½ in dt, 1 where σ is constant, and weak order 1 (Kloeden and Platen 1992, chapters 10, 14).

    Attributes:
        diffusion: the equation.
        dt: the step, > 0, in the equation's time.

    """

    diffusion: AbstractDiffusion
    dt: Scalar = eqx.field(converter=lambda v: _checks.positive_array("dt", v))

    def __check_init__(self) -> None:
        _checks.instance("diffusion", self.diffusion, AbstractDiffusion, "Use `sf.Diffusion`.")
        check_fixed(self.diffusion, "diffusion", "`integrate` follows them.")

    @property
    def dim(self) -> int:
        """Number of weights."""
        return self.diffusion.dim

    @property
    def elementwise(self) -> bool:
        """Whether the equation takes one array a coordinate."""
        return self.diffusion.elementwise

    @property
    def num_words(self) -> int:
        """The number of Brownian motions, made even."""
        return self.diffusion.num_noises + self.diffusion.num_noises % 2

    def step(self, z: V, words: Words) -> V:
        """Return the next state."""
        return self.move(z, normals(words)[: self.diffusion.num_noises])

    def move(self, z: V, noise: Any) -> V:
        """Return z + dt b(z) + √dt σ(z) noise, `noise` one number a Brownian motion."""
        factor, still = self.diffusion.diffusion(z), z + self.dt * self.diffusion.drift(z)
        if not isinstance(z, Components):
            return still + jnp.sqrt(self.dt) * factor @ noise
        pushes = (sum(a * b for a, b in zip(row, noise, strict=True)) for row in factor)
        return still + jnp.sqrt(self.dt) * Components(*pushes)

    def singularity(self, z: Vector) -> Scalar:
        """Return the equation's distance from where it is not smooth."""
        return self.diffusion.singularity(z)

    def describe(self) -> str:
        """Say what the system is."""
        return f"Euler-Maruyama, dt={float(self.dt):g}, of {self.diffusion.describe()}"
