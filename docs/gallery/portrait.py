"""
USAM holds a saddle of Beale's function
=======================================

The flow of USAM with ρ = 0.05. The saddle (0, 1) of the loss attracts, because ρ is above
4/111 ≈ 0.036. It lies between two saddles of the flow that are no critical points of the loss.
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

flow = sf.Flow(sf.losses.beale(), sf.USAM(rho=0.05))
box = ((-1.2, 3.8), (-0.3, 1.9))
starts = [[0.5, 1.5], [-0.8, 0.3], [0.6, 1.35], [1.0, 0.9], [-0.6, 0.0]]
figure = sf.portrait(flow, box, starts=starts, length=16.0)

# %%
# All fixed points in the box, with proof:

print(sf.find_fixed_points(flow, box))
