"""``inject --faults ber --find-rate``: the rates I' and II' of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import FlexhycaError
from .. import output
from ..busy import busy
from .headings import fault_free, print_links, print_scope, title
from .request import Request

if TYPE_CHECKING:
    from ...faults.ber.study import BerStudy


def report_rates(request: Request, study: BerStudy) -> None:
    """Search, then measure both rates as a campaign of their own patterns."""
    from ...faults.ber.questions import measure_rates, search_rates
    from ...faults.ber.rates import SEARCH_PATTERNS

    wanted = request.own["find_rate"]
    if len(wanted) != 2:
        raise FlexhycaError("find-rate: give two losses in points, such as 10,40")
    low, high = (points / 100 for points in wanted)
    with busy() as say:
        rates = search_rates(study, low, high, say)
    found = measure_rates(study, rates, request.file)
    report = study.report(request.name, found.to_dict())
    output.write_json(request.json, report)
    heading = title(study, found.counts)
    if request.own["plot"] is not None:
        from ...report.ber_plots import draw_rates

        searched = f"{SEARCH_PATTERNS} patterns x {int(found.counts.images[0, 0])} images"
        output.write_file(
            request.own["plot"],
            lambda path: draw_rates(
                path,
                heading,
                report["search"],
                report["results"],
                (wanted[0], wanted[1]),
                searched,
            ),
        )
    if request.json != output.STDOUT:
        print(heading)
        output.print_table(
            ("rate", "ber", "accuracy", fault_free(found.counts), "points lost"),
            (
                (name, f"{r.case.ber:g}", r.accuracy.brief, r.golden.brief, r.loss.brief)
                for name, r in zip(("I'", "II'"), found.results, strict=True)
            ),
        )
        print_scope(study)
        print_links(study)
    output.warn(
        f"rate {r.case.ber:g} loses {r.loss.brief} points, outside {wanted[0]:g} to "
        f"{wanted[1]:g}: with these patterns the search was lucky; give another --seed"
        for r in found.outside(low, high)
    )
