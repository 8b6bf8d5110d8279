"""``inject --faults ber --per-layer``: sensitivities, and what protecting by them gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import output
from .headings import print_links, print_scope, size, title
from .request import Request

if TYPE_CHECKING:
    from ...faults.ber.study import BerStudy


def report_layers(request: Request, study: BerStudy) -> None:
    """Each layer or block alone, then cumulatively in the order found; two campaign files."""
    from ...faults.ber.questions import rank_layers

    found = rank_layers(study, request.file)
    report = study.report(request.name, found.to_dict())
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
                (size(found.single), size(found.curve)),
            ),
        )
    if request.json == output.STDOUT:
        return
    print(title(study))
    print(f"\nsensitivity: points gained when this alone is protected, {size(found.single)}")
    output.print_table(
        ("protected", "ber", "gain"),
        ((r.unit, f"{r.ber:g}", r.gain.brief) for rows in found.ranking.values() for r in rows),
    )
    print(f"\nprotected one after the other, {size(found.curve)}")
    output.print_table(
        ("and", "ber", "accuracy", "points lost"),
        ((s.unit, f"{s.ber:g}", s.accuracy.brief, s.loss.brief) for s in found.steps),
    )
    print()
    print_scope(study)
    print_links(study)
