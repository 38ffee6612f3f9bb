"""Base optimisers with moments: Adam, AdamW, RMSprop, Lion.

A rule makes the direction d of a step, a base the step from d. What a base remembers is a part of
the state of an `AdaptiveMap`: moments as long as w, then the powers betaᵏ of its bias correction.
"""

from samflow.systems.bases.adam import Adam, AdamW, RMSprop
from samflow.systems.bases.base import AbstractBase
from samflow.systems.bases.lion import Lion
from samflow.systems.bases.moments import AbstractMoments

BASES: dict[str, type[AbstractBase]] = {base.name: base for base in (Adam, AdamW, RMSprop, Lion)}
"""The bases by name."""

__all__ = ["BASES", "AbstractBase", "AbstractMoments", "Adam", "AdamW", "Lion", "RMSprop"]
