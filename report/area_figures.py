"""The paper's figures on area: Fig. 14 (bit protection) and Fig. 12 (size of the DPPU)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ..config import Config, config_from_json
from ..hdl.area.machine import machine_area
from ..hdl.area.pe_area import Point
from ..hdl.area.table import lookup
from ..hdl.netlist.cost import cost
from ..hdl.netlist.design import PeProtection, protected
from ..hdl.netlist.pe import Datapath, multiplier
from .plots import save_figure

#: (label, policy, q_scale) of Fig. 14.
DESIGNS: tuple[tuple[str, str, int], ...] = (
    ("unconstrained", "direct", 0),
    ("q_scale 4, direct", "direct", 4),
    ("q_scale 4, configurable", "configurable", 4),
    ("q_scale 7, direct", "direct", 7),
    ("q_scale 7, configurable", "configurable", 7),
)
DRAWN_BITS = (1, 2, 3)
DPPU_SIZES = (8, 16, 32, 52, 64, 96, 128, 192, 256)
#: (ib_th, nb_th) of Fig. 12.
BIT_SETTINGS = ((2, 1), (3, 1), (4, 1), (3, 2), (4, 2), (4, 3))


class Bar(NamedTuple):
    """Area of a design relative to the unprotected one: the multiplier, and a whole PE."""

    design: str
    protect: int
    multiplier: float
    array: float


class Reading(NamedTuple):
    """A reading of the paper's "reduced by an average of 71.4 %"."""

    reading: str
    reduction: float


def fig14(kind: str = "wallace") -> list[Bar]:
    """Relative area by protected bits and design; the array is its PEs."""
    plain = lookup(Point(kind, "none", "slice", 0, 0)).area_ge
    return [
        Bar(
            label,
            protect,
            round(_multiplier(kind, policy, protect, q) / _multiplier(kind, "none", 0, 0), 4),
            round(lookup(Point(kind, policy, "slice", protect, q)).area_ge / plain, 4),
        )
        for (label, policy, q), protect in product(DESIGNS, DRAWN_BITS)
    ]


def readings(kind: str = "wallace") -> Iterator[Reading]:
    """Average reductions of the area that protection adds, by every sensible baseline."""
    bars = {(bar.design, bar.protect): bar for bar in fig14(kind)}
    groups = {
        "direct": [label for label, policy, q in DESIGNS if q and policy == "direct"],
        "configurable": [label for label, policy, q in DESIGNS if q and policy != "direct"],
    }
    groups["both"] = groups["direct"] + groups["configurable"]
    full = {
        "multiplier": _multiplier(kind, "full", 0, 0) / _multiplier(kind, "none", 0, 0) - 1,
        "array": lookup(Point(kind, "full", "slice", 0, 0)).area_ge
        / lookup(Point(kind, "none", "slice", 0, 0)).area_ge
        - 1,
    }
    for scope, (name, labels) in product(("multiplier", "array"), groups.items()):
        pairs = [
            (getattr(bars[label, s], scope) - 1, getattr(bars["unconstrained", s], scope) - 1)
            for label, s in product(labels, DRAWN_BITS)
        ]
        yield Reading(
            f"{scope}: {name} against unconstrained, mean of the reductions", _mean(pairs)
        )
        total = 1 - sum(a for a, _ in pairs) / sum(b for _, b in pairs)
        yield Reading(f"{scope}: {name} against unconstrained, of the sums", total)
        against = [(a, full[scope]) for a, _ in pairs]
        yield Reading(f"{scope}: {name} against full TMR, mean of the reductions", _mean(against))


def fig12(config: Config, multiplier_kind: str = "wallace") -> list[dict[str, Any]]:
    """Computing-array area by DPPU size and protected bits, relative to the unprotected array."""
    rows = []
    for (ib, nb), size in product(BIT_SETTINGS, DPPU_SIZES):
        values = config.model_dump(mode="json")
        values["protection"] |= {"ib_th": ib, "nb_th": nb}
        values["dppu"]["size"] = size
        varied = config_from_json(values, f"{config.name} as Fig. 12 varies it")
        area = machine_area(varied, multiplier_kind)
        rows.append(
            {"ib_th": ib, "nb_th": nb, "dppu_size": size, "relative": area.scopes[0].relative}
        )
    return rows


def plot_fig14(bars: Sequence[Bar], path: Path) -> None:
    """Grouped bars, the multiplier left and the array right."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 3.8), layout="constrained")
    axes = drawn.subplots(1, 2, sharey=True)
    for axis, scope in zip(axes, ("multiplier", "array"), strict=True):
        for i, (label, _, _) in enumerate(DESIGNS):
            heights = [getattr(bar, scope) for bar in bars if bar.design == label]
            axis.bar([s + (i - 2) * 0.16 for s in DRAWN_BITS], heights, 0.15, label=label)
        axis.set_xticks(DRAWN_BITS)
        axis.set_xlabel("protected bits")
        axis.set_title("multiplier" if scope == "multiplier" else "computing array")
        axis.axhline(1, color="black", linewidth=0.8)
    axes[0].set_ylabel("area / unprotected")
    handles, labels = axes[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8)
    save_figure(drawn, path)


def plot_fig12(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One line a bit setting over the size of the DPPU."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6, 3.8), layout="constrained")
    axis = drawn.subplots()
    for ib, nb in BIT_SETTINGS:
        own = [row for row in rows if (row["ib_th"], row["nb_th"]) == (ib, nb)]
        label = f"i{ib}, n{nb}"
        axis.plot(
            [r["dppu_size"] for r in own], [r["relative"] for r in own], marker="o", label=label
        )
    axis.set_xlabel("DPPU multipliers")
    axis.set_ylabel("computing array / unprotected array")
    axis.legend(fontsize=7)
    save_figure(drawn, path)


@cache
def _multiplier(kind: str, policy: str, protect: int, q_scale: int) -> float:
    datapath = Datapath(multiplier=kind)  # type: ignore[arg-type]
    protection = PeProtection(protect, q_scale, policy)  # type: ignore[arg-type]
    return cost(protected(multiplier(datapath), datapath, protection).netlist).area_ge


def _mean(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(1 - a / b for a, b in pairs) / len(pairs)
