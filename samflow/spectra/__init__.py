"""Spectra of Hessians and of updates, from products alone: ends, traces, density, multipliers."""

from samflow.spectra.alignment import AscentAlignment, ascent_alignment
from samflow.spectra.blocks import BlockSpectra, block_spectra
from samflow.spectra.curvature import Trace, trace
from samflow.spectra.density import Quantile, Share, SpectralDensity, spectral_density
from samflow.spectra.directions import measured_along
from samflow.spectra.elements import (
    FrobeniusNorm,
    HessianDiagonal,
    frobenius_norm,
    hessian_diagonal,
)
from samflow.spectra.layers import LayerTraces, layer_traces
from samflow.spectra.multipliers import Multipliers, update_multipliers
from samflow.spectra.preconditioned import preconditioned_eigenpairs, preconditioned_product
from samflow.spectra.spectrum import Eigenpairs, extreme_eigenpairs

__all__ = [
    "AscentAlignment",
    "BlockSpectra",
    "Eigenpairs",
    "FrobeniusNorm",
    "HessianDiagonal",
    "LayerTraces",
    "Multipliers",
    "Quantile",
    "Share",
    "SpectralDensity",
    "Trace",
    "ascent_alignment",
    "block_spectra",
    "extreme_eigenpairs",
    "frobenius_norm",
    "hessian_diagonal",
    "layer_traces",
    "measured_along",
    "preconditioned_eigenpairs",
    "preconditioned_product",
    "spectral_density",
    "trace",
    "update_multipliers",
]
