"""Curves and surfaces of fixed points: found, followed, and what lies across them."""
