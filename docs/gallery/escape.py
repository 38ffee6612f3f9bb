"""
How long noise takes to leave a saddle
======================================

The share of 1000 paths that are still within 0.5 of the saddle of ½x² − ½y² + ¼y⁴, with bands of
95 % (Kaplan and Meier). USAM stays twice as long as SGD; no path of SAM leaves within 300 steps.
"""

import jax
import jax.random as jr

import samflow as sf

jax.config.update("jax_enable_x64", True)

loss = sf.losses.quartic()
noise = sf.noise.hessian_noise(loss, [0, 0], batch_size=32)

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.6)
    ax = figure.subplots()
    for rule, name in ((sf.GD(), "SGD"), (sf.USAM(rho=0.5), "USAM"), (sf.SAM(rho=0.5), "SAM")):
        system = sf.StochasticMap(sf.Map(loss, rule, lr=0.05), noise)
        found = sf.escape_time(
            system, [0, 0], radius=0.5, key=jr.key(0), num_paths=1000, max_steps=300
        )
        curve = found.survival
        (line,) = ax.step([0, *curve.times], [1, *curve.survival], where="post", label=name)
        ax.fill_between(
            curve.times, curve.low, curve.high, step="post", color=line.get_color(), alpha=0.2
        )
        print(f"{name}: median {found.median:g}, {found.count()}")
    ax.set(xlabel="step", ylabel="still inside", ylim=(0, 1.05))
    ax.legend()
