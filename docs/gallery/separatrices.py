"""
Basins and separatrices
=======================

Where orbits of USAM on Beale's function end, by colour, and the stable curves of saddles, along
which they part. The saddle (0, 1) of the loss has a basin of its own.
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

system = sf.Map(sf.losses.beale(), sf.USAM(rho=0.05), lr=0.01)
box = ((-1.2, 3.8), (-0.3, 1.9))
found = sf.basins(system, box, 60)
figure = sf.portrait(system, box, basins=found, manifolds=True)

# %%
# The shares of the starts:

print(found)
