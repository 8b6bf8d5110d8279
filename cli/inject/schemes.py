"""``inject --faults ber``: schemes at bit error rates, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...config import load_config
from ...errors import FlexhycaError
from .. import output
from .headings import fault_free, print_links, print_scope, title
from .request import Request

if TYPE_CHECKING:
    from ...faults.ber.questions import Contender, SchemeComparison
    from ...faults.ber.results import CaseResult
    from ...faults.ber.study import BerStudy

_SCHEMES = ("base", "tmr_cl")


def report_schemes(request: Request, study: BerStudy) -> None:
    """All schemes at all rates."""
    from ...faults.ber.questions import compare_schemes

    own = request.own
    protect = list(own["protect"] or ())
    contenders = _contenders(request)
    found = compare_schemes(study, contenders, protect, own["choose_trials"], request.file)
    report = study.report(request.name, found.to_dict())
    output.write_json(request.json, report)
    heading = title(study, found.counts)
    if own["plot"] is not None:
        from ...report.ber_plots import draw_scheme_accuracies

        output.write_file(
            own["plot"], lambda path: draw_scheme_accuracies(path, heading, report["results"])
        )
    if request.json == output.STDOUT:
        return
    print(heading)
    _print_results(found.results, fault_free(found.counts))
    if found.differences:
        print("\non the same patterns, points:")
        output.print_table(
            ("scheme", "minus", "ber", "difference"),
            (
                (pair.scheme, pair.than, f"{pair.ber:g}", pair.interval.brief)
                for pair in found.differences
                if pair.next
            ),
        )
    if own["over_images"]:
        _print_over_images(found)
    print()
    print_scope(study, "" if own["over_images"] else "; --over-images has them for others")
    print_links(study)


def _contenders(request: Request) -> list[Contender]:
    """What --scheme names: `tmr_crt1`, or `tmr_cl@CONFIG` of another configuration."""
    from ...config.schemes import with_scheme
    from ...faults.ber.questions import Contender

    labels = list(request.own["scheme"] or _SCHEMES)
    if len(set(labels)) < len(labels):
        raise FlexhycaError(f"scheme: one is given twice in {','.join(labels)}")
    found = []
    for label in labels:
        scheme, _, other = label.partition("@")
        config = load_config(other, request.set_) if other else request.settings
        found.append(Contender(label, scheme, with_scheme(config, scheme)))
    return found


def _print_results(found: Sequence[CaseResult], golden: str) -> None:
    output.print_table(
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


def _print_over_images(found: SchemeComparison) -> None:
    print("\n95 % intervals over patterns and images:")
    output.print_table(
        ("scheme", "ber", "accuracy", "points lost"),
        (
            (
                r.case.scheme,
                f"{r.case.ber:g}",
                r.accuracy_over_images.brief,
                r.loss_over_images.brief,
            )
            for r in found.results
        ),
    )
    if found.differences:
        print()
        output.print_table(
            ("scheme", "minus", "ber", "difference"),
            (
                (pair.scheme, pair.than, f"{pair.ber:g}", pair.over_images.brief)
                for pair in found.differences
                if pair.next
            ),
        )


def _judged(result: CaseResult) -> str:
    assert result.goal is not None
    return f"{100 * result.goal:g} % of acc0: {result.verdict}"


def _layers(names: Sequence[str]) -> str:
    text = ",".join(names)
    return text if len(text) <= 40 else f"{len(names)} layers"
