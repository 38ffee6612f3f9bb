"""Whether and when an orbit has settled after its escape, and the rate at which it did."""

import numpy as np

from samflow._status import Status
from samflow.switching.rates import Rate, fit_rate

_SETTLED = 1e-4
"""The orbit has settled when ‖Δ²w‖ has fallen to this part of its peak and stays there for
`_STAYS` steps. Later a network's drift along the valley dominates; its sharpness grows again."""
_STAYS = 20
LEAST_TAIL = 30
"""Steps after the peak in which the decay is looked for, where it settles sooner than that."""
_DIVERGED = 1e6


def settle(losses: np.ndarray, bends: np.ndarray, typical: float) -> tuple[Status, int]:
    """Return how the orbit ended, and the first step after the burst at which it is still.

    `typical` is what the loss is above its least where the Hessian has changed: an orbit that
    ends beyond the range of numbers from a million times that has diverged.
    """
    if not np.isfinite(losses).all():
        last = int(np.argmin(np.isfinite(losses)))
        grew = losses[max(last - 1, 0)] - losses[0] > _DIVERGED * typical
        return (Status.diverged if grew else Status.not_finite), last
    peak = int(np.argmax(bends))
    still = bends[peak:] <= _SETTLED * bends[peak]
    # A chaotic orbit dips below any threshold for a moment.
    stays = np.convolve(still, np.ones(_STAYS), "valid") == _STAYS if len(still) >= _STAYS else []
    starts = np.flatnonzero(stays)
    if not len(starts):
        return Status.out_of_steps, len(losses) - 1
    return Status.converged, peak + int(starts[0])


def final_rate(converging: np.ndarray, peak: int, settled: int, modes: np.ndarray) -> Rate:
    """Fit the decay from the peak on; for a complex pair by what decays without beating.

    a[k+1] = T a[k] − D a[k−1] makes a[k]² − a[k+1] a[k−1] shrink by D = |μ|² a step, exactly.
    """
    tail = converging[peak : max(settled + 1, peak + LEAST_TAIL)]
    if np.isreal(modes).all():
        rate = fit_rate(np.abs(tail), growing=False)
    else:
        energy = np.abs(tail[1:-1] ** 2 - tail[2:] * tail[:-2])
        rate = fit_rate(energy, growing=False)
        rate = rate._replace(slope=rate.slope / 2, low=rate.low / 2, high=rate.high / 2)
    return rate._replace(start=rate.start + peak, stop=rate.stop + peak)
