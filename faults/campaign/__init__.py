"""Many trials of an experiment, whatever it flips: run, kept, counted.

`experiment` is the plug: start there. `run` runs the trials that a file lacks, here, in processes
or on Dask (`cluster`); `store` is the file; `estimates`, `statistics` and `resampling` make
intervals of its rows, `export` makes tables. Nothing here knows networks or machines.
"""

MOST_TRIALS = 10**12  #: far below what SQLite can number
