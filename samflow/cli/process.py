"""What the command line sets for its own process, which the library must not set for others."""

import os

XLA_FLAGS = (
    "--xla_cpu_prefer_vector_width=512 "
    "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=100000000"
)
"""Whole loops as one function, in the widest vectors there are: blocks of orbits gain up to 1.5."""


def prepare() -> None:
    """Ask for double precision and fast loops; to be called before JAX is imported."""
    os.environ["JAX_ENABLE_X64"] = "1"
    os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
