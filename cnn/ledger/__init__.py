"""Published numbers beside ours, as data: `paper.toml`, `results.csv`, `logs/` of each paper.

`papers` reads them, `fingerprint` says which config a result is of, `entry` adds a finished run,
`status` judges a row, `tables` writes what README files show, `check` finds what does not fit.
Nothing of these starts JAX; `smoke` does, which makes a row small enough to try.
"""
