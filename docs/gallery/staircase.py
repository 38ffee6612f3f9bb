"""
The staircase of SAM near a minimum
===================================

The periods of SAM's orbits about the minimum y = 1 of ¼y⁴ − ½y², over ρ and the step size. Each
tongue is a rotation number: it is locked over a whole region.
"""

import jax
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

system = sf.Map(sf.loss("y**4/4 - y**2/2"), sf.SAM(rho=0.1), lr=0.1)
rho, lr = np.linspace(0.01, 0.5, 60), np.linspace(0.02, 0.6, 60)
found = sf.sweep(system, {"rho": rho, "lr": lr}, "period", w0=[1.001], num_steps=3000)

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.9)
    ax = figure.subplots()
    periods = np.where((found["period"] > 0) & (found["period"] <= 12), found["period"], np.nan)
    mesh = ax.pcolormesh(lr, rho, periods, cmap="viridis_r", vmin=1, vmax=12)
    ax.set(xlabel=r"step size $\eta$", ylabel=r"$\rho$")
    figure.colorbar(mesh, label="period (white: none up to 12)")
