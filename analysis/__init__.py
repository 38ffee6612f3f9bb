"""Studies: each compares what a paper or theory predicts with what is measured.

A study is a module with a `NAME`, a `TITLE`, `measure(progress) -> record`, which does all of its
computation, and `judge(record) -> list[Claim]`, which does none worth speaking of. A figure draws
the record of a study, so that nothing is computed twice. One with a small size says in
`SMALL_SIZE` what it then reduces, and its `measure` takes the size (`analysis.size`) as well.
"""
