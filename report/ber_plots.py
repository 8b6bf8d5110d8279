"""Pictures of accuracy under bit errors (the paper's Figs. 5 to 7), with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .plots import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("#2b6cb0", "#d9730d", "#2e8b57", "#7e57c2", "#b8860b", "#8a8a8a")
Rows = Sequence[Mapping[str, Any]]


def draw_scheme_accuracies(path: Path, title: str, results: Rows) -> None:
    """A group of bars for each rate, a bar for each scheme; lines at acc0 and at the goal.

    results : rows of `inject --json`.
    """
    from matplotlib.figure import Figure

    rates = list(dict.fromkeys(row["ber"] for row in results))
    names = list(dict.fromkeys(row["scheme"] for row in results))
    figure = Figure(figsize=(max(6.0, 1.0 + 0.36 * len(results)), 3.6), layout="constrained")
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    for axes, rate in zip(panels, rates, strict=True):
        rows = [row for row in results if row["ber"] == rate]
        places = [names.index(row["scheme"]) for row in rows]
        values = [100 * row["accuracy"] for row in rows]
        colours = [_COLOURS[min(place, 5)] for place in places]
        axes.bar(places, values, color=colours, yerr=_errors(rows), capsize=3)
        acc0, goal = 100 * rows[0]["acc0"], 100 * rows[0]["acc0"] * rows[0]["goal"]
        axes.axhline(acc0, color="black", linewidth=0.8, label="without faults")
        axes.axhline(goal, color="black", linewidth=0.8, linestyle="--", label="goal")
        labels = [n if len(n) <= 16 else f"{n[:7]}…{n[-8:]}" for n in names]
        axes.set_xticks(range(len(names)), labels, rotation=40, ha="right", fontsize=8)
        axes.set_title(f"bit error rate {rate:g}", fontsize=9)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    low = min(100 * row["interval"][0] for row in results)
    panels[0].set_ylim(max(0.0, low - 5), None)
    panels[0].set_ylabel("accuracy, %", fontsize=9)
    panels[0].legend(fontsize=7.5, loc="lower right")
    _save(figure, path, title)


def draw_sensitivity(
    path: Path, title: str, sensitivity: Rows, cumulative: Rows, trials: tuple[str, str]
) -> None:
    """Left: points gained by protecting one unit; right: accuracy as more are protected.

    trials : of the numbers at the left and at the right, in words.
    """
    from matplotlib.figure import Figure

    rates = list(dict.fromkeys(row["ber"] for row in sensitivity))
    units = sorted({row["unit"] for row in sensitivity}, key=[r["unit"] for r in sensitivity].index)
    figure = Figure(figsize=(11, 1.6 + 0.24 * max(8, len(units))), layout="constrained")
    bars, curve = figure.subplots(1, 2)
    height = 0.8 / len(rates)
    for i, rate in enumerate(rates):
        rows = {row["unit"]: row for row in sensitivity if row["ber"] == rate}
        own = [rows[unit] for unit in units]
        gains = [100 * row["sensitivity"] for row in own]
        errors = [
            [100 * (row["estimate"] - row["low"]) for row in own],
            [100 * (row["high"] - row["estimate"]) for row in own],
        ]
        places = [place + (i + 0.5) * height - 0.4 for place in range(len(units))]
        bars.barh(
            places,
            gains,
            height,
            xerr=errors,
            color=_COLOURS[i % 6],
            error_kw={"elinewidth": 0.8},
            label=f"{rate:g}",
        )
        _draw_curve(curve, [row for row in cumulative if row["ber"] == rate], _COLOURS[i % 6])
    bars.set_yticks(range(len(units)), units, fontsize=8)
    bars.invert_yaxis()
    bars.axvline(0, color="black", linewidth=0.8)
    bars.set_xlabel("points gained by protecting this alone", fontsize=9)
    bars.legend(title="bit error rate", loc="lower right", fontsize=7.5, title_fontsize=7.5)
    curve.set_xlabel("layers or blocks protected, the most sensitive first", fontsize=9)
    curve.set_ylabel("accuracy, %", fontsize=9)
    for axes, counted in zip((bars, curve), trials, strict=True):
        axes.set_title(counted, fontsize=8)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
    _save(figure, path, title)


def draw_rates(
    path: Path,
    title: str,
    tried: Rows,
    found: Rows,
    goals: tuple[float, float],
    trials: str,
) -> None:
    """Points lost over the rate: all that were tried, the band of `goals`, and what was found.

    tried : rows of `search` of `inject --json`. found : of `results`; I' and II'. goals : points.
    trials : of the numbers of `tried`, in words.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(*goals, color="#2e8b57", alpha=0.12, label=f"{goals[0]:g} to {goals[1]:g} points")
    _draw_losses(axes, tried, [row["ber"] for row in tried], _COLOURS[5], f"search, {trials}")
    for i, (name, row) in enumerate(zip(("I'", "II'"), found, strict=True)):
        rate, loss = row["ber"], row["details"]["loss"]
        axes.axvline(rate, color=_COLOURS[i], linewidth=0.8, linestyle="--")
        _draw_losses(axes, [loss], [rate], _COLOURS[i], f"{name} = {rate:g}", marker="D")
    axes.set_xscale("log")
    axes.set_xlabel("bit error rate", fontsize=9)
    axes.set_ylabel("points of accuracy lost", fontsize=9)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7.5, loc="upper left")
    _save(figure, path, title)


def _draw_losses(
    axes: Axes, rows: Rows, rates: Sequence[float], colour: str, label: str, marker: str = "o"
) -> None:
    losses = [100 * row["estimate"] for row in rows]
    errors = [
        [100 * (row["estimate"] - row["low"]) for row in rows],
        [100 * (row["high"] - row["estimate"]) for row in rows],
    ]
    axes.errorbar(
        *(rates, losses, errors),
        marker=marker,
        markersize=4,
        linewidth=0.8,
        capsize=3,
        color=colour,
        label=label,
    )


def _draw_curve(axes: Axes, rows: Rows, colour: str) -> None:
    at = range(len(rows))
    axes.plot(at, [100 * row["accuracy"] for row in rows], marker="o", markersize=3, color=colour)
    low, high = ([100 * row[side] for row in rows] for side in ("low", "high"))
    axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)


def _errors(rows: Rows) -> list[list[float]]:
    return [
        [100 * (row["accuracy"] - row["interval"][0]) for row in rows],
        [100 * (row["interval"][1] - row["accuracy"]) for row in rows],
    ]


def _save(figure: Figure, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=9)
    save_figure(figure, path)
