"""Faults: what is flipped, what it means, and campaigns of many of them.

`experiment` is the contract between a kind of fault and the engine: start there. `campaign` runs
an experiment's trials, `store` is the file that keeps them, `export` makes tables of it,
`estimates` and `statistics` say how sure the rates are. See docs/campaigns.md.
"""
