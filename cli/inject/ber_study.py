"""What the flows of ``inject --faults ber`` share: programs, options, rates, goals, FIT."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import FlexhycaError, first_line
from ..busy import busy
from ..campaign import drive
from .kit import Kit
from .request import Request

if TYPE_CHECKING:
    from ...faults.ber.experiment import BerFaults, Purpose
    from ...faults.ber.fit import Exposure
    from ...faults.ber.options import BerOptions, Case
    from ...faults.ber.results import Counts

_RATES = (1e-4, 2e-4)  # the paper's I and II
_GOALS = (0.97, 0.95)  # its goals at these
_TRIALS = 200
_MOST_TRIALS = 10_000  # where a margin decides


class Study:
    """What the runs of one command share: the programs, the options, the rates and their goals."""

    def __init__(self, request: Request, folder: Path) -> None:
        from ...config.schemes import with_scheme
        from ...faults.ber.options import BerOptions

        own = request.own
        _check_device(own["device"])
        self.request = request
        self.options: BerOptions = BerOptions(
            own["ber_stage"],
            own["ber_target"],
            own["weight_faults"],
            own["protected_bits"],
            own["ber_logits"],
            own["ber_input"],
            own["images_per_pattern"],
        )
        with busy() as say:
            say("quantising")
            self.kit = Kit(request, folder)
            self.base = with_scheme(request.settings, "base")
            self.kit.number(self.base)  # the first: its fault-free accuracy is acc0
        self.exposure: Exposure = self._exposure()
        self.rates, self.profile = list(own["ber"] or _RATES), dict[str, float]()
        if own["fit_per_mbit"] is not None:
            self.profile = self.exposure.profile
            self.rates = [self._rate_of(fit) for fit in own["fit_per_mbit"]]
        if len(set(self.rates)) < len(self.rates):
            option = "ber" if own["fit_per_mbit"] is None else "fit-per-mbit"
            given = ",".join(f"{rate:g}" for rate in own[option.replace("-", "_")])
            raise FlexhycaError(f"{option}: a rate is given twice in {given}")

    @property
    def clock_hz(self) -> float:
        """Of --clock-mhz."""
        return float(self.request.own["clock_mhz"]) * 1e6

    def goals(self) -> dict[float, float]:
        """Rate -> accuracy wanted, relative to acc0."""
        given, rates = list(self.request.own["goal"] or ()), self.rates
        text = ",".join(f"{goal:g}" for goal in given)
        if not all(0 < goal <= 1 for goal in given):
            raise FlexhycaError(f"goal {text}: relative accuracies lie between 0 and 1, like 0.97")
        if len(given) not in (0, 1, len(rates)):
            raise FlexhycaError(
                f"goal {text}: {len(given)} goals, and rates are {len(rates)}; "
                "give one goal for all rates, or one for each"
            )
        given = given or list(_GOALS)
        given += given[-1:] * len(rates)
        return dict(zip(rates, given, strict=False))

    def experiment(self, cases: Sequence[Case], purpose: Purpose) -> BerFaults:
        """The campaign of these cases."""
        from ...faults.ber.experiment import BerFaults

        return BerFaults(
            self.kit.paths,
            cases,
            self.kit.images,
            self.kit.labels,
            self.request.seed,
            self.options,
            purpose=purpose,
            profile=self.profile,
            device=self.request.own["device"],
        )

    def count(
        self, cases: Sequence[Case], purpose: Purpose, file: Path, patterns: int | None = None
    ) -> Counts:
        """Run the campaign (or go on with it), and count what its file holds then."""
        from ...faults.ber.results import Counts
        from ...faults.campaign.store import Campaign

        request, margin = self.request, None
        if patterns is None:
            margin = request.margin
            patterns = request.trials or (_TRIALS if margin is None else _MOST_TRIALS)
        experiment = self.experiment(cases, purpose)
        drive(
            experiment,
            file,
            patterns * len(cases),
            request.workers,
            request.dask,
            margin,
            request.kept,
        )
        with Campaign(file) as campaign:
            return Counts(campaign.prefix(), cases, request.seed, self.kit.count)

    def links(self) -> list[dict[str, float]]:
        """What each rate is in FIT."""
        return [
            {
                "ber": rate,
                "fit_per_mbit": self.exposure.fit_per_mbit(rate, self.clock_hz),
                "clock_mhz": self.clock_hz / 1e6,
                "bits": self.exposure.bits,
                "mean_live_cycles": self.exposure.cycles,
            }
            for rate in self.rates
        ]

    def report(self, **results: Any) -> dict[str, Any]:
        """The JSON of every flow."""
        from dataclasses import asdict

        return {
            "campaign": self.request.name,
            "model": self.kit.model.name,
            "config": self.request.settings.name,
            "options": asdict(self.options),
            "seed": self.request.seed,
            **results,
            "fit": self.links(),
        }

    def print_links(self) -> None:
        """One line a rate."""
        live = self.exposure.cycles
        print(f"{self.exposure.bits:,} bits an image live {live:,.0f} cycles on average, so that")
        for link in self.links():
            fit, clock = link["fit_per_mbit"], link["clock_mhz"]
            print(f"  ber {link['ber']:.3g} is {fit:.3g} FIT per Mbit at {clock:g} MHz")

    def _rate_of(self, fit: float) -> float:
        """The mean bit error rate of a raw rate."""
        from ...faults.ber.options import MOST

        rate = self.exposure.ber(fit, self.clock_hz)
        peak = max([1.0, *self.profile.values()])  # of the bits that live longest
        if not 0 <= rate * peak <= MOST:
            most = self.exposure.fit_per_mbit(MOST / peak, self.clock_hz)
            raise FlexhycaError(
                f"fit-per-mbit {fit:g} is outside 0..{most:.2g}: beyond that a bit of this "
                f"network is wrong with more than {MOST:g} at {self.clock_hz / 1e6:g} MHz"
            )
        return rate

    def _exposure(self) -> Exposure:
        from ... import api
        from ...faults.ber.fit import exposure

        program = self.kit.first
        layers = api.simulate(program, values="none").layers
        return exposure(program, layers["cycles"].tolist(), self.options)


def _check_device(device: str) -> None:
    import torch

    if re.fullmatch(r"cpu|cuda(:\d+)?", device) is None:
        raise FlexhycaError(f"device {device!r} is not known; use cpu or cuda")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FlexhycaError(f"device {device!r}: {first_line(error)}; use cpu") from None


def size(counts: Counts) -> str:
    """The trials of an accuracy."""
    return f"{counts.patterns:,} patterns x {int(counts.images[0, 0])} images a case"


def title(study: Study, counts: Counts | None = None) -> str:
    """What stands above tables and pictures; with the trials, where all numbers have the same."""
    trials = "" if counts is None else f"{size(counts)}, "
    return (
        f"{study.kit.model.name}: {trials}95 % intervals over patterns, seed {study.request.seed}"
    )


def fault_free(counts: Counts) -> str:
    """Head of a column of accuracies without faults, in which each image counts once."""
    return f"fault-free, {counts.golden_accuracy(0).trials:,} images"
