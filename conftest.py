"""Double precision for every test, before any array is made."""

import jax

jax.config.update("jax_enable_x64", True)
