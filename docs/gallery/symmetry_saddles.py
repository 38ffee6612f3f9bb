"""
Saddles of networks by symmetry
===============================

Two linear layers at zero, a saddle of their loss. Left, orbits of USAM from beside it, along its
weakest negative eigenvalue λ₋: they leave for ρ|λ₋| < 1, and come back above. Right, their growth
rate over η|λ₋| (marks) on the line 1 − ρ|λ₋|.
"""

import jax
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

generator = np.random.default_rng(0)
x, y = generator.normal(size=(10, 3)), 2 * generator.normal(size=(10, 2))
saddle = sf.networks.deep_linear_saddle(x, y, width=3)
negative = np.flatnonzero(saddle.eigenvalues < -1e-9 * saddle.eigenvalues[-1])
weakest, v = saddle.eigenvalues[negative[-1]], saddle.vectors[negative[-1]]
parts, lr, steps = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5), 0.01 / abs(weakest), 600

with sf.plots.styled():
    figure = sf.plots.new_figure(7.0, 2.6)
    left, right = figure.subplots(1, 2)
    for part in parts:
        system = sf.Map(saddle.loss, sf.USAM(rho=part / abs(weakest)), lr=lr)
        orbit = sf.iterate(system, saddle.w + 1e-6 * v, num_steps=steps, keep_every=1)
        along = np.abs((orbit.w - saddle.w) @ v)
        (line,) = left.semilogy(along, label=f"{part:g}")
        rate = np.log(along[-1] / along[0]) / steps
        right.plot(part, rate / (lr * abs(weakest)), "o", markersize=4, color=line.get_color())
    right.plot([0, 1.6], [1, -0.6], color="black", linewidth=0.8, zorder=0)
    right.axhline(0, color="0.7", linewidth=0.7, zorder=0)
    left.set(xlabel="step", ylabel="distance from the saddle along v")
    left.legend(title=r"$\rho|\lambda_{-}|$", ncols=2)
    right.set(xlabel=r"$\rho|\lambda_{-}|$", ylabel=r"growth rate / $\eta|\lambda_{-}|$")
