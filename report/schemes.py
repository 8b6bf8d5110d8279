"""A picture of what protection schemes cost (`dse.schemes`), as the paper's Fig. 8 has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .plots import save_figure

#: What the paper allows: cycles over those of base, and extra bytes over the weights' bytes.
MOST_CYCLES, MOST_TRAFFIC = 1.10, 0.10
_PARTS = {
    "extra_tables": ("position tables", "#b3cde3"),
    "extra_operands": ("operands of the DPPU", "#d9730d"),
    "extra_instructions": ("instructions", "#b8860b"),
    "extra_other": ("ifmaps, weights, results", "#2b6cb0"),
}


def draw_schemes(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Bars a scheme: execution time over that of base, and extra traffic by its cause."""
    from matplotlib.figure import Figure

    at = range(len(rows))
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    time, traffic = figure.subplots(1, 2)
    bars = time.bar(at, [row["cycles_over_base"] for row in rows], color="#2e8b57")
    time.bar_label(bars, [f"{row['cycles_over_base']:.2f}" for row in rows], fontsize=8)
    time.set_title("cycles / cycles of base", fontsize=10)
    time.axhline(MOST_CYCLES, color="#b22222", lw=1, ls="--", label=f"limit {MOST_CYCLES:.2f}")
    tops, feet = [0.0] * len(rows), [0.0] * len(rows)
    for part, (label, colour) in _PARTS.items():
        values = [row[part] for row in rows]
        feet_or_tops = [f if v < 0 else t for v, t, f in zip(values, tops, feet, strict=True)]
        traffic.bar(at, values, bottom=feet_or_tops, color=colour, label=label)
        tops = [t + max(v, 0) for v, t in zip(values, tops, strict=True)]
        feet = [f + min(v, 0) for v, f in zip(values, feet, strict=True)]
    traffic.set_title("extra DRAM bytes / bytes of the weights", fontsize=10)
    traffic.axhline(MOST_TRAFFIC, color="#b22222", lw=1, ls="--", label=f"limit {MOST_TRAFFIC:.2f}")
    for axes in (time, traffic):
        axes.set_xticks(at, [row["scheme"] for row in rows], rotation=35, ha="right", fontsize=8)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.legend(fontsize=7.5)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)
