"""``flexhyca inject``: flip bits while a network runs, one fault or many.

`arguments` has the options and finds the row of `models` that runs: `machine` for what the machine
stores, `bit_errors` for bit error rates, of which `schemes`, `per_layer` and `find_rate` are the
three questions, with their `headings`. `request` is what was asked for. Here options are read and
results printed; the campaigns are `flexhyca.faults`.
"""

from .arguments import EXAMPLES, command

__all__ = ["EXAMPLES", "command"]
