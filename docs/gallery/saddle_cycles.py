"""
Which saddles hold normalised SAM
=================================

Saddles with the eigenvalues 1 and −r: how far SAM is from the saddle after 3000 steps from beside
it, in units of ρ. Between the lines the 2-cycle along λ = 1 attracts, where ηr > 1 some
starts only. At the lower left orbits leave too slowly to be seen. ρ does not matter.
"""

import jax
import jax.numpy as jnp
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)


def distance(lr, ratio):
    """Return how far SAM with ρ = 1 is from the saddle at the end."""
    saddle = sf.losses.Quadratic(jnp.stack([jnp.ones_like(ratio), -ratio]))
    system = sf.Map(saddle, sf.SAM(rho=1.0), lr=lr)
    return jnp.linalg.norm(sf.iterate(system, [1e-3, 1e-3], num_steps=3000).final_w)


lr, ratio = np.linspace(0.02, 1.96, 60), np.geomspace(0.02, 20, 60)
grid = np.meshgrid(lr, ratio)
ends = jax.vmap(distance)(*(axis.ravel() for axis in grid)).reshape(grid[0].shape)

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.9)
    ax = figure.subplots()
    held = np.where(ends < 5, ends, np.nan)
    mesh = ax.pcolormesh(lr, ratio, held, cmap="viridis", vmin=0)
    for bound in (lr / (2 - lr), 2 / (2 - lr)):
        ax.plot(lr, bound, color="black", linewidth=1.2)
    ax.set(yscale="log", xlabel=r"$\eta\lambda_1$", ylabel=r"$r = |\lambda_-|/\lambda_1$")
    figure.colorbar(mesh, label="distance (white: it left)")
