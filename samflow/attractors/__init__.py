"""Lyapunov exponents of maps and flows."""

from samflow.attractors.lyapunov import Lyapunov, kaplan_yorke, lyapunov_spectrum

__all__ = ["Lyapunov", "kaplan_yorke", "lyapunov_spectrum"]
