"""A claim that is wrong on purpose: the report shows that its checks can fail."""

from analysis.claims import Claim, Study

WRONG = 4 / 110
"""Beale's saddle attracts the flow of USAM from rho = 4/111 on."""


def control() -> Claim:
    """Return the wrong claim, checked as all others are; it is counted nowhere."""
    import samflow as sf

    loss = sf.losses.beale()
    conditions = sf.conditions(sf.Flow(loss, sf.USAM(rho=0.05)), [0.0, 1.0])
    window = conditions.rho_window
    assert window is not None
    return Study("control", "wrong on purpose").close(
        "deliberately wrong",
        "the saddle (0, 1) of Beale's function attracts USAM from ρ = 4/110 on (it is 4/111)",
        predicted=WRONG,
        measured=float(window.low.value),
        rel=1e-9,
        reason="rounding; as of the true threshold in the study beale-threshold",
    )
