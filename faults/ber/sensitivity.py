"""Which layers a network cannot do without: protect one, and see what it is worth.

The sensitivity of a layer (of a block, in a ResNet) is the accuracy with all its bits protected
minus the accuracy with nothing protected (paper, IV-A and Fig. 5); protecting in this order gives
the curve of Fig. 6, and the layers that selective redundancy needs to meet a goal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...network.layers import Network
from ..campaign.statistics import Interval
from .options import Case
from .results import Counts

#: layer1.0.conv1 belongs to block layer1.0; features.3 is a layer of its own.
_BLOCK = re.compile(r"^(.*?\.\d+)\..+$")
UNPROTECTED = "(none)"


def units(network: Network) -> dict[str, tuple[str, ...]]:
    """Block or layer -> its conv and linear layers, in order of execution."""
    found: dict[str, tuple[str, ...]] = {}
    for i in sorted(network.weights):
        name = network.layers[i].name
        block = _BLOCK.match(name)
        unit = block[1] if block else name
        found[unit] = (*found.get(unit, ()), name)
    return found


@dataclass(frozen=True)
class Sensitivity:
    """What protecting a unit alone is worth, at one rate."""

    unit: str
    layers: tuple[str, ...]
    ber: float
    gain: Interval

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        own = {"unit": self.unit, "layers": list(self.layers), "ber": self.ber}
        return {**own, "sensitivity": self.gain.estimate, **self.gain.to_dict()}


@dataclass(frozen=True)
class ProtectionStep:
    """Accuracy with the most sensitive units protected; `unit` is the last of them."""

    unit: str
    layers: tuple[str, ...]
    ber: float
    accuracy: Interval
    loss: Interval

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "unit": self.unit,
            "layers": list(self.layers),
            "ber": self.ber,
            "accuracy": self.accuracy.estimate,
            **self.accuracy.to_dict(),
            "loss": self.loss.to_dict(),
        }


def single_cases(network: Network, rates: Sequence[float]) -> list[Case]:
    """Nothing protected, then each unit alone, at each rate."""
    own = units(network)
    return [
        Case(unit, rate, protect=layers)
        for rate in rates
        for unit, layers in [(UNPROTECTED, ()), *own.items()]
    ]


def ranked(counts: Counts) -> dict[float, list[Sensitivity]]:
    """Rate -> the units of `single_cases`, the most sensitive first."""
    found: dict[float, list[Sensitivity]] = {}
    bare = {case.ber: i for i, case in enumerate(counts.cases) if case.scheme == UNPROTECTED}
    for i, case in enumerate(counts.cases):
        if case.scheme != UNPROTECTED:
            gain = counts.difference(i, bare[case.ber])
            row = Sensitivity(case.scheme, case.protect, case.ber, gain)
            found.setdefault(case.ber, []).append(row)
    for rows in found.values():
        rows.sort(key=lambda row: -row.gain.estimate)
    return found


def cumulative_cases(ranking: Mapping[float, list[Sensitivity]]) -> list[Case]:
    """Nothing, the most sensitive unit, the two most sensitive ones, ... at each rate."""
    cases = []
    for rate, rows in ranking.items():
        cases.append(Case(UNPROTECTED, rate))
        layers: tuple[str, ...] = ()
        for row in rows:
            layers = (*layers, *row.layers)
            cases.append(Case(row.unit, rate, protect=layers))
    return cases


def protection_steps(counts: Counts) -> list[ProtectionStep]:
    """The curve, from the cases of `cumulative_cases`."""
    return [
        ProtectionStep(case.scheme, case.protect, case.ber, counts.accuracy(i), counts.loss(i))
        for i, case in enumerate(counts.cases)
    ]


def chosen(counts: Counts, goals: Mapping[float, float]) -> dict[float, tuple[str, ...]]:
    """Rate -> the fewest layers of the curve with which, and with any more, the goal is met.

    goals : rate -> accuracy relative to acc0. The estimates decide, so that what is chosen here is
    to be judged on other patterns.
    """
    found: dict[float, tuple[str, ...]] = {}
    missed = set()
    for i in reversed(range(len(counts.cases))):
        case = counts.cases[i]
        if counts.correct[i].sum() < goals[case.ber] * counts.acc0[i].sum():
            missed.add(case.ber)
        if case.ber not in missed:
            found[case.ber] = case.protect
    return found
