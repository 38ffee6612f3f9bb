"""Studies: what the papers say, what theory predicts, what was measured, the verdict."""

from analysis import (
    batch_momentum,
    beale_descent,
    beale_threshold,
    checkpoints,
    digits_noise,
    digits_phases,
    escape,
    hallucinated,
    interpolation,
    late_attack,
    lyapunov,
    map_window,
    noise_moments,
    noisy_switch,
    practical_sam,
    relatives,
    saddle_cycles,
    sam_cycle,
    sam_flow,
    symmetry_saddles,
    toy_network,
    valley_drift,
    valley_phases,
    weak_order,
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
        noise_moments,
        toy_network,
        weak_order,
        escape,
        valley_phases,
        valley_drift,
        interpolation,
        digits_phases,
        digits_noise,
        noisy_switch,
        late_attack,
        batch_momentum,
        symmetry_saddles,
        checkpoints,
    )
}
"""Every study by name, in the order of the report."""
