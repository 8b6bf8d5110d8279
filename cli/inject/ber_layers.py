"""``inject --faults ber --per-layer``: sensitivities, and what protecting by them gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .. import output
from .ber_options import CHOOSE_TRIALS
from .ber_study import Study, size, title

if TYPE_CHECKING:
    from ...faults.ber.results import Counts
    from ...faults.ber.sensitivity import Sensitivity


_SENSITIVITY, _CUMULATIVE = "sensitivity", "cumulative"


def files(file: Path) -> list[Path]:
    """All campaigns that may be kept for a study: study.db, study.cumulative.db, ..."""
    own = [file, _beside(file, _SENSITIVITY)]
    return own + [_beside(one, _CUMULATIVE) for one in own]


def _beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.stem}.{what}{file.suffix}")


def run(study: Study) -> None:
    """Each layer or block alone, then cumulatively in the order found; two campaign files."""
    from ...faults.ber.results import results
    from ...faults.ber.sensitivity import steps

    request, goals = study.request, study.goals()
    single, ranking, curve = _measured(study, request.file, None)
    along = steps(curve)
    report = study.report(
        results=[
            result.to_dict()
            for result in results(single, [goals[case.ber] for case in single.cases])
        ],
        sensitivity=[row.to_dict() for rows in ranking.values() for row in rows],
        cumulative=[step.to_dict() for step in along],
    )
    output.write_json(request.json, report)
    if request.own["plot"] is not None:
        from ...report.ber_plots import draw_sensitivity

        output.write_file(
            request.own["plot"],
            lambda path: draw_sensitivity(
                path,
                title(study),
                report["sensitivity"],
                report["cumulative"],
                (size(single), size(curve)),
            ),
        )
    if request.json == output.STDOUT:
        return
    print(title(study))
    print(f"\nsensitivity: points gained when this alone is protected, {size(single)}")
    output.table(
        ("protected", "ber", "gain"),
        ((r.unit, f"{r.ber:g}", r.gain.brief) for rows in ranking.values() for r in rows),
    )
    print(f"\nprotected one after the other, {size(curve)}")
    output.table(
        ("and", "ber", "accuracy", "points lost"),
        ((s.unit, f"{s.ber:g}", s.accuracy.brief, s.loss.brief) for s in along),
    )
    print()
    study.print_links()


def choose(study: Study, goals: Mapping[float, float]) -> dict[float, tuple[str, ...]]:
    """Rate -> the layers that selective redundancy needs; campaigns beside the study's file."""
    from ...faults.ber.sensitivity import chosen

    file = study.request.file
    patterns = study.request.own["choose_trials"] or CHOOSE_TRIALS
    curve = _measured(study, _beside(file, _SENSITIVITY), patterns)[2]
    return chosen(curve, goals)


def _measured(
    study: Study, file: Path, patterns: int | None
) -> tuple[Counts, dict[float, list[Sensitivity]], Counts]:
    from ...faults.ber.sensitivity import cumulative_cases, ranked, single_cases

    cases = single_cases(study.kit.first.network, study.rates)
    single = study.count(cases, "sensitivity", file, patterns)
    ranking = ranked(single)
    beside = _beside(file, _CUMULATIVE)
    curve = study.count(cumulative_cases(ranking), "sensitivity", beside, patterns)
    return single, ranking, curve
