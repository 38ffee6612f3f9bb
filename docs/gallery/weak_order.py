"""
Which diffusion models USAM
===========================

USAM on ½x² with noise, ρ = 0.4 √η: the error of E x² at time 1 in two diffusion models, over the
step size. Both sides are exact. The error of USAM's own model falls as η, that of SGD's model,
which leaves ρ out, as √η only.
"""

import jax
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

loss, noise = sf.loss("x**2/2"), sf.noise.isotropic_noise(1, sigma=1.0)
steps = 2 ** np.arange(4, 12)


def after_model(rule, lr):
    """Return E x² at time 1 from x = 1: the model is a process of Ornstein and Uhlenbeck."""
    model = sf.Diffusion(loss, rule, lr, noise)
    rate, size = -model.drift(np.ones(1))[0], model.diffusion(np.zeros(1))[0, 0]
    return np.exp(-2 * rate) + size**2 * (1 - np.exp(-2 * rate)) / (2 * rate)


errors = {"USAM's own model": [], "SGD's model": []}
for n in steps:
    lr, usam = 1 / n, sf.USAM(rho=0.4 / np.sqrt(n))
    chain = sf.StochasticMap(sf.Map(loss, usam, lr=lr), noise)
    exact = sf.noise.second_moment(chain, [0.0], num_steps=int(n), start=[1.0]).second[-1, 0, 0]
    for name, rule in zip(errors, (usam, sf.GD()), strict=True):
        errors[name].append(abs(after_model(rule, lr) - exact))

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.6)
    ax = figure.subplots()
    for (name, error), power in zip(errors.items(), (1, 0.5), strict=True):
        (line,) = ax.loglog(1 / steps, error, "o", markersize=3.5, label=name)
        slope = error[-1] * (steps[-1] / steps) ** power
        label = rf"slope {power}"
        ax.loglog(1 / steps, slope, "--", color=line.get_color(), linewidth=0.8, label=label)
    ax.set(xlabel=r"$\eta$", ylabel=r"error of $\mathrm{E}\,x^2$")
    ax.legend()
