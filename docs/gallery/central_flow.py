"""
At the edge of stability
========================

USAM in a valley that gets steeper along x. The run starts below the edge and oscillates once it is
there. Its mean square across the valley stays about that of the central flow.
"""

import jax
import numpy as np

import samflow as sf

jax.config.update("jax_enable_x64", True)

valley = sf.loss("(1 + x**2)*(sqrt(1 + y**2) - 1) - x/2000")
system = sf.Map(valley, sf.USAM(rho=1.0), lr=0.2)
flow = sf.central_flow(system, [1.303, 0.0], num_steps=600, keep_every=20)
run = sf.iterate(system, [1.303, 0.006], num_steps=600, keep_every=1)

with sf.plots.styled():
    figure = sf.plots.new_figure(7.0, 2.6)
    left, right = figure.subplots(1, 2)
    left.plot(flow.steps, flow.sharpness, label="sharpness")
    left.plot(flow.steps, flow.edge, "k--", label="edge")
    left.set(xlabel="step", ylabel="sharpness")
    left.legend()
    right.plot(run.steps, np.square(run.w[:, 1]), linewidth=0.6, label="the run")
    right.plot(flow.steps, flow.variance[:, 0, 0], "k--", label="central flow")
    right.set(xlabel="step", ylabel="$y^2$")
    right.legend()
