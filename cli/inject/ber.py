"""``flexhyca inject --faults ber``: schemes at bit error rates, pair by pair."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...config import Config, load_config
from ...errors import FlexhycaError
from .. import output
from ..options import check_suffix
from .ber_study import Study, fault_free, title
from .request import Request

if TYPE_CHECKING:
    from ...faults.ber.options import Case
    from ...faults.ber.results import Result

#: Options of `inject` that mean something in each flow of this model, but for those of all.
FIND_RATE = frozenset(
    {
        *("ber_stage", "ber_target", "weight_faults", "protected_bits", "ber_logits", "ber_input"),
        *("images_per_pattern", "device", "plot", "clock_mhz", "find_rate"),
    }
)
PER_LAYER = FIND_RATE - {"find_rate"} | {"ber", "fit_per_mbit", "goal", "per_layer"}
COMPARE = PER_LAYER - {"per_layer"} | {"scheme", "protect", "choose_trials"}
_SCHEMES = ("base", "tmr_cl")


def run(request: Request) -> None:
    """--faults ber, in one of its flows."""
    from . import ber_layers, ber_rates

    own, plot = request.own, request.own["plot"]
    check_suffix("--plot", plot, ".png", ".svg", ".pdf")
    output.check_target(request.json, plot, studies=ber_layers.files(request.file))
    if own["ber"] is not None and own["fit_per_mbit"] is not None:
        raise FlexhycaError("inject: give either --ber or --fit-per-mbit")
    with tempfile.TemporaryDirectory() as folder:
        study = Study(request, Path(folder))
        if own["find_rate"] is not None:
            ber_rates.run(study)
        elif own["per_layer"]:
            ber_layers.run(study)
        else:
            _compare(study)


def _compare(study: Study) -> None:
    """All schemes at all rates."""
    from ...faults.ber.results import differences, results

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
        from ...report.ber_plots import draw_schemes

        output.write_file(
            request.own["plot"],
            lambda path: draw_schemes(path, title(study, counts), report["results"]),
        )
    if request.json == output.STDOUT:
        return
    print(title(study, counts))
    _print_results(found, fault_free(counts))
    if pairs:
        print("\non the same patterns, points:")
        output.table(
            ("scheme", "minus", "ber", "difference"),
            ((p.scheme, p.than, f"{p.ber:g}", p.interval.brief) for p in pairs if p.next),
        )
    print()
    study.print_links()


def _cases(study: Study, goals: dict[float, float]) -> list[Case]:
    """A case for each scheme at each rate; the layers of redundant schemes are measured first."""
    from ...config.schemes import with_scheme
    from ...faults.ber.options import Case
    from . import ber_layers

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
    choosing = any(not layers for layers in own.values())
    _check_layers(labels, protect, request.own["choose_trials"] is not None, bool(own), choosing)
    chosen = ber_layers.choose(study, goals) if choosing else {}
    cases = []
    for rate in study.rates:
        for label, config in configs.items():
            layers: tuple[str, ...] = ()
            if label in own:
                layers = own[label] or chosen[rate]
                config = with_scheme(config, label.partition("@")[0], layers)
            cases.append(Case(label, rate, study.kit.number(config), layers))
    return cases


def _check_layers(
    labels: Sequence[str], protect: Sequence[str], asked: bool, redundant: bool, choosing: bool
) -> None:
    """Refuse --protect and --choose-trials where no scheme would take notice of them."""
    option = "protect" if protect else "choose-trials"
    if not redundant and (protect or asked):
        raise FlexhycaError(
            f"{option}: {','.join(labels)} computes no layer three times; leave it out, or give "
            "--scheme tmr_arch or tmr_alg"
        )
    if asked and not choosing:
        raise FlexhycaError("choose-trials: the layers are given; leave it out, or --protect")


def _config_of(label: str, request: Request) -> Config:
    """What `tmr_crt1` or `tmr_cl@CONFIG` names."""
    from ...config.schemes import with_scheme

    name, _, other = label.partition("@")
    config = load_config(other, request.set_) if other else request.settings
    return with_scheme(config, name)


def _print_results(found: Sequence[Result], golden: str) -> None:
    output.table(
        ("scheme", "ber", "accuracy", golden, "points lost", "goal", "protected layers"),
        (
            (
                r.case.scheme,
                f"{r.case.ber:g}",
                r.accuracy.brief,
                r.golden.brief,
                r.loss.brief,
                _judged(r),
                _layers(r.case.protect),
            )
            for r in found
        ),
    )


def _judged(result: Result) -> str:
    assert result.goal is not None
    return f"{100 * result.goal:g} % of acc0: {result.verdict}"


def _layers(names: Sequence[str]) -> str:
    text = ",".join(names)
    return text if len(text) <= 40 else f"{len(names)} layers"
