"""
Below and above the threshold of a saddle
=========================================

Flows on ½(x² − y²), with λ = ±1. The saddle attracts USAM from ρ = −1/λ₋ = 1 on. Normalised SAM has
no threshold: orbits that start within distance ρ reach the saddle in finite time.
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

rules = [sf.USAM(rho=0.7), sf.USAM(rho=1.5), sf.SAM(rho=0.7)]
figure = sf.portraits(
    [sf.Flow(sf.losses.saddle(), rule) for rule in rules],
    ((-2, 2), (-2, 2)),
    starts=[[-1.8, 0.5], [1.8, 0.5], [-0.4, -0.35], [0.4, -0.35]],
    length=8.0,
    layers=["levels", "motion", "directions", "fixed points"],
    titles=["USAM, ρ = 0.7", "USAM, ρ = 1.5", "SAM, ρ = 0.7"],
)

# %%
# The ρ from which on the saddle attracts USAM's flow:

print(sf.conditions(sf.Flow(sf.losses.saddle(), rules[0]), [0.0, 0.0]).rho_window.low.value)
