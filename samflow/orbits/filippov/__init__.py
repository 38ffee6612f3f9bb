"""Flows of rules that jump at critical points: arrival there, and sliding along them."""
