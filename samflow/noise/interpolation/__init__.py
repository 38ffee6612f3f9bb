"""Batches at a minimum that fits every example: mean-square and typical stability."""
