"""What is known of a design before the first fault: area, cycles, traffic, and its accuracy key.

Many designs share a timing, an area or an accuracy key, so there are few of each to work out.  What
is left for a search are the accuracy keys: each with its cheapest design within the limits.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compiler.shapes import shapes_of
from ..config import Config
from ..config.schemes import with_scheme
from ..config.search import Limits
from ..errors import ConfigError
from ..hdl.area.machine import machine_area, pe_row
from .costs import Costs, room
from .evaluate import StageJob
from .keys import FIELDS, accuracy_stage
from .results import Results
from .search.candidates import Candidate, CandidateField
from .space import PARAMETERS, DesignPoint, PointValues, Space

#: Told of progress: what is done, how much of it, of how much.
DesignProgress = Callable[[str, int, int], object]


class Design(NamedTuple):
    """A point and what it costs.

    area : overhead of the computing array. cycles, traffic : as `Limits` count them. key : digest
    of what its accuracy depends on.
    """

    point: DesignPoint
    area: float
    cycles: float
    traffic: float
    key: str


@dataclass(frozen=True)
class Designs:
    """The designs of a space that can be built. impossible : why -> how many cannot."""

    space: Space
    limits: Limits
    every: Sequence[Design]
    impossible: Mapping[str, int]

    def within(self) -> list[Design]:
        """Those that keep to the limits; ConfigError, which says by how much, if none does."""
        found = [design for design in self.every if not self.broken(design)]
        if not found:
            raise ConfigError(f"no design of the space keeps to the limits: {self.nearest()}")
        return found

    def broken(self, design: Design) -> list[str]:
        """The limits that a design does not keep to."""
        left = room(self.limits, design.cycles, design.traffic)
        return [name for name, own in left.items() if own < 0]

    def nearest(self) -> str:
        """Of each limit how many designs keep it, and how far the nearest is where none does."""
        texts = []
        for name in ("cycles", "traffic"):
            limit = getattr(self.limits, name)
            if limit is None:
                continue
            kept = sum(name not in self.broken(design) for design in self.every)
            best = min(self.every, key=lambda design: float(getattr(design, name)))
            least = getattr(best, name)
            kind = " (as time: cycles x depth of the PE)"
            said = name + (kind if name == "cycles" and self.limits.perf == "time" else "")
            text = f"{said} <= {limit:g} is kept by {kept:,} of {len(self.every):,}"
            if not kept:
                where = self.space.label(best.point.values)
                text += f", the least is {least:.4g} ({least - limit:.2g} too much) at {where}"
            texts.append(text)
        return "; ".join(texts)

    def by_policy(self) -> dict[str, tuple[int, int, float]]:
        """s_policy -> designs with a DPPU, those within the limits, the least traffic of them."""
        found: dict[str, list[Design]] = {}
        for design in self.every:
            if design.point.config.dppu.size:
                found.setdefault(design.point.config.protection.s_policy, []).append(design)
        return {
            policy: (
                len(own),
                sum(not self.broken(design) for design in own),
                min(design.traffic for design in own),
            )
            for policy, own in found.items()
        }


def work_out_designs(
    space: Space, limits: Limits, results: Results, progress: DesignProgress = lambda *_: None
) -> Designs:
    """Networks, timings and areas of all points.

    Raises ConfigError where no point can be built.
    """
    base, points = with_scheme(space.base, "base"), space.points()
    (reference,) = results.all([StageJob("network", base)])
    if "error" in reference:
        raise ConfigError(f"the unprotected machine: {reference['error']}")
    impossible: Counter[str] = Counter()
    for stage in ("network", "timing"):
        answers, part = _answers(space, points, stage, results, progress), stage_part(space, stage)
        errors = [answers[part(point.values)].get("error") for point in points]
        impossible.update(error for error in errors if error)
        points = [point for point, error in zip(points, errors, strict=True) if not error]
        if not points:
            why, count = impossible.most_common(1)[0]
            raise ConfigError(f"no point of the space can be built; {count:,} points: {why}")
    (plain,) = results.all([StageJob("timing", base)])
    network = shapes_of(results.workload.model, base.arithmetic)
    weight_bytes = sum(weight.size for weight in network.weights.values())
    areas: dict[PointValues, tuple[float, float]] = {}
    keys: dict[PointValues, str] = {}
    designs, timing, area_part = [], stage_part(space, "timing"), stage_part(space, "area")
    accuracy = stage_part(space, accuracy_stage(results.workload.options), "network", "mask")
    for i, point in enumerate(points):
        circuit = area_part(point.values)
        if circuit not in areas:
            areas[circuit] = _area(point.config), depth_over(point.config, base)
            progress("areas", i, len(points))
        area, depth = areas[circuit]
        costs = Costs(answers[timing(point.values)], plain, weight_bytes, depth)
        own = (*accuracy(point.values), point.config.dppu.size > 0)
        if own not in keys:
            text = json.dumps(results.accuracy_of(point.config), sort_keys=True)
            keys[own] = hashlib.sha256(text.encode()).hexdigest()[:16]
        cycles, traffic = costs.cycles(limits.perf), costs.traffic(limits.bandwidth)
        designs.append(Design(point, area, cycles, traffic, keys[own]))
    return Designs(space, limits, designs, impossible)


def _answers(
    space: Space,
    points: Sequence[DesignPoint],
    stage: str,
    results: Results,
    progress: DesignProgress,
) -> dict[PointValues, dict[str, Any]]:
    """Values of the fields that a stage depends on -> its answer."""
    done, jobs = 0, stage_jobs(space, points, stage)

    def step(count: int) -> None:
        nonlocal done
        done += count
        progress(f"{stage}s", done, len(jobs))

    return dict(zip(jobs, results.all(list(jobs.values()), step), strict=True))


def stage_jobs(
    space: Space, points: Sequence[DesignPoint], stage: str
) -> dict[PointValues, StageJob]:
    """Values of the fields that a stage depends on -> its job, each once."""
    part = stage_part(space, stage)
    return {part(point.values): StageJob(stage, point.config) for point in points}


def stage_part(space: Space, *stages: str) -> Callable[[PointValues], PointValues]:
    """A function: the values of a point that stages depend on."""
    names = {name for stage in stages for name in FIELDS[stage]}
    places = [i for i, name in enumerate(space.names) if name in names]
    return lambda values: tuple(values[i] for i in places)


def depth_over(config: Config, base: Config) -> float:
    """Depth of a PE's logic over that of another machine: what its clock period grows by."""
    return pe_row(config).depth / pe_row(base).depth


