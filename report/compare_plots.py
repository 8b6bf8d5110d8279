"""A picture of machines side by side: accuracy over area, time and traffic (Figs. 7, 8 and 15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from .plots import save_figure

_PARTS = {
    "extra_tables": ("position tables", "#b3cde3"),
    "extra_operands": ("operands of the DPPU", "#d9730d"),
    "extra_instructions": ("instructions", "#b8860b"),
    "extra_other": ("ifmaps, weights, results", "#2b6cb0"),
}
_VERDICTS = {"met": "#2e8b57", "open": "#b8860b", "missed": "#b22222"}
_SHAPES = "os^vD<>PX*phd8H1234"
_LIMIT = {"color": "#b22222", "lw": 1, "ls": "--"}


def draw_comparison(path: Path, title: str, report: Mapping[str, Any]) -> None:
    """A panel a rate with accuracy over area, then bars of cycles and of traffic by its cause."""
    from matplotlib.figure import Figure

    rows = [row for row in report["rows"] if row["reason"] is None]
    rates = len(rows[0]["rates"])
    figure = Figure(figsize=(11, 8.6 if rates else 4.4), layout="constrained")
    parts: Any = figure.subfigures(2, 1) if rates else [figure]
    if rates:
        panels = parts[0].subplots(1, rates, squeeze=False)[0]
        for number, axes in enumerate(panels):
            _draw_rate(axes, rows, number)
        _name_shapes(parts[0], rows)
    time, traffic = parts[-1].subplots(1, 2)
    _draw_time(time, rows, report["limits"])
    _draw_traffic(traffic, rows, report["limits"])
    for axes in (time, traffic):
        axes.set_xticks(
            range(len(rows)), [row["name"] for row in rows], rotation=40, ha="right", fontsize=8
        )
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize=7.5)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _draw_rate(axes: Any, rows: Sequence[Mapping[str, Any]], number: int) -> None:
    """Accuracy that is lost, with its interval, over area: a shape a row, its verdict's colour."""
    for row, shape in zip(rows, cycle(_SHAPES)):
        own = row["rates"][number]
        lost, low, high = (100 * (1 - own["accuracy"][k]) for k in ("estimate", "high", "low"))
        axes.errorbar(
            [100 * row["area_overhead"]],
            [lost],
            [[lost - low], [high - lost]],
            fmt=shape,
            ms=6,
            elinewidth=1,
            capsize=3,
            color=_VERDICTS[own["verdict"]],
        )
    rate = rows[0]["rates"][number]
    allowed = 100 * (1 - rate["goal"])
    line = axes.axhline(allowed, **_LIMIT, label=f"{allowed:g} % allowed")
    patches = [
        axes.plot([], [], "o", color=colour, label=verdict)[0]
        for verdict, colour in _VERDICTS.items()
    ]
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(bottom=-0.3)
    axes.invert_yaxis()
    axes.set_xlabel("area overhead of the computing array, %", fontsize=9)
    axes.set_ylabel("accuracy lost, % of acc0", fontsize=9)
    axes.set_title(f"bit error rate {rate['ber']:g}, 95 % intervals for these images", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(handles=[line, *patches], fontsize=7.5)


def _name_shapes(figure: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Which shape is which row, at the side of the panels."""
    from matplotlib.lines import Line2D

    shapes = [
        Line2D([], [], ls="", marker=shape, color="#555555", label=row["name"])
        for row, shape in zip(rows, cycle(_SHAPES))
    ]
    figure.legend(handles=shapes, loc="outside right center", fontsize=8)


def _draw_time(axes: Any, rows: Sequence[Mapping[str, Any]], limits: Mapping[str, Any]) -> None:
    at = range(len(rows))
    values = [row["cycles_over_base"] for row in rows]
    bars = axes.bar(at, values, color="#2e8b57", label="cycles")
    axes.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=7)
    times = [row["time_over_base"] for row in rows]
    axes.plot(at, times, "_", ms=14, color="#7e57c2", label="time (cycles x depth of the PE)")
    if limits["cycles"] is not None:
        axes.axhline(limits["cycles"], **_LIMIT, label=f"limit {limits['cycles']:g}")
    axes.set_title("cycles / cycles of base", fontsize=10)


def _draw_traffic(axes: Any, rows: Sequence[Mapping[str, Any]], limits: Mapping[str, Any]) -> None:
    tops, feet = [0.0] * len(rows), [0.0] * len(rows)
    for part, (label, colour) in _PARTS.items():
        values = [row[part] for row in rows]
        starts = [f if v < 0 else t for v, t, f in zip(values, tops, feet, strict=True)]
        axes.bar(range(len(rows)), values, bottom=starts, color=colour, label=label)
        tops = [t + max(v, 0) for v, t in zip(values, tops, strict=True)]
        feet = [f + min(v, 0) for v, f in zip(values, feet, strict=True)]
    axes.set_title("extra DRAM bytes / bytes of the weights", fontsize=10)
    if limits["traffic"] is not None and limits["bandwidth"] == "weights":
        axes.axhline(limits["traffic"], **_LIMIT, label=f"limit {limits['traffic']:g}")
