"""What a study at bit error rates finds out: schemes compared, layers ranked, rates that hurt.

Each question runs its campaigns through a `BerStudy` and gives what they say as numbers with
intervals; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...config import Config
from ...config.schemes import REDUNDANT_SCHEMES, with_scheme
from ...errors import FlexhycaError
from .options import CHOOSING_PATTERNS, Case
from .rates import Rates, find_rates
from .results import CaseResult, Counts, SchemeDifference, differences, results
from .sensitivity import (
    ProtectionStep,
    Sensitivity,
    chosen,
    cumulative_cases,
    protection_steps,
    ranked,
    single_cases,
)
from .study import BerStudy

_SENSITIVITY, _CUMULATIVE = "sensitivity", "cumulative"


def files(file: Path) -> list[Path]:
    """All campaigns that may be kept for a study: study.db, study.cumulative.db, ..."""
    own = [file, _beside(file, _SENSITIVITY)]
    return own + [_beside(one, _CUMULATIVE) for one in own]


def _beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.stem}.{what}{file.suffix}")


# ---- schemes -----------------------------------------------------------------------------------


class Contender(NamedTuple):
    """A scheme in a comparison. label : as it is shown. config : the machine under it."""

    label: str
    scheme: str
    config: Config


@dataclass(frozen=True)
class SchemeComparison:
    """All schemes at all rates, on the same patterns."""

    counts: Counts
    results: list[CaseResult]
    differences: list[SchemeDifference]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "results": [result.to_dict() for result in self.results],
            "differences": [pair.to_dict() for pair in self.differences],
        }


def compare_schemes(
    study: BerStudy,
    contenders: Sequence[Contender],
    protect: Sequence[str],
    choosing_patterns: int | None,
    file: Path,
) -> SchemeComparison:
    """Every contender at every rate.

    protect : layers of redundant schemes beside those of their configurations; without any they
    are chosen by their sensitivity, in campaigns of `choosing_patterns` beside the file.
    """
    goals = study.goals()
    cases = _cases(study, contenders, protect, choosing_patterns, goals, file)
    counts = study.count(cases, "study", file)
    found = results(counts, [goals[case.ber] for case in cases])
    return SchemeComparison(counts, found, differences(counts))


def _cases(
    study: BerStudy,
    contenders: Sequence[Contender],
    protect: Sequence[str],
    choosing_patterns: int | None,
    goals: Mapping[float, float],
    file: Path,
) -> list[Case]:
    """A case for each scheme at each rate; the layers of redundant schemes are measured first."""
    own = {
        one.label: (*protect, *one.config.protection.redundant_layers)
        for one in contenders
        if one.config.protection.redundancy != "none"
    }
    choosing = any(not layers for layers in own.values())
    labels = [one.label for one in contenders]
    _check_layers(labels, protect, choosing_patterns is not None, bool(own), choosing)
    picked: dict[float, tuple[str, ...]] = {}
    if choosing:
        beside, patterns = _beside(file, _SENSITIVITY), choosing_patterns or CHOOSING_PATTERNS
        picked = chosen(_measured(study, beside, patterns)[2], goals)
    cases = []
    for rate in study.rates:
        for label, scheme, config in contenders:
            layers: tuple[str, ...] = ()
            if label in own:
                layers = own[label] or picked[rate]
                config = with_scheme(config, scheme, layers)
            cases.append(Case(label, rate, study.programs.number(config), layers))
    return cases


def _check_layers(
    labels: Sequence[str], protect: Sequence[str], asked: bool, redundant: bool, choosing: bool
) -> None:
    """Refuse --protect and --choose-trials where no scheme would take notice of them."""
    option = "protect" if protect else "choose-trials"
    if not redundant and (protect or asked):
        raise FlexhycaError(
            f"{option}: {','.join(labels)} computes no layer three times; leave it out, or give "
            f"--scheme {' or '.join(REDUNDANT_SCHEMES)}"
        )
    if asked and not choosing:
        raise FlexhycaError("choose-trials: the layers are given; leave it out, or --protect")


# ---- layers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerRanking:
    """Each layer or block alone, then cumulatively in the order found.

    single, curve : the trials of both. ranking : rate -> units, the most sensitive first.
    """

    single: Counts
    results: list[CaseResult]
    ranking: dict[float, list[Sensitivity]]
    curve: Counts
    steps: list[ProtectionStep]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "results": [result.to_dict() for result in self.results],
            "sensitivity": [row.to_dict() for rows in self.ranking.values() for row in rows],
            "cumulative": [step.to_dict() for step in self.steps],
        }


def rank_layers(study: BerStudy, file: Path) -> LayerRanking:
    """What each layer is worth; the cumulative curve is a campaign beside the file."""
    goals = study.goals()
    single, ranking, curve = _measured(study, file, None)
    found = results(single, [goals[case.ber] for case in single.cases])
    return LayerRanking(single, found, ranking, curve, protection_steps(curve))


def _measured(
    study: BerStudy, file: Path, patterns: int | None
) -> tuple[Counts, dict[float, list[Sensitivity]], Counts]:
    cases = single_cases(study.programs.first.network, study.rates)
    single = study.count(cases, "sensitivity", file, patterns)
    ranking = ranked(single)
    beside = _beside(file, _CUMULATIVE)
    curve = study.count(cumulative_cases(ranking), "sensitivity", beside, patterns)
    return single, ranking, curve


# ---- rates -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasuredRates:
    """The rates I' and II' that were found, and what each costs on patterns of its own."""

    rates: Rates
    counts: Counts
    results: list[CaseResult]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rates": {"I'": self.rates.first, "II'": self.rates.second},
            "results": [result.to_dict() for result in self.results],
            "search": [tried.to_dict() for tried in self.rates.tried],
        }

    def outside(self, low: float, high: float) -> list[CaseResult]:
        """Those that lose less or more on these patterns than was looked for."""
        return [r for r in self.results if not low <= r.loss.estimate <= high]


def search_rates(
    study: BerStudy, low: float, high: float, say: Callable[[str], object] = lambda what: None
) -> Rates:
    """I' and II', at which between `low` and `high` (0..1) are lost; from now on the study's."""
    experiment = study.experiment([Case("base", 0.0)], "rates")
    rates = find_rates(experiment.bench, experiment.seed, low, high, say=say)
    study.rates = [rates.first, rates.second]
    return rates


def measure_rates(study: BerStudy, rates: Rates, file: Path) -> MeasuredRates:
    """Both rates without protection, as a campaign of their own patterns."""
    cases = [Case("base", rate) for rate in (rates.first, rates.second)]
    counts = study.count(cases, "study", file)
    return MeasuredRates(rates, counts, results(counts))
