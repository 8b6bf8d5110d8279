"""What the campaigns of one question at bit error rates share: programs, options, rates, goals.

`questions` has the questions: which scheme meets its goal, which layers a network cannot do
without, and at what rates its errors cost something.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ...config import Config
from ...config.schemes import with_scheme
from ...errors import FlexhycaError, first_line
from ...network.layers import Network
from ...simulator.run import simulate
from ..campaign.experiment import Experiment
from ..campaign.store import Campaign
from .experiment import BerFaults, Purpose
from .fit import Exposure, exposure
from .machine import memories
from .options import MOST, BerOptions, Case
from .programs import ProgramSet
from .results import Counts

#: Runs a campaign: the experiment, its file, the trials, and the margin at which it may stop.
Drive = Callable[[Experiment, Path, int, float | None], object]

RATES = (1e-4, 2e-4)  # the paper's I and II
GOALS = (0.97, 0.95)  # its goals at these
_PATTERNS = 200
_MOST_PATTERNS = 10_000  # where a margin decides


@dataclass(frozen=True)
class StudyOptions:
    """What is asked of a study. ber : what may flip.

    rates : bit error rates; fits : raw rates in FIT per Mbit instead, at `clock_hz`. goals :
    accuracies wanted, relative to the fault-free one, one for all rates or one for each; none :
    the paper's. patterns, margin : as many patterns, or until the intervals are so narrow.
    device : where torch computes. layers, memories : names (with wildcards; `CODES`), whose bits
    alone may be wrong; (): all.
    """

    ber: BerOptions
    rates: Sequence[float] | None = None
    fits: Sequence[float] | None = None
    clock_hz: float = 1e9
    goals: Sequence[float] = ()
    patterns: int | None = None
    margin: float | None = None
    device: str = "cpu"
    layers: Sequence[str] = ()
    memories: Sequence[str] = ()


class BerStudy:
    """A network under bit errors; its campaigns are run by `drive`."""

    def __init__(
        self, programs: ProgramSet, config: Config, options: StudyOptions, seed: int, drive: Drive
    ) -> None:
        """config : the machine, whose unprotected program comes first and is the reference."""
        self.programs, self.config, self.options = programs, config, options
        self.seed, self._drive = seed, drive
        programs.number(with_scheme(config, "base"))  # its fault-free accuracy is acc0
        layers = simulate(programs.first, values="none").layers
        cycles = layers["cycles"].tolist()
        self.exposure: Exposure = exposure(programs.first, cycles, options.ber)
        self.rates, self.profile = list(options.rates or RATES), dict[str, float]()
        if options.fits is not None:
            self.profile = self.exposure.profile
            self.rates = [self._rate_of(fit) for fit in options.fits]
        self.profile = narrowed(programs.first.network, self.profile, options)
        if len(set(self.rates)) < len(self.rates):
            given, option = options.fits, "fit-per-mbit"
            if given is None:
                given, option = options.rates or (), "ber"
            shown = ",".join(f"{rate:g}" for rate in given)
            raise FlexhycaError(f"{option}: a rate is given twice in {shown}")
        self.goals()  # refused before anything runs

    def goals(self) -> dict[float, float]:
        """Rate -> accuracy wanted, relative to acc0."""
        given, rates = list(self.options.goals), self.rates
        text = ",".join(f"{goal:g}" for goal in given)
        if not all(0 < goal <= 1 for goal in given):
            raise FlexhycaError(f"goal {text}: relative accuracies lie between 0 and 1, like 0.97")
        if len(given) not in (0, 1, len(rates)):
            raise FlexhycaError(
                f"goal {text}: {len(given)} goals, and rates are {len(rates)}; "
                "give one goal for all rates, or one for each"
            )
        given = given or list(GOALS)
        given += given[-1:] * len(rates)
        return dict(zip(rates, given, strict=False))

    def experiment(self, cases: Sequence[Case], purpose: Purpose) -> BerFaults:
        """The campaign of these cases."""
        return BerFaults(
            self.programs.paths,
            cases,
            self.programs.inputs,
            self.programs.labels,
            self.seed,
            self.options.ber,
            purpose=purpose,
            profile=self.profile,
            device=self.options.device,
        )

    def count(
        self, cases: Sequence[Case], purpose: Purpose, file: Path, patterns: int | None = None
    ) -> Counts:
        """Run the campaign (or go on with it), and count what its file holds then.

        patterns : instead of the study's own, without a margin.
        """
        margin = None
        if patterns is None:
            margin = self.options.margin
            usual = _PATTERNS if margin is None else _MOST_PATTERNS
            patterns = self.options.patterns or usual
        experiment = self.experiment(cases, purpose)
        self._drive(experiment, file, patterns * len(cases), margin)
        with Campaign(file) as campaign:
            rows = list(campaign.prefix())
        drawn = experiment.pattern_images(len(rows) // len(cases))
        return Counts(rows, cases, self.seed, self.programs.images, drawn)

    def links(self) -> list[dict[str, float]]:
        """What each rate is in FIT."""
        clock_hz = self.options.clock_hz
        return [
            {
                "ber": rate,
                "fit_per_mbit": self.exposure.fit_per_mbit(rate, clock_hz),
                "clock_mhz": clock_hz / 1e6,
                "bits": self.exposure.bits,
                "mean_live_cycles": self.exposure.cycles,
            }
            for rate in self.rates
        ]

    def report(self, campaign: str | None, found: Mapping[str, Any]) -> dict[str, Any]:
        """For JSON: what was asked, and what was found. campaign : the file, where it is kept."""
        return {
            "campaign": campaign,
            "model": self.programs.model.name,
            "config": self.config.name,
            "options": asdict(self.options.ber),
            "seed": self.seed,
            **found,
            "fit": self.links(),
        }

    def _rate_of(self, fit: float) -> float:
        """The mean bit error rate of a raw rate."""
        clock_hz = self.options.clock_hz
        rate = self.exposure.ber(fit, clock_hz)
        peak = max([1.0, *self.profile.values()])  # of the bits that live longest
        if not 0 <= rate * peak <= MOST:
            most = self.exposure.fit_per_mbit(MOST / peak, clock_hz)
            raise FlexhycaError(
                f"fit-per-mbit {fit:g} is outside 0..{most:.2g}: beyond that a bit of this "
                f"network is wrong with more than {MOST:g} at {clock_hz / 1e6:g} MHz"
            )
        return rate


def narrowed(
    network: Network, profile: Mapping[str, float], options: StudyOptions
) -> dict[str, float]:
    """A profile in which all bits but those of some layers and memories are never wrong."""
    there = memories(network, options.ber)
    names = [network.layers[i].name for i in sorted(network.weights)]
    for what, given, known in (
        ("register", options.memories, list(there)),
        ("layers", options.layers, names),
    ):
        for pattern in given:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise FlexhycaError(
                    f"{what} {pattern!r} is nothing that has bit errors here; use "
                    f"{', '.join(known)}"
                )
    found = dict(profile)
    for memory in there:
        left = not options.memories or memory in options.memories
        if memory == "input":  # of no layer
            if not left or options.layers:
                found["input"] = 0.0
            continue
        for name in names:
            of_layer = not options.layers or any(fnmatchcase(name, p) for p in options.layers)
            if not (left and of_layer):
                found[f"{memory}/{name}"] = 0.0
    return found


def check_device(device: str) -> None:
    """Refuse a device that torch does not have, before anything is computed."""
    import torch

    if re.fullmatch(r"cpu|cuda(:\d+)?", device) is None:
        raise FlexhycaError(f"device {device!r} is not known; use cpu or cuda")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FlexhycaError(f"device {device!r}: {first_line(error)}; use cpu") from None
