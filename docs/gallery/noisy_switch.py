"""
SAM for the last epochs only, and the reverse
=============================================

A small perceptron on digits, trained in mini-batches by SGD or SAM, with a switch after epoch 20.
SAM brings the sharpness down within a few epochs, whenever it begins. After a switch to SGD the
sharpness comes up again, more slowly.
"""

import jax
import jax.random as jr

import samflow as sf

jax.config.update("jax_enable_x64", True)

loss, w = sf.networks.digits_loss(jr.key(0), num_images=200, hidden=8)
rules = {"SGD": sf.GD(), "SAM": sf.SAM(rho=0.1)}
maps = {name: sf.Map(loss, rule, lr=0.1) for name, rule in rules.items()}
arms = (("SGD", "SGD"), ("SGD", "SAM"), ("SAM", "SGD"), ("SAM", "SAM"))

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.6)
    ax = figure.subplots()
    for (first, last), line in zip(arms, ("-", "--", "--", "-"), strict=True):
        monitor = sf.networks.Monitor(every=20)
        state = sf.networks.first_state(maps[first], w, key=jr.key(1))
        for until, before, now in ((20, first, first), (40, first, last)):
            state = sf.networks.switch(state, maps[before], maps[now])
            made = sf.networks.train(maps[now], state, until=until, batch_size=20, monitor=monitor)
            state = made.state
        seen = monitor.record
        name = first if first == last else f"{first} → {last}"
        ax.plot(seen.steps / 10, seen.sharpness, line, label=name)
    ax.axvline(20, color="0.7", linewidth=0.7)
    ax.set(xlabel="epoch", ylabel="sharpness", ylim=(0, None))
    ax.legend()
