"""``flexhyca inject --faults ber``: schemes at bit error rates, pair by pair."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config, load_config
from ..errors import FlexhycaError, first_line
from . import output
from .busy import busy
from .campaign import drive
from .inject_kit import Kit
from .inject_request import Request
from .options import check_suffix

if TYPE_CHECKING:
    from ..faults.ber import BerFaults, Purpose
    from ..faults.ber_options import BerOptions, Case
    from ..faults.ber_results import Counts, Result
    from ..faults.fit import Exposure
    from ..faults.statistics import Interval

#: Options of `inject` that only this model has.
OPTIONS = frozenset(
    {
        *("ber", "fit_per_mbit", "clock_mhz", "goal", "per_layer", "find_rate", "choose_trials"),
        *("ber_stage", "ber_target", "weight_faults", "protected_bits", "ber_logits", "ber_input"),
        *("images_per_pattern", "device", "plot"),
    }
)
_RATES = (1e-4, 2e-4)  # the paper's I and II
_GOALS = (0.97, 0.95)  # its goals at these
_SCHEMES = ("base", "tmr_cl")
_TRIALS = 200
_MOST_TRIALS = 10_000  # where a margin decides


class Study:
    """What the runs of one command share: the programs, the options, the rates and their goals."""

    def __init__(self, request: Request, folder: Path) -> None:
        from ..config.schemes import with_scheme
        from ..faults.ber_options import BerOptions

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
            self.rates = [self.exposure.ber(fit, self.clock_hz) for fit in own["fit_per_mbit"]]
            self.profile = self.exposure.profile
        if len(set(self.rates)) < len(self.rates):
            raise FlexhycaError(f"ber: a rate is given twice in {self.rates}")

    @property
    def clock_hz(self) -> float:
        """Of --clock-mhz."""
        return float(self.request.own["clock_mhz"]) * 1e6

    def goals(self) -> dict[float, float]:
        """Rate -> accuracy wanted, relative to acc0."""
        given = list(self.request.own["goal"] or _GOALS)
        if not all(0 < goal <= 1 for goal in given):
            raise FlexhycaError(f"goal {given}: relative accuracies lie between 0 and 1, like 0.97")
        given += given[-1:] * len(self.rates)
        return dict(zip(self.rates, given, strict=False))

    def experiment(self, cases: Sequence[Case], purpose: Purpose) -> BerFaults:
        """The campaign of these cases."""
        from ..faults.ber import BerFaults

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
        from ..faults.ber_results import Counts
        from ..faults.store import Campaign

        request, margin = self.request, None
        if patterns is None:
            margin = request.margin
            patterns = request.trials or (_TRIALS if margin is None else _MOST_TRIALS)
        experiment = self.experiment(cases, purpose)
        drive(experiment, file, patterns * len(cases), request.workers, request.dask, margin)
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
            "campaign": str(self.request.file),
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

    def _exposure(self) -> Exposure:
        from .. import api
        from ..faults.fit import exposure

        program = self.kit.first
        layers = api.simulate(program, values="none").layers
        return exposure(program, layers["cycles"].tolist(), self.options)


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise FlexhycaError(f"device {device!r}: {first_line(error)}; use cpu or cuda") from None


def run(request: Request) -> None:
    """--faults ber, in one of its flows."""
    from . import inject_ber_layers, inject_ber_rates

    own, plot = request.own, request.own["plot"]
    check_suffix("--plot", plot, ".png", ".svg", ".pdf")
    output.check_target(request.json, request.file, plot)
    if own["ber"] is not None and own["fit_per_mbit"] is not None:
        raise FlexhycaError("inject: give either --ber or --fit-per-mbit")
    if own["per_layer"] and own["find_rate"] is not None:
        raise FlexhycaError("inject: give either --per-layer or --find-rate")
    with tempfile.TemporaryDirectory() as folder:
        study = Study(request, Path(folder))
        if own["find_rate"] is not None:
            inject_ber_rates.run(study)
        elif own["per_layer"]:
            inject_ber_layers.run(study)
        else:
            _compare(study)


def _compare(study: Study) -> None:
    """All schemes at all rates."""
    from ..faults.ber_results import differences, results

    request, goals = study.request, study.goals()
    cases = _cases(study, goals)
    counts = study.count(cases, "study", request.file)
    found = results(counts, [goals[case.ber] for case in cases])
    pairs = differences(counts)
    report = study.report(
        results=[result.to_dict() for result in found],
        differences=[pair.to_dict() for pair in pairs],
    )
    output.write_json(request.json, report)
    if request.own["plot"] is not None:
        from ..report.ber_plots import draw_schemes

        output.write_file(
            request.own["plot"],
            lambda path: draw_schemes(path, title(study, counts), report["results"]),
        )
    if request.json == output.STDOUT:
        return
    print(title(study, counts))
    _print_results(found)
    if pairs:
        print("\non the same patterns, points:")
        output.table(
            ("scheme", "minus", "ber", "difference"),
            ((p.scheme, p.than, f"{p.ber:g}", brief(p.interval)) for p in pairs if p.next),
        )
    print()
    study.print_links()


def _cases(study: Study, goals: dict[float, float]) -> list[Case]:
    """A case for each scheme at each rate; the layers of redundant schemes are measured first."""
    from ..config.schemes import with_scheme
    from ..faults.ber_options import Case
    from . import inject_ber_layers

    request = study.request
    labels = list(request.own["scheme"] or _SCHEMES)
    if len(set(labels)) < len(labels):
        raise FlexhycaError(f"scheme: one is given twice in {','.join(labels)}")
    configs = {label: _config_of(label, request) for label in labels}
    protect = list(request.own["protect"] or ())
    own = {
        label: (*protect, *config.protection.redundant_layers)
        for label, config in configs.items()
        if config.protection.redundancy != "none"
    }
    chosen: dict[float, tuple[str, ...]] = {}
    if any(not layers for layers in own.values()):
        chosen = inject_ber_layers.choose(study, goals)
    cases = []
    for rate in study.rates:
        for label, config in configs.items():
            layers: tuple[str, ...] = ()
            if label in own:
                layers = own[label] or chosen[rate]
                config = with_scheme(config, label.partition("@")[0], layers)
            cases.append(Case(label, rate, study.kit.number(config), layers))
    return cases


def _config_of(label: str, request: Request) -> Config:
    """What `tmr_crt1` or `tmr_cl@CONFIG` names."""
    from ..config.schemes import with_scheme

    name, _, other = label.partition("@")
    config = load_config(other, request.set_) if other else request.settings
    return with_scheme(config, name)


def brief(interval: Interval) -> str:
    """Without trials and seed, which stand above the table."""
    return str(interval).partition(" (")[0].replace(" points", "")


def title(study: Study, counts: Counts) -> str:
    """What stands above a table and a picture: trials and seed of all their numbers."""
    images = int(counts.images[0, 0])
    return (
        f"{study.kit.model.name}: {counts.patterns:,} patterns x {images} images a case, 95 % "
        f"intervals over patterns, seed {counts.seed}"
    )


def _print_results(found: Sequence[Result]) -> None:
    output.table(
        ("scheme", "ber", "accuracy", "fault-free", "points lost", "goal", "protected layers"),
        (
            (
                r.case.scheme,
                f"{r.case.ber:g}",
                brief(r.accuracy),
                brief(r.golden),
                brief(r.loss),
                f"{100 * r.goal:g} % of acc0: {r.verdict}",
                _layers(r.case.protect),
            )
            for r in found
        ),
    )


def _layers(names: Sequence[str]) -> str:
    text = ",".join(names)
    return text if len(text) <= 40 else f"{len(names)} layers"
