"""The best mappings of a layer, of all that there are.

Start at `mappings`; `candidates` has what there is to choose from, and what each costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .candidates import AllMappings, LayerOnMachine, Mapping

_Reals = NDArray[np.float64]

#: Mappings whose cycles differ by less are told apart by their traffic.
ALIKE = 0.01
#: Estimates of small layers are this far off at times: a mapping that is that much slower but moves
#: fewer bytes may be as fast on the cycle model.
_NEAR = 0.04


class RatedMapping(NamedTuple):
    """A mapping, what it is estimated to cost, and about how many instructions it takes."""

    mapping: Mapping
    cycles: float
    traffic: float
    instructions: int


def mappings(layer: LayerOnMachine, count: int) -> list[RatedMapping]:
    """The `count` best ones, by what `mapping.objective` names; none if no PE's operands fit.

    The first is the best. Up to half of the others are nearly as fast and move fewer bytes.
    """
    choice = AllMappings(layer)
    cycles, traffic, instructions = (values.ravel() for values in choice.costs())
    if not np.isfinite(cycles).any():
        return []
    first, then = (cycles, traffic)
    if layer.machine.mapping.objective == "traffic":
        first, then = then, first
    group = np.floor(np.log(first / first.min()) / np.log1p(ALIKE))
    order = np.lexsort([first, then, group])
    # Where loop order or whole rows make no difference, one of them is enough.
    _, once = np.unique(np.stack([cycles, traffic])[:, order], axis=1, return_index=True)
    best = order[np.sort(once)]
    lean = best[:0]
    if layer.machine.mapping.objective == "cycles":
        lean = _leaner(cycles, traffic)
        lean = lean[np.linspace(0, len(lean) - 1, min(len(lean), count // 2)).round().astype(int)]
    chosen = dict.fromkeys([int(best[0]), *lean.tolist(), *best[:count].tolist()])
    return [
        RatedMapping(
            choice.mapping(np.unravel_index(at, choice.shape)),
            float(cycles[at]),
            float(traffic[at]),
            int(instructions[at]),
        )
        for at in list(chosen)[:count]
        if np.isfinite(cycles[at])
    ]


def _leaner(cycles: _Reals, traffic: _Reals) -> NDArray[np.intp]:
    """Of nearly the fewest cycles: those that none beats in cycles and in bytes, leanest first."""
    near = np.flatnonzero(cycles <= cycles.min() * (1 + _NEAR))
    near = near[np.lexsort([cycles[near], traffic[near]])]
    fewest = np.minimum.accumulate(cycles[near])
    return near[np.r_[True, fewest[1:] < fewest[:-1]]]


def least_traffic(layer: LayerOnMachine) -> float:
    """Bytes of DRAM of the mapping that takes the fewest, whatever its cycles."""
    return float(AllMappings(layer).costs()[1].min())


def fewest_cycles(layer: LayerOnMachine, most_traffic: float) -> float:
    """Estimated cycles of the fastest mapping that moves at most so many bytes; else infinite."""
    cycles, traffic, _ = AllMappings(layer).costs()
    return float(cycles[traffic <= most_traffic].min(initial=np.inf))
