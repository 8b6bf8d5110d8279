"""The search for the cheapest design that keeps its goals (paper, III-E).

`optimise` is the loop: start there. `optimisers` choose what to evaluate next (`gp` is the one file
that knows GPyOpt), `prune` leaves out what needs no evaluation, `confirm` judges what is left on
patterns that the search never saw, `front` is for Pareto sets. `candidates` has their types.  What
a design costs is known before (`dse.designs`), and evaluating it is `dse.evaluate`'s.
"""
