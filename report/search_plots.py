"""A picture of a search (paper, Fig. 15): accuracy over area of what was evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .plots import save_figure


class _Mark(NamedTuple):
    shape: str
    size: float
    colour: str
    what: str


#: What was said of a design -> how it is drawn, the later ones over the earlier.
_MARKS = {
    None: _Mark("o", 4, "#8a8a8a", "evaluated"),
    "missed": _Mark("X", 7, "#b22222", "judged: missed"),
    "open": _Mark("D", 6, "#d98200", "judged: open"),
    "met": _Mark("s", 7, "#2e8b57", "judged: met"),
    "winner": _Mark("*", 14, "#2b6cb0", "winner"),
}


def draw_search(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A panel a problem: evaluations with their errors, what was said of those judged, the goal.

    rows : evaluations of `report.search` or `dse.history`. Accuracy is that of the search, at the
    rate of the first goal.
    """
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(row["problem"] for row in rows))
    figure = Figure(figsize=(5.2 * len(problems), 4.4), layout="constrained")
    panels = figure.subplots(1, len(problems), squeeze=False)[0]
    for axes, problem in zip(panels, problems, strict=True):
        own = [row for row in rows if row["problem"] == problem]
        for said, mark in _MARKS.items():
            _draw(axes, [row for row in own if _said(row) == said], mark)
        allowed = 100 * (1 - own[0]["goal"])
        axes.axhline(allowed, color="#b22222", lw=1, ls="--", label=f"{allowed:.3g} % allowed")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=-0.2)
        axes.invert_yaxis()
        axes.set_xlabel("area overhead of the computing array, %")
        axes.set_ylabel(f"accuracy lost at {own[0]['ber']:g}, % of acc0")
        axes.set_title(problem, fontsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7.5)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _said(row: Mapping[str, Any]) -> str | None:
    found: str | None = "winner" if row["winner"] else row["verdict"]
    return found


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]], mark: _Mark) -> None:
    if not rows:
        return
    axes.errorbar(
        [100 * row["area_overhead"] for row in rows],
        [100 * (1 - row["accuracy"]) for row in rows],
        [100 * row["accuracy_error"] for row in rows],
        fmt=mark.shape,
        ms=mark.size,
        lw=0.8,
        color=mark.colour,
        label=mark.what,
    )
