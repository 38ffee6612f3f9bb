"""Equilibria: where a system stands still, what it is there, and proofs of both."""

from samflow.equilibria.certificates import Certificate, CertifiedPoint
from samflow.equilibria.certify import certify_fixed_points
from samflow.equilibria.claims import StabilityClaim, certify_stability
from samflow.equilibria.conditions import Conditions, conditions
from samflow.equilibria.fixed_points import FixedPoints, find_fixed_points
from samflow.equilibria.saddle_report import survey
from samflow.equilibria.spectrum import Eigenpairs, extreme_eigenpairs
from samflow.equilibria.stability import Stability, classify

__all__ = [
    "Certificate",
    "CertifiedPoint",
    "Conditions",
    "Eigenpairs",
    "FixedPoints",
    "Stability",
    "StabilityClaim",
    "certify_fixed_points",
    "certify_stability",
    "classify",
    "conditions",
    "extreme_eigenpairs",
    "find_fixed_points",
    "survey",
]
