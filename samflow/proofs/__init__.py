"""Proofs by ball arithmetic: all fixed points of a box, and stability over ranges."""

from samflow.proofs._certify import certify_fixed_points
from samflow.proofs.certificates import Certificate, CertifiedPoint
from samflow.proofs.claims import StabilityClaim, certify_stability

__all__ = [
    "Certificate",
    "CertifiedPoint",
    "StabilityClaim",
    "certify_fixed_points",
    "certify_stability",
]
