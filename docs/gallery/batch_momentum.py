"""
SAM by radius, batch size and momentum
======================================

The training loss of a small perceptron on digits after ten epochs, over SAM's ρ; at ρ = 0 it is
SGD's. It grows with ρ. Smaller batches, which make more steps, and momentum, whose steps are longer
in sum, bring it down. Near 2.3, where all classes are alike, a training has hardly begun.
"""

import jax
import jax.random as jr

import samflow as sf

jax.config.update("jax_enable_x64", True)

x, y = sf.networks.load_digits(400)
model = sf.networks.perceptron(jr.key(0), hidden=8)
loss = sf.losses.network(model, x, y, loss="cross_entropy")
rhos = (0.0, 0.1, 0.2, 0.4, 0.8)

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.6)
    ax = figure.subplots()
    for batch_size, line in ((20, "-"), (100, "--")):
        for momentum, colour in ((0.0, "C0"), (0.9, "C1")):
            ends = []
            for rho in rhos:
                system = sf.Map(loss, sf.SAM(rho=rho), lr=0.1, momentum=momentum)
                state = sf.networks.first_state(system, loss.flatten(model), key=jr.key(1))
                made = sf.networks.train(system, state, until=10, batch_size=batch_size)
                ends.append(loss(system.position(made.state.z)))
            name = f"batches of {batch_size}, momentum {momentum:g}"
            ax.plot(rhos, ends, line, color=colour, marker="o", markersize=3, label=name)
    ax.set(xlabel=r"$\rho$", ylabel="training loss", yscale="log")
    sf.plots.legend_below(figure, [ax], columns=2)
