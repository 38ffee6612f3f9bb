"""The report: studies measure, figures draw their records, a page says what holds.

The only package that knows both `analysis/` and `figures/`. `python -m analysis` and
`python -m figures` run it.
"""
