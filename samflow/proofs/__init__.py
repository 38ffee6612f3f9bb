"""Proofs by ball arithmetic: all fixed points of a box, stability over ranges, sliding, traps."""

from samflow.proofs._certify import certify_fixed_points
from samflow.proofs.certificates import Certificate, CertifiedPoint
from samflow.proofs.claims import StabilityClaim, certify_stability
from samflow.proofs.sliding import SlidingProof, certify_sliding
from samflow.proofs.traps import TrapClaim, certify_trap

__all__ = [
    "Certificate",
    "CertifiedPoint",
    "SlidingProof",
    "StabilityClaim",
    "TrapClaim",
    "certify_fixed_points",
    "certify_sliding",
    "certify_stability",
    "certify_trap",
]
