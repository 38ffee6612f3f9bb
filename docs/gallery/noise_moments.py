"""
Second moments at a saddle
==========================

Paths start at the saddle of ½(x² − y²) with noise shaped like the Hessian. E y², along λ = −1, is
exact for the linearised map (lines), and sampled over 20 000 paths (marks). USAM leaves more
slowly.
"""

import jax
import jax.random as jr

import samflow as sf

jax.config.update("jax_enable_x64", True)

saddle = sf.losses.saddle((1.0, -1.0))
noise = sf.noise.hessian_noise(saddle, [0, 0], batch_size=32)

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.6)
    ax = figure.subplots()
    for rho, colour in ((0.0, "C0"), (0.5, "C1")):
        system = sf.StochasticMap(sf.Map(saddle, sf.USAM(rho=rho), lr=0.05), noise)
        exact = sf.noise.second_moment(system, [0, 0], num_steps=60, keep_every=1)
        paths = sf.noise.sample_moments(
            system, [0, 0], key=jr.key(0), num_paths=20_000, num_steps=60, keep_every=5
        )
        name = "SGD" if rho == 0 else "USAM, ρ = 0.5"
        ax.semilogy(exact.steps[1:], exact.second[1:, 1, 1], color=colour, label=name)
        sampled = paths.second[1:, 1, 1]
        ax.semilogy(paths.steps[1:], sampled, "o", color=colour, markersize=3)
    ax.set(xlabel="step", ylabel=r"$\mathrm{E}\,y^2$")
    ax.legend()
