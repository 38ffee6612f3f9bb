"""What sampling over directions says of whether SAM holds at a point."""

from typing import ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Float

from samflow._types import NumpyArray
from samflow.records import AbstractRecord, Names, Provenance, axes

_REST = 0.05
"""Up to this part a direction counts as one of rest."""


class SlidingSample(AbstractRecord):
    """What sampling found of S(e) = eᵀH g(w + rho e), the rate at which SAM's flow shrinks ‖g‖.

    Items are directions e: the gradient's, in which S is the rate at w itself; eigenvectors at both
    ends of the spectrum with both signs; random ones in the span of these and on the whole sphere;
    and where searches for the least and the greatest S ended.

    Attributes:
        kinds: what each direction is.
        rates: S(e), shape (directions,).
        quadratic: rho‖He‖², which S is on the quadratic part at a critical point.
        doubts: ‖He‖‖g‖: by so much S may differ at the critical point nearby, to first order; 0 at
            a critical point.
        curvatures: eᵀHe.
        rests: ‖Hℓ − S e‖/‖Hℓ‖ with ℓ = g(w + rho e): 0 where g/‖g‖ rests along e, and then S < 0
            means that a solution leaves.
        begins: the rho at which S(e) becomes positive along e; 0 where it is from the least rho
            tried on, infinite where it never is; NaN of random ones on the whole sphere.
        begins_quadratic: −He·g/‖He‖², where it does on the quadratic part; 0 where that is below 0.
        ends: the first rho after it at which S(e) ≤ 0; infinite where there is none among those
            tried; NaN likewise.
        directions: e, shape (directions, dim).
        least: the least S found in the span of the eigenvectors, and
        greatest: the greatest.
        least_doubt: `doubts` where the least is.
        least_rest: `rests` there.
        least_anywhere: the least S found on the whole sphere, and
        greatest_anywhere: the greatest. With eigenvalues near 0, as a network has them, S is of
            third order in directions without curvature, and mostly takes both signs there.
        window: the rho between which the least S in the span is positive: where it begins and
            ends, as for one direction; NaN if not asked for.
        tried: the least and the largest rho tried for it.
        usam_threshold: the rho at which vᵀH(w + rho g)(I + rho H)v = 0 for the eigenvector v of the
            weakest negative eigenvalue measured: USAM holds along v beyond; NaN without one, and
            where there is none within a factor of 32.
        usam_quadratic: 1/|λ₋| of that eigenvalue, which it is at a critical point.
        rho: SAM's rho.
        gradient_norm: ‖g(w)‖.
        num_curved: how many eigenvectors span what was searched.
        num_gradients: what it took, in gradients; a product counts as two.
        verdict: "held", "not held" or "open", of the span: whether the least S there is above
            0, below, or within what rounding and ‖g‖ leave open. Sampled, not proved.

    """

    rows: ClassVar[Names] = ("direction",)
    printed: ClassVar[Names] = ("kinds", "rates", "quadratic", "curvatures", "begins", "ends")
    kinds: tuple[str, ...] = eqx.field(static=True, metadata=axes("direction"))
    verdict: str = eqx.field(static=True)
    num_curved: int = eqx.field(static=True)
    num_gradients: int = eqx.field(static=True)
    provenance: Provenance = eqx.field(static=True)
    rates: Float[NumpyArray, " n"] = eqx.field(metadata=axes("direction", units="loss/weight/time"))
    quadratic: Float[NumpyArray, " n"] = eqx.field(
        metadata=axes("direction", units="loss/weight/time")
    )
    doubts: Float[NumpyArray, " n"] = eqx.field(
        metadata=axes("direction", units="loss/weight/time")
    )
    curvatures: Float[NumpyArray, " n"] = eqx.field(
        metadata=axes("direction", units="loss/weight^2")
    )
    rests: Float[NumpyArray, " n"] = eqx.field(metadata=axes("direction", units="1"))
    begins: Float[NumpyArray, " n"] = eqx.field(metadata=axes("direction", units="weight"))
    begins_quadratic: Float[NumpyArray, " n"] = eqx.field(
        metadata=axes("direction", units="weight")
    )
    ends: Float[NumpyArray, " n"] = eqx.field(metadata=axes("direction", units="weight"))
    directions: Float[NumpyArray, "n dim"] = eqx.field(
        metadata=axes("direction", "weight", units="1")
    )
    least: float = eqx.field(metadata=axes(units="loss/weight/time"))
    greatest: float = eqx.field(metadata=axes(units="loss/weight/time"))
    least_doubt: float = eqx.field(metadata=axes(units="loss/weight/time"))
    least_rest: float = eqx.field(metadata=axes(units="1"))
    least_anywhere: float = eqx.field(metadata=axes(units="loss/weight/time"))
    greatest_anywhere: float = eqx.field(metadata=axes(units="loss/weight/time"))
    window: tuple[float, float] = eqx.field(metadata=axes("end", units="weight"))
    tried: tuple[float, float] = eqx.field(metadata=axes("end", units="weight"))
    usam_threshold: float = eqx.field(metadata=axes(units="weight^2/loss"))
    usam_quadratic: float = eqx.field(metadata=axes(units="weight^2/loss"))
    rho: float = eqx.field(metadata=axes(units="weight"))
    gradient_norm: float = eqx.field(metadata=axes(units="loss/weight"))

    def __str__(self) -> str:
        """Return the answer and what limits it, a sentence a line."""
        return "\n".join(self.sentences())

    def sentences(self) -> list[str]:
        """Return the answer, the numbers behind it, and what they do not say."""
        where = f"the span of {self.num_curved} eigenvectors at both ends"
        if self.num_curved == self.directions.shape[1]:
            where = "all directions"
        answers = {
            "held": f"SAM at rho = {self.rho:g} holds in every direction sampled",
            "not held": f"SAM at rho = {self.rho:g} is not held in a direction sampled",
            "open": f"Whether SAM at rho = {self.rho:g} holds is open",
        }
        texts = [
            f"{answers[self.verdict]} (sampled, not proved): the least S, the rate at which ‖g‖ "
            f"falls, is {self.least:.4g} ± {self.least_doubt:.2g}, the greatest "
            f"{self.greatest:.4g} in {where}."
        ]
        if self.verdict == "not held":
            at_rest = self.least_rest <= _REST
            texts.append(
                "g rests along this direction, so that a solution leaves along it."
                if at_rest
                else "g turns away from this direction, so that ‖g‖ grows at first, which does not "
                "say that the point is left."
            )
        texts += self._about_rho()
        if self.num_curved < self.directions.shape[1]:
            texts.append(
                f"On the whole sphere S from {self.least_anywhere:.3g} to "
                f"{self.greatest_anywhere:.3g} was found; in directions without curvature its sign "
                "says little."
            )
        if self.least_doubt > 0:
            texts.append(
                f"‖g‖ = {self.gradient_norm:.3g} is not 0: S is that of these weights, and may "
                "differ by about the ± at a critical point nearby, if there is one."
            )
        return texts

    def _about_rho(self) -> list[str]:
        texts, (low, high) = [], self.window
        least, most = self.tried
        if np.isinf(low):
            texts.append(f"At no rho tried, {least:.3g} to {most:.3g}, is S positive throughout.")
        elif not np.isnan(low):
            begin = f"from {low:.3g}" if low > 0 else f"from below {least:.3g}"
            end = f"to {high:.3g}" if np.isfinite(high) else f"beyond {most:.3g}"
            where = "all directions"
            if self.num_curved < self.directions.shape[1]:
                where = "all of the span"
            texts.append(f"S > 0 in {where} for rho {begin} {end}.")
        if not np.isnan(self.usam_quadratic):
            found = self.usam_threshold
            weakest = "along the weakest negative eigenvalue measured, λ₋"
            texts.append(
                f"USAM is attracted {weakest}, from rho = {found:.6g} on; the quadratic threshold "
                f"1/|λ₋| is {self.usam_quadratic:.6g}."
                if np.isfinite(found)
                else f"No rho was found from which on USAM is attracted {weakest}; the quadratic "
                f"threshold 1/|λ₋| is {self.usam_quadratic:.6g}."
            )
        return texts
