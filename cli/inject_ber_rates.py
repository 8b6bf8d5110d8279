"""``inject --faults ber --find-rate``: the rates I' and II' of a network."""

from __future__ import annotations

from ..errors import FlexhycaError
from . import output
from .ber_study import Study, brief, title
from .busy import busy

_PATTERNS = 40  # of the search; what is found is measured with more


def run(study: Study) -> None:
    """Search, then measure both rates as a campaign of their own patterns."""
    from ..faults.ber_options import Case
    from ..faults.ber_rates import find_rates
    from ..faults.ber_results import results

    request = study.request
    wanted = request.own["find_rate"]
    if len(wanted) != 2:
        raise FlexhycaError("find-rate: give two losses in points, such as 10,40")
    low, high = (points / 100 for points in wanted)
    with busy() as say:
        search = study.experiment([Case("base", 0.0)], "rates")
        rates = find_rates(search, low, high, _PATTERNS, say)
    study.rates = list(rates)
    counts = study.count([Case("base", rate) for rate in rates], "study", request.file)
    found = results(counts, [1.0, 1.0])
    report = study.report(
        rates=dict(zip(("I'", "II'"), rates, strict=True)),
        results=[result.to_dict() for result in found],
    )
    output.write_json(request.json, report)
    if request.json != output.STDOUT:
        print(title(study, counts))
        output.table(
            ("rate", "ber", "accuracy", "fault-free", "points lost"),
            (
                (name, f"{r.case.ber:g}", brief(r.accuracy), brief(r.golden), brief(r.loss))
                for name, r in zip(("I'", "II'"), found, strict=True)
            ),
        )
        study.print_links()
    outside = [r for r in found if not low <= r.loss.estimate <= high]
    if outside:
        output.warn(
            f"rate {r.case.ber:g} loses {brief(r.loss)} points, outside {wanted[0]:g} to "
            f"{wanted[1]:g}: with these patterns the search was lucky; give another --seed"
            for r in outside
        )
