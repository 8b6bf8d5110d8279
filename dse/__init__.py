"""Exploring designs: the cheapest machine that keeps its goals, and grids of many.

Start at `request` (what is asked for, from a model's name to what is found) and `search` (the
search itself). `space` has the parameters and points, `designs` what is known of each before the
first fault, `keys` what each stage of an evaluation depends on, `evaluate` the stages, `results`
who works them out, `study` the file that keeps them, `history` what can be read from it. `bits` is
the paper's Algorithm 2, `sweep` runs a grid of configurations (`grid`) for cycles and traffic
(`costs`), `compare` sets schemes and designs side by side. The workers are those of
`flexhyca.pool`.
"""
