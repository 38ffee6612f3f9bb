"""
A late switch, watched
======================

GD at a minimum of a small perceptron on digits, then USAM from step 40 on. Left, the sharpness lies
between the edges of both, so that USAM leaves, and ends below both. Right, the motion along the
leading eigenvector grows and dies out at the rates that theory predicts (dashed, ten times as
high).
"""

import jax
import jax.random as jr
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

loss, w = sf.networks.digits_loss(jr.key(0), num_images=100, hidden=6)
trained = sf.networks.train_to_minimum(loss, w)
sharpness, v = float(trained.sharpness.values[-1]), trained.sharpness.vectors[-1]
lr = 1.6 / sharpness
rule = sf.USAM(rho=0.6 / sharpness)  # lr U = 1.6 · (1 + 0.6), greater than 2
gd, usam = sf.Map(loss, sf.GD(), lr=lr), sf.Map(loss, rule, lr=lr)
monitor = sf.networks.Monitor(
    every=5, compare=[sf.GD(), rule], motion=True, tol=1e-4, max_products=40
)
state = sf.networks.first_state(gd, trained.w + 1e-7 * v)
for until, system in ((40, gd), (240, usam)):
    state = sf.networks.train(system, state, until=until, monitor=monitor).state
seen = monitor.record
growth, decay = (sf.switching.phases_of(seen, usam)[i].predicted for i in (0, 3))

with sf.plots.styled():
    figure = sf.plots.new_figure(7.0, 2.6)
    left, right = figure.subplots(1, 2)
    left.plot(seen.steps, seen.sharpness, color="black", label="sharpness")
    for edge, name in zip(seen.edges.T, ("GD", "USAM"), strict=True):
        left.plot(seen.steps, edge, "--", label=f"edge of {name}")
    left.set(xlabel="step", ylabel="curvature", ylim=(0, None))
    steps, motion = seen.motion_steps, np.abs(seen.motion)
    right.semilogy(steps, motion, color="black")
    for rate, first, last in ((growth, 55, 100), (decay, 108, 130)):
        shown = np.arange(first, last)
        line = 10 * motion[steps == first] * np.exp(rate * (shown - first))
        right.semilogy(shown, line, "--", color="C3")
    right.set(xlabel="step", ylabel="motion")
    left.legend()
