"""Stable and unstable curves of saddles: the separatrices of a portrait."""

from samflow.attractors.manifolds._manifolds import manifolds
from samflow.attractors.manifolds.records import Arm, End, Manifolds

__all__ = ["Arm", "End", "Manifolds", "manifolds"]
