"""Systems: a loss and a rule made to move."""

from samflow.systems.base import AbstractFlow, AbstractMap, AbstractSystem
from samflow.systems.flow import Flow, FunctionFlow
from samflow.systems.map import FunctionMap, Map

__all__ = [
    "AbstractFlow",
    "AbstractMap",
    "AbstractSystem",
    "Flow",
    "FunctionFlow",
    "FunctionMap",
    "Map",
]
