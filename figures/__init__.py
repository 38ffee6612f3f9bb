"""The figures of the documentation and the report: one module per figure.

Each module has a `NAME`; `STUDIES`, the names of the studies whose records it draws (none, if it
computes its own, and then `BESIDE`, the study that it stands beside in the report); `ALT`, what is
seen, for who does not see it; `draw(*records)`, which returns a matplotlib Figure; and
`caption(*records)`, which explains it, with numbers and source. One with `SMALL_SIZE` takes a size
(`analysis.size`) as the last argument of both. No figure imports a study.
"""
