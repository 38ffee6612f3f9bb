"""Spectra of Hessians and of updates, from products alone: ends, traces, density, multipliers."""

from samflow.spectra.alignment import AscentAlignment, ascent_alignment
from samflow.spectra.curvature import Trace, trace
from samflow.spectra.density import Quantile, Share, SpectralDensity, spectral_density
from samflow.spectra.directions import measured_along
from samflow.spectra.layers import LayerTraces, layer_traces
from samflow.spectra.multipliers import Multipliers, update_multipliers
from samflow.spectra.preconditioned import preconditioned_eigenpairs, preconditioned_product
from samflow.spectra.spectrum import Eigenpairs, extreme_eigenpairs

__all__ = [
    "AscentAlignment",
    "Eigenpairs",
    "LayerTraces",
    "Multipliers",
    "Quantile",
    "Share",
    "SpectralDensity",
    "Trace",
    "ascent_alignment",
    "extreme_eigenpairs",
    "layer_traces",
    "measured_along",
    "preconditioned_eigenpairs",
    "preconditioned_product",
    "spectral_density",
    "trace",
    "update_multipliers",
]
