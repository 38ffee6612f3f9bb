"""
Hallucinated fixed points
=========================

SAM's flow on ½x² − ½y² + ¼y⁴ at ρ = 1.5 rests at points where the gradient of the loss does not
vanish: two of them, near the saddle, attract. All fixed points in the box are proved.
"""

import jax

import samflow as sf

jax.config.update("jax_enable_x64", True)

flow = sf.Flow(sf.losses.quartic(), sf.SAM(rho=1.5))
box = ((-2.2, 2.2), (-2.0, 2.0))
found = sf.find_fixed_points(flow, box)
figure = sf.portrait(flow, box, layers=["levels", "motion", "fixed points"])

# %%
# The points, and whether each is critical:

print(found)
print(found.table(columns=["w", "kind", "critical"]).round(6).to_string(index=False))
