"""
Adversarial training for the last epochs only
=============================================

A perceptron on digits, trained for 16 epochs, of which the last few are under attack: test error on
attacked images and on clean ones. Four late epochs bring most of what fifteen bring.
"""

import jax
import jax.random as jr

import samflow as sf

jax.config.update("jax_enable_x64", True)

x, y = sf.networks.load_digits(900)
model = sf.networks.perceptron(jr.key(0), hidden=16)
loss, test = (
    sf.losses.network(model, x[part], y[part], loss="cross_entropy")
    for part in (slice(500), slice(500, None))
)
system = sf.Map(loss, sf.GD(), lr=0.1, momentum=0.9)
attack = sf.networks.PGD(0.1, num_steps=5)
epochs, tails = 16, (0, 1, 2, 4, 8, 15)

attacked, clean = [], []
for tail in tails:
    state = sf.networks.first_state(system, loss.flatten(model), key=jr.key(1))
    train = sf.networks.train
    state = train(system, state, until=epochs - tail, batch_size=50).state
    w = system.position(train(system, state, until=epochs, batch_size=50, attack=attack).state.z)
    attacked.append(100 * sf.networks.adversarial_error(test, w, attack))
    clean.append(100 * test.misclassified(w))

with sf.plots.styled():
    figure = sf.plots.new_figure(3.5, 2.5)
    ax = figure.subplots()
    ax.plot(range(len(tails)), attacked, "o-", markersize=3.5, label="under attack")
    ax.plot(range(len(tails)), clean, "s-", markersize=3.5, label="without attack")
    ax.set(xlabel="epochs under attack, of 16", ylabel="test error (%)", ylim=(0, None))
    ax.set_xticks(range(len(tails)), tails)
    ax.legend()
