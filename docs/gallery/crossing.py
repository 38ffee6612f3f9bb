"""
A saddle that GD passes and that holds USAM and SAM
===================================================

Distances from the saddle of x² − y² along orbits from (−3, −0.01). USAM is above its threshold
−1/λ₋ = ½ and converges. SAM ends in a 2-cycle, whose radius c = ηρλ/(2 − ηλ) is dashed.
"""

import jax
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

loss, lr = sf.loss("x**2 - y**2"), 0.01
with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.6)
    ax = figure.subplots()
    for rule, name in ((sf.GD(), "GD"), (sf.USAM(rho=0.6), "USAM"), (sf.SAM(rho=0.5), "SAM")):
        orbit = sf.iterate(sf.Map(loss, rule, lr=lr), [-3.0, -0.01], num_steps=600, keep_every=1)
        ax.semilogy(orbit.steps, np.linalg.norm(orbit.w, axis=1), label=name)
    radius = float(sf.theory.cycle_radius(2, rho=0.5, lr=lr))
    ax.axhline(radius, color="black", linestyle="--", linewidth=0.8)
    ax.set(xlabel="step", ylabel="distance from the saddle", ylim=(1e-4, 30))
    ax.legend()
