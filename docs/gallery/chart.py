"""
What a critical point is, over ρ and the step size
==================================================

The saddle (0, 1) of Beale's function under USAM. Colours are what is found at each cell, lines are
the conditions of theory: ρ = 4/111 at the left, and where λ = 27.75 flips.
"""

import jax
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

chart = sf.stability_chart(
    sf.losses.beale(),
    sf.USAM(rho=0.1),
    [0.0, 1.0],
    rho=np.linspace(0.005, 0.3, 40),
    lr=np.linspace(0.001, 0.05, 40),
)
figure = sf.plots.chart(chart)
