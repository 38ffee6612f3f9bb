"""Diagnosis of a checkpoint: measure it, judge what each rule does there, and say so."""

from samflow.networks.diagnosis._diagnose import diagnose
from samflow.networks.diagnosis.measurements import Effort
from samflow.networks.diagnosis.preconditioned import Preconditioned
from samflow.networks.diagnosis.progress import Interrupted
from samflow.networks.diagnosis.records import DEFAULT_RULES, Nearness, RuleStability
from samflow.networks.diagnosis.report import Diagnosis

__all__ = [
    "DEFAULT_RULES",
    "Diagnosis",
    "Effort",
    "Interrupted",
    "Nearness",
    "Preconditioned",
    "RuleStability",
    "diagnose",
]
