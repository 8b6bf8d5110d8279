"""Faults: what is flipped, what it means, and campaigns of many of them.

`experiment` is the contract between a kind of fault and the engine: start there. `campaign` runs
an experiment's trials, `store` is the file that keeps them, `export` makes tables of it,
`estimates`, `statistics` and `resampling` say how sure the rates are. See docs/campaigns.md.

Bit error rates (docs/ber.md): `ber` is the experiment, `random_bits` says which bits are wrong,
`ber_memory` and `ber_protection` which of them are left, `ber_machine` what an inference meets;
`ber_results`, `ber_rates`, `sensitivity` and `fit` read what comes out.
"""
