"""Studies: what the papers say, what theory predicts, what was measured, the verdict."""

from analysis import (
    beale_descent,
    beale_threshold,
    digits_phases,
    map_window,
    sam_cycle,
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
        valley_phases,
        valley_drift,
        digits_phases,
    )
}
"""Every study by name, in the order of the report."""
