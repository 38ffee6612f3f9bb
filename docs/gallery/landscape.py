"""
A landscape, and what it is evidence of
=======================================

The loss about the saddle of x² − ½y² + ¼y⁴, in the plane of its sharpest and its lowest eigenvector
and along each. Dashed is the parabola of the slope and the curvature.
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

found = sf.landscape(sf.loss("x**2 - y**2/2 + y**4/4"), [0.0, 0.0])
figure = sf.plots.landscape(found)

# %%
# How far the parabola holds:

print(found)
