"""``flexhyca inject --faults ber``: schemes at bit error rates, pair by pair."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Config, load_config
from ..errors import FlexhycaError
from . import output
from .ber_study import Study, brief, title
from .inject_request import Request
from .options import check_suffix

if TYPE_CHECKING:
    from ..faults.ber_options import Case
    from ..faults.ber_results import Result

#: Options of `inject` that only this model has.
OPTIONS = frozenset(
    {
        *("ber", "fit_per_mbit", "clock_mhz", "goal", "per_layer", "find_rate", "choose_trials"),
        *("ber_stage", "ber_target", "weight_faults", "protected_bits", "ber_logits", "ber_input"),
        *("images_per_pattern", "device", "plot"),
    }
)
_SCHEMES = ("base", "tmr_cl")


def run(request: Request) -> None:
    """--faults ber, in one of its flows."""
    from . import inject_ber_layers, inject_ber_rates

    own, plot = request.own, request.own["plot"]
    check_suffix("--plot", plot, ".png", ".svg", ".pdf")
    output.check_target(request.json, plot, study=request.file)
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
