"""Exploring designs: a grid of configurations, many runs at once, and a study that keeps them.

Start at `grid` (which points), then `costs` (what is kept of a run, beside an unprotected machine)
and `store` (the file that a sweep resumes from). The workers are those of `flexhyca.pool`. The
search for the best design is to come.
"""
