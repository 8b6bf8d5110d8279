"""A picture of a search (paper, Fig. 15): accuracy over area of what was evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .plots import save_figure

_SIDES = ((True, "#2e8b57", "keeps its goals"), (False, "#7f7f7f", "misses"))


def draw_search(path: Path, report: Mapping[str, Any]) -> None:
    """A panel a problem: evaluations with their errors, those confirmed, the winner, the goal."""
    from matplotlib.figure import Figure

    problems = report["problems"]
    figure = Figure(figsize=(5.2 * len(problems), 4.4), layout="constrained")
    panels = figure.subplots(1, len(problems), squeeze=False)[0]
    for axes, problem in zip(panels, problems, strict=True):
        own = [row for row in report["evaluations"] if row["problem"] == problem["name"]]
        area = [100 * row["area_overhead"] for row in own]
        lost = [100 * (1 - row["accuracy"]) for row in own]
        error = [100 * row["accuracy_error"] for row in own]
        axes.errorbar(area, lost, error, fmt="o", ms=4, lw=0.8, color="#7f7f7f", label="evaluated")
        _mark(axes, problem["confirmations"], "s", "#2b6cb0", "confirmed on other patterns")
        if problem["best"] is not None:
            _mark(axes, [problem["best"]], "*", "#b22222", "winner")
        for goal in problem["goals"][:1]:
            allowed = 100 * (1 - goal["accuracy"])
            axes.axhline(allowed, color="#b22222", lw=1, ls="--", label=f"{allowed:g} % allowed")
        _dress(axes, problem["name"])
    figure.suptitle(f"{report['model']}, space {report['space']}", fontsize=11)
    save_figure(figure, path)


def _mark(axes: Any, rows: list[Mapping[str, Any]], shape: str, colour: str, label: str) -> None:
    size = 160 if shape == "*" else 40
    lost = [100 * (1 - row["goals"][0]["accuracy"]["estimate"]) for row in rows]
    area = [100 * row["area_overhead"] for row in rows]
    axes.scatter(area, lost, size, colour, marker=shape, zorder=3, label=label)


def draw_history(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The same from a study alone: a panel a problem, those within the loss that is allowed."""
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(row["problem"] for row in rows))
    figure = Figure(figsize=(5.2 * len(problems), 4.4), layout="constrained")
    panels = figure.subplots(1, len(problems), squeeze=False)[0]
    for axes, problem in zip(panels, problems, strict=True):
        for kept, colour, label in (
            (True, "#2e8b57", "keeps its goals"),
            (False, "#7f7f7f", "misses"),
        ):
            own = [r for r in rows if r["problem"] == problem and (r["ratio"] <= 1) == kept]
            axes.errorbar(
                [100 * row["area_overhead"] for row in own],
                [100 * (1 - row["accuracy"]) for row in own],
                [100 * row["accuracy_error"] for row in own],
                fmt="o",
                ms=4,
                lw=0.8,
                color=colour,
                label=label,
            )
        _dress(axes, problem)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _dress(axes: Any, title: str) -> None:
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=-0.2)
    axes.invert_yaxis()
    axes.set_xlabel("area overhead of the computing array, %")
    axes.set_ylabel("accuracy lost, % of acc0")
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7.5)
