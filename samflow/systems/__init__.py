"""Systems: a loss and a rule made to move."""

from samflow.systems.adaptive_map import AdaptiveMap
from samflow.systems.angles import wrapped
from samflow.systems.base import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.bases import (
    BASES,
    AbstractBase,
    AbstractMoments,
    Adam,
    AdamW,
    Lion,
    RMSprop,
)
from samflow.systems.clipped_gradients import ClippedBatch
from samflow.systems.diffusion import (
    AbstractDiffusion,
    Diffusion,
    EulerMaruyama,
    FunctionDiffusion,
)
from samflow.systems.flow import Flow, FunctionFlow
from samflow.systems.gradient_noise import AbstractNoise, AdditiveNoise, MiniBatch
from samflow.systems.leaves import Leaf, find_leaf
from samflow.systems.map import FunctionMap, Map
from samflow.systems.stochastic_map import AbstractStochasticMap, StochasticMap

__all__ = [
    "BASES",
    "AbstractBase",
    "AbstractDiffusion",
    "AbstractFlow",
    "AbstractMap",
    "AbstractMoments",
    "AbstractNoise",
    "AbstractStochasticMap",
    "AbstractSystem",
    "Adam",
    "AdamW",
    "AdaptiveMap",
    "AdditiveNoise",
    "ClippedBatch",
    "Diffusion",
    "EulerMaruyama",
    "Flow",
    "FunctionDiffusion",
    "FunctionFlow",
    "FunctionMap",
    "Leaf",
    "Lion",
    "Map",
    "MiniBatch",
    "RMSprop",
    "StochasticMap",
    "find_leaf",
    "wrapped",
]