def _area(config: Config) -> float:
    return machine_area(config).scopes[0].relative - 1


def candidates(designs: Sequence[Design], space: Space) -> tuple[CandidateField, list[Design]]:
    """The accuracy keys of designs, in ascending area, and the cheapest design of each."""
    cheapest: dict[str, Design] = {}
    for design in designs:
        known = cheapest.get(design.key)
        if known is None or design[1:4] < known[1:4]:
            cheapest[design.key] = design
    chosen = sorted(cheapest.values(), key=lambda design: design[1:4])
    found = [
        Candidate(i, space.features(design.point.values), *design[1:4])
        for i, design in enumerate(chosen)
    ]
    return CandidateField(found, _stronger(chosen)), chosen


def _stronger(chosen: Sequence[Design]) -> NDArray[np.bool_]:
    """[i, j]: j protects every bit that i does, by what `PARAMETERS` declares.

    Where ordinary and important neurons of one of the two have the same bits protected, it does not
    matter which are which: then shares and policies need not be compared.
    """
    protections = [design.point.config.protection for design in chosen]
    rows = [
        [
            (1 if row.accuracy > 0 else -1) * _number(design.point.config, name)
            for name, row in PARAMETERS.items()
            if row.accuracy and name != "protection.s_th"
        ]
        for design in chosen
    ]
    bits = np.array(rows, float)
    without = np.array([p.nb_th == p.ib_th or not p.s_th for p in protections])
    share = np.array([p.s_th for p in protections])
    policy = np.array([p.s_policy for p in protections])
    masks = (share[:, None] <= share[None]) & (policy[:, None] == policy[None])
    masks |= without[:, None] | without[None]
    found: NDArray[np.bool_] = (bits[:, None] <= bits[None]).all(-1) & masks
    return found


def _number(config: Config, name: str) -> float:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    assert isinstance(value, int | float)
    return float(value)
