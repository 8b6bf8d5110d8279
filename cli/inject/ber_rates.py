"""``inject --faults ber --find-rate``: the rates I' and II' of a network."""

from __future__ import annotations

from ...errors import FlexhycaError
from .. import output
from ..busy import busy
from .ber_study import Study, fault_free, title

_PATTERNS = 40  # of the search; what is found is measured with more


def run(study: Study) -> None:
    """Search, then measure both rates as a campaign of their own patterns."""
    from ...faults.ber.options import Case
    from ...faults.ber.rates import find_rates
    from ...faults.ber.results import results

    request = study.request
    wanted = request.own["find_rate"]
    if len(wanted) != 2:
        raise FlexhycaError("find-rate: give two losses in points, such as 10,40")
    low, high = (points / 100 for points in wanted)
    with busy() as say:
        search = study.experiment([Case("base", 0.0)], "rates")
        rates = find_rates(search, low, high, _PATTERNS, say)
    study.rates = [rates.first, rates.second]
    counts = study.count([Case("base", rate) for rate in study.rates], "study", request.file)
    found = results(counts)
    report = study.report(
        rates={"I'": rates.first, "II'": rates.second},
        results=[result.to_dict() for result in found],
        search=[tried.to_dict() for tried in rates.tried],
    )
    output.write_json(request.json, report)
    if request.own["plot"] is not None:
        from ...report.ber_plots import draw_rates

        searched = f"{_PATTERNS} patterns x {int(counts.images[0, 0])} images"
        output.write_file(
            request.own["plot"],
            lambda path: draw_rates(
                path,
                title(study, counts),
                report["search"],
                report["results"],
                (wanted[0], wanted[1]),
                searched,
            ),
        )
    if request.json != output.STDOUT:
        print(title(study, counts))
        output.table(
            ("rate", "ber", "accuracy", fault_free(counts), "points lost"),
            (
                (
                    name,
                    f"{r.case.ber:g}",
                    r.accuracy.brief,
                    r.golden.brief,
                    r.loss.brief,
                )
                for name, r in zip(("I'", "II'"), found, strict=True)
            ),
        )
        study.print_links()
    outside = [r for r in found if not low <= r.loss.estimate <= high]
    if outside:
        output.warn(
            f"rate {r.case.ber:g} loses {r.loss.brief} points, outside {wanted[0]:g} to "
            f"{wanted[1]:g}: with these patterns the search was lucky; give another --seed"
            for r in outside
        )
