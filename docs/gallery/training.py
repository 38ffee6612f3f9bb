"""
Sharpness and its edge along a training
=======================================

A small perceptron on digits, trained by SAM. A monitor measures the leading eigenvalues of the
Hessian every 20 steps, beside the edge of stability of SAM and that of GD.
"""

import jax
import jax.random as jr

import samflow as sf

jax.config.update("jax_enable_x64", True)

loss, w = sf.networks.digits_loss(jr.key(0), num_images=60, hidden=4)
system = sf.Map(loss, sf.SAM(rho=0.05), lr=0.3)
monitor = sf.networks.Monitor(every=20, compare=[sf.GD()])
start = sf.networks.first_state(system, w)
sf.networks.train(system, start, until=200, monitor=monitor)
figure = sf.plots.training(monitor.record)
