"""
Branches and bifurcations
=========================

Fixed points of USAM on ½x² − ½y² + ¼y⁴ along ρ, over the last states of orbits. The saddle becomes
attracting at ρ = 1 in a pitchfork, with which two repelling fixed points come that are no critical
points of the loss.
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

system = sf.Map(sf.loss("x**2/2 - y**2/2 + y**4/4"), sf.USAM(rho=0.5), lr=0.1)
diagram = sf.attractors.bifurcation_diagram(system, [[0.0, 0.0], [0.0, 1.0]], "rho", (0.1, 7.0))
figure = sf.plots.bifurcation(diagram, observable=1)

# %%
# The bifurcations:

print(diagram.table(columns=["branch", "kind", "parameter"]).round(6).to_string(index=False))
