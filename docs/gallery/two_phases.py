"""
A late switch to SAM: escape, then convergence
==============================================

In the valley ½(1 + u²)v² GD stays at the minimum (2, 0). USAM leaves it at the rate that theory
predicts (P1), and ends at a flatter minimum of the same valley (P3, P4).
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

system = sf.Map(sf.losses.valley(), sf.USAM(rho=0.2), lr=0.3)
found = sf.two_phase(system, [2.0, 0.0])
figure = sf.plots.switching(found)

# %%
# Each of the four claims, beside what was measured:

print(found)
