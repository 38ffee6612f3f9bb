"""
Which minima SGD and USAM can keep
==================================

At a minimum that fits every example: the largest step size at which E‖w‖² does not grow, for
batches of one example of four, over USAM's ρ. At ρ = 0 it is SGD's.
"""

import jax
import jax.random as jr
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

fitted = sf.noise.least_squares(jr.normal(jr.key(0), (4, 2)))
rhos = np.linspace(0.0, 0.5, 9)
largest = [
    sf.noise.stability_threshold(
        sf.StochasticMap(sf.Map(fitted, sf.USAM(rho=rho), lr=0.1), sf.noise.MiniBatch(1)),
        [0.0, 0.0],
    ).value
    for rho in rhos
]

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.4)
    ax = figure.subplots()
    ax.plot(rhos, largest, marker="o", markersize=3)
    ax.set(xlabel=r"$\rho$", ylabel=r"largest stable $\eta$", ylim=(0, None))
