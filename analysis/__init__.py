"""Studies: what the papers say, what theory predicts, what was measured, the verdict."""

from analysis import (
    beale_descent,
    beale_threshold,
    digits_phases,
    hallucinated,
    lyapunov,
    map_window,
    practical_sam,
    relatives,
    saddle_cycles,
    sam_cycle,
    sam_flow,
    valley_drift,
    valley_phases,
)

STUDIES = {
    study.NAME: study
    for study in (
        beale_threshold,
        map_window,
        beale_descent,
        sam_cycle,
        saddle_cycles,
        sam_flow,
        practical_sam,
        hallucinated,
        relatives,
        lyapunov,
        valley_phases,
        valley_drift,
        digits_phases,
    )
}
"""Every study by name, in the order of the report."""
