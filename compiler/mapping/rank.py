"""The best mappings of a layer, of all that there are.

Start at `mappings`; `candidates` has what there is to choose from, and what each costs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..codegen.units import from_taps
from .candidates import AllMappings
from .mapping import LayerOnMachine, Mapping
from .recomputing import DppuNeurons

_Reals = NDArray[np.float64]
_Places = NDArray[np.intp]

#: Mappings whose cycles differ by less are told apart by their traffic.
ALIKE = 0.015
#: Estimates of small layers are this far off at times: a mapping that is that much slower but moves
#: fewer bytes may be as fast on the cycle model.
_NEAR = 0.04
#: Times the bytes of the leanest mapping: what a mapping should not exceed if it costs no cycles.
LEAN = 1.3


class RatedMapping(NamedTuple):
    """A mapping, what it is estimated to cost, and about how many instructions it takes."""

    mapping: Mapping
    cycles: float
    traffic: float
    instructions: int


def mappings(layer: LayerOnMachine, count: int) -> list[RatedMapping]:
    """The `count` best ones, by what `mapping.objective` names; none if no PE's operands fit.

    The first is the best. Up to two thirds of the others are nearly as fast and move fewer bytes.
    """
    costs = _Costs(layer)
    cycles, traffic = costs.cycles, costs.traffic
    if not np.isfinite(cycles).any():
        return []
    by_cycles = layer.machine.mapping.objective == "cycles"
    first, then = (cycles, traffic) if by_cycles else (traffic, cycles)
    best = costs.best(first, then)
    chosen = [best[:1]]
    if by_cycles:
        some = count // 3
        if layer.recomputed is not None:
            # The array waits for a slow DPPU: fast mappings are of use, and those of few fills.
            fast = costs.best(np.where(costs.tapped(layer.recomputed), cycles, np.inf), traffic)
            lean = fast[np.lexsort([cycles[fast], traffic[fast]])]
            chosen += [fast[: some // 2], lean[: some // 2]]
        chosen += [costs.front(some), costs.near(costs.fastest(LEAN * traffic.min())[:some])]
    return costs.rated(np.concatenate([*chosen, best[:count]]), count)


def fastest(layer: LayerOnMachine, count: int, most_traffic: float = np.inf) -> list[RatedMapping]:
    """The `count` fastest ones that move at most so many bytes, by estimate."""
    costs = _Costs(layer)
    return costs.rated(costs.fastest(most_traffic), count)


def least_traffic(layer: LayerOnMachine) -> float:
    """Bytes of DRAM of the mapping that takes the fewest, whatever its cycles."""
    return float(AllMappings(layer).costs()[1].min())


class _Costs:
    """What all mappings of a layer cost; places are indices into these arrays."""

    def __init__(self, layer: LayerOnMachine) -> None:
        self.choice = AllMappings(layer)
        costs = (values.ravel() for values in self.choice.costs())
        self.cycles, self.traffic, self.instructions = costs
        self.words = np.broadcast_to(self.choice.words, self.choice.shape).ravel()

    def rated(self, places: _Places, count: int) -> list[RatedMapping]:
        """The first `count` of the mappings at these places."""
        return [
            RatedMapping(
                self.choice.mapping(np.unravel_index(at, self.choice.shape)),
                float(self.cycles[at]),
                float(self.traffic[at]),
                int(self.instructions[at]),
            )
            for at in list(dict.fromkeys(places.tolist()))[:count]
        ]

    def distinct(self, places: _Places) -> _Places:
        """Without those that cost the same: loop order or whole rows make no difference there."""
        costs = np.stack([self.cycles[places], self.traffic[places]])
        _, once = np.unique(costs, axis=1, return_index=True)
        return places[np.sort(once)]

    def front(self, count: int) -> _Places:
        """Of nearly the fewest cycles: some that none beats in cycles and in bytes."""
        near = self.near(np.arange(len(self.cycles)))
        near = near[np.lexsort([self.cycles[near], self.traffic[near]])]
        fewest = np.minimum.accumulate(self.cycles[near])
        front = near[np.r_[True, fewest[1:] < fewest[:-1]]]
        evenly = np.linspace(0, len(front) - 1, min(len(front), count)).round().astype(int)
        return np.take(front, evenly)

    def tapped(self, recomputed: DppuNeurons) -> NDArray[np.bool_]:
        """Where the DPPU's taps serve as many neurons of a tile as there are on average."""
        capacity, _ = from_taps(self.choice.config, int(self.words.max()))
        found: NDArray[np.bool_] = self.words * recomputed.mask.mean() <= capacity
        return found

    def best(self, first: _Reals, then: _Reals) -> _Places:
        """Those of the least `first`, up to twice as much; of nearly the same, by `then`.

        Of the same cost the smallest tiles are the most even ones.
        """
        near = np.flatnonzero(np.isfinite(first) & (first <= 2 * first.min()))
        group = np.floor(np.log(first[near] / first.min()) / np.log1p(ALIKE))
        return self.distinct(near[np.lexsort([self.words[near], first[near], then[near], group])])

    def fastest(self, most_traffic: float) -> _Places:
        """Those that move at most so many bytes, up to twice as slow as the fastest of them."""
        lean = np.flatnonzero(self.traffic <= most_traffic)
        cycles = self.cycles[lean]
        near = np.isfinite(cycles) & (cycles <= 2 * cycles.min(initial=np.inf))
        lean, cycles = lean[near], cycles[near]
        return self.distinct(lean[np.lexsort([self.words[lean], cycles])])

    def near(self, places: _Places) -> _Places:
        """Those of nearly the fewest cycles."""
        return np.extract(self.cycles[places] <= self.cycles.min() * (1 + _NEAR), places)
