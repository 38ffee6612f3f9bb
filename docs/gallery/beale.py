"""
GD, USAM and SAM from the same starts
=====================================

Beale's function has its minimum at (3, ½) and a saddle at (0, 1). GD converges to the minimum, USAM
to the saddle. SAM wanders about the saddle, at which it has no Jacobian.
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

loss = sf.losses.beale()
rules = [sf.GD(), sf.USAM(rho=0.05), sf.SAM(rho=0.3)]
systems = [sf.Map(loss, rule, lr=1e-3) for rule in rules]
box = ((-1.2, 3.8), (-0.1, 1.9))
figure = sf.portraits(
    systems,
    box,
    starts=[[0.5, 1.5], [-0.4, 0.5], [0.2, 0.9]],
    length=6000,
    layers=["levels", "motion", "fixed points"],
    titles=["GD", "USAM, ρ = 0.05", "SAM, ρ = 0.3"],
)

# %%
# What theory says of each at the saddle:

for system in systems:
    print(system.rule.name, "-", sf.classify(system, [0.0, 1.0]))
