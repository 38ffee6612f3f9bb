"""Adam, AdamW and RMSprop."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx

from samflow import _checks
from samflow._types import Scalar
from samflow.systems.bases.base import number
from samflow.systems.bases.moments import AbstractMoments


def _flag(name: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        _checks.instance(name, value, bool)
        return value

    return check


class Adam(AbstractMoments):
    """Adam: exponential means m of d and v of d², both with bias correction.

    w⁺ = w − lr m̂/(√(v̂ + eps_root) + eps), see `AbstractMoments`. That of torch.optim.Adam and
    optax.adam, which has `eps_root`. Weight decay of torch.optim.Adam is that of the map: it is
    a part of d.

    Attributes:
        beta1: in [0, 1).
        beta2: in [0, 1]; with 1, which needs `bias_correction=False`, v is frozen.
        eps: ≥ 0, outside of the root.
        eps_root: ≥ 0, inside of the root, where it has the unit of d².
        initial: the first v, ≥ 0, at every weight.
        bias_correction: whether means are divided by 1 − betaᵏ.

    Source: Kingma, Ba 2015, arXiv 1412.6980.

    """

    beta1: Scalar = eqx.field(default=0.9, converter=number("beta1", _checks.FRACTION))
    beta2: Scalar = eqx.field(default=0.999, converter=number("beta2", _checks.WEIGHT))
    eps: Scalar = eqx.field(default=1e-8, converter=number("eps", _checks.NONNEGATIVE))
    eps_root: Scalar = eqx.field(default=0.0, converter=number("eps_root", _checks.NONNEGATIVE))
    initial: Scalar = eqx.field(default=0.0, converter=number("initial", _checks.NONNEGATIVE))
    bias_correction: bool = eqx.field(static=True, default=True, converter=_flag("bias_correction"))
    weight_decay: ClassVar[None] = None
    name: ClassVar[str] = "adam"
    formula: ClassVar[str] = "w⁺ = w − lr m̂/(√(v̂ + eps_root) + eps)"
    source: ClassVar[str] = "Kingma, Ba 2015, arXiv 1412.6980"


class AdamW(AbstractMoments):
    """Adam with decoupled weight decay: w⁺ = (1 − lr weight_decay) w − lr m̂/(√(v̂ + …) + eps).

    That of torch.optim.AdamW and optax.adamw, whose defaults of `weight_decay` are 1e-2 and 1e-4.
    Other attributes as `Adam`. A critical point w ≠ 0 does not rest: there d is of the size of
    eps · weight_decay · w.

    Attributes:
        weight_decay: ≥ 0.

    Source: Loshchilov, Hutter 2019, arXiv 1711.05101, in the form of PyTorch, whose decay has the
    factor lr.

    """

    beta1: Scalar = eqx.field(default=0.9, converter=number("beta1", _checks.FRACTION))
    beta2: Scalar = eqx.field(default=0.999, converter=number("beta2", _checks.WEIGHT))
    eps: Scalar = eqx.field(default=1e-8, converter=number("eps", _checks.NONNEGATIVE))
    weight_decay: Scalar = eqx.field(
        default=1e-2, converter=number("weight_decay", _checks.NONNEGATIVE)
    )
    eps_root: Scalar = eqx.field(default=0.0, converter=number("eps_root", _checks.NONNEGATIVE))
    initial: Scalar = eqx.field(default=0.0, converter=number("initial", _checks.NONNEGATIVE))
    bias_correction: bool = eqx.field(static=True, default=True, converter=_flag("bias_correction"))
    name: ClassVar[str] = "adamw"
    formula: ClassVar[str] = "w⁺ = (1 − lr weight_decay) w − lr m̂/(√(v̂ + eps_root) + eps)"
    source: ClassVar[str] = "Loshchilov, Hutter 2019, arXiv 1711.05101"


class RMSprop(AbstractMoments):
    """RMSprop: w⁺ = w − lr d/(√(v̂ + eps_root) + eps), without a mean of d.

    That of torch.optim.RMSprop with its defaults. optax.rmsprop has by default the eps inside of
    the root, `RMSprop(beta2=0.9, eps=0, eps_root=1e-8)`.

    Attributes:
        beta2: the rate of v, in [0, 1]: `alpha` of torch, `decay` of optax.
        eps: ≥ 0, outside of the root.
        eps_root: ≥ 0, inside of the root.
        initial: the first v, ≥ 0: `initial_scale` of optax.
        bias_correction: whether v is divided by 1 − beta2ᵏ.

    Source: Tieleman, Hinton 2012, lecture 6.5 of "Neural networks for machine learning".

    """

    beta2: Scalar = eqx.field(default=0.99, converter=number("beta2", _checks.WEIGHT))
    eps: Scalar = eqx.field(default=1e-8, converter=number("eps", _checks.NONNEGATIVE))
    eps_root: Scalar = eqx.field(default=0.0, converter=number("eps_root", _checks.NONNEGATIVE))
    initial: Scalar = eqx.field(default=0.0, converter=number("initial", _checks.NONNEGATIVE))
    bias_correction: bool = eqx.field(
        static=True, default=False, converter=_flag("bias_correction")
    )
    beta1: ClassVar[None] = None
    weight_decay: ClassVar[None] = None
    name: ClassVar[str] = "rmsprop"
    formula: ClassVar[str] = "w⁺ = w − lr d/(√(v̂ + eps_root) + eps)"
    source: ClassVar[str] = "Tieleman, Hinton 2012"
