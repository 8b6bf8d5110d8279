"""Pictures of a run, drawn by matplotlib without a display. The file's suffix is its format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..isa.instructions import Engine, Kind
from ..simulator.cycles.stalls import BOUND, BUSY, RESOURCES, STALLS
from ..tables import complete
from .layers import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A hue for each resource that `stalls.BOUND` names; its states are shades of it.
_HUES = {
    "compute": "#2e8b57",
    "dram": "#2b6cb0",
    "dppu": "#d9730d",
    "vector": "#7e57c2",
    "control": "#b8860b",
}
_FINISHED = "#d8d8d8"
_KINDS = {
    Kind.IFMAP: "#2b6cb0",
    Kind.WEIGHT: "#63a0d8",
    Kind.BIAS: "#b3cde3",
    Kind.OFMAP: "#7e57c2",
    Kind.POSITION_TABLE: "#8a8a8a",
    Kind.DPPU_OPERAND: "#d9730d",
    Kind.INSTRUCTION: "#b8860b",
}
complete("Kind in isa/instructions.py", Kind, _KINDS, "report/plots.py: _KINDS")
complete("RESOURCES in simulator/cycles/stalls.py", RESOURCES, _HUES, "report/plots.py: _HUES")


def draw_layers(path: Path, title: str, layers: Sequence[Mapping[str, Any]]) -> None:
    """Two bars a layer: where the array's time goes, and the DRAM traffic by kind.

    layers : rows of `Result.layers`. Layers without GEMM have the time of the STORE engine, which
    runs the vector unit, hatched.
    """
    from matplotlib.figure import Figure

    count = len(layers)
    size, step = (8, 0.2) if count <= 30 else (6.5, 0.145)
    figure = Figure(figsize=(12, 2.6 + max(1.0, step * count)), layout="constrained")
    time, traffic = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw_time(time, layers)
    _draw_traffic(traffic, layers)
    time.set_yticks(range(count), [shorten(layer["name"], 32) for layer in layers], fontsize=size)
    time.set_ylim(count - 0.4, -0.6)  # the first layer on top
    for axes in (time, traffic):
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", labelsize=8)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        handles, labels = axes.get_legend_handles_labels()
        if axes is time:
            figure.legend(handles, labels, loc="outside lower left", ncols=4, fontsize=7.5)
        else:
            figure.legend(handles, labels, loc="outside lower right", ncols=3, fontsize=7.5)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; no date and no random names: the same run gives the same bytes."""
    from matplotlib import rc_context

    metadata = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with rc_context({"svg.hashsalt": "flexhyca"}):
        figure.savefig(path, dpi=100, metadata=metadata[path.suffix])


def _draw_time(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    for engine, mark in ((Engine.ARRAY, ""), (Engine.STORE, "/////")):
        own = [i for i, layer in enumerate(layers) if (layer["op"] == "conv") != bool(mark)]
        name = engine.name.lower()
        states = [
            (state, resource, colour, [_cycles(layers[i], name, state) for i in own])
            for state, resource, colour in _states(engine)
        ]
        series = [
            (f"{name} {state}{f' [{resource}]' if resource else ''}", colour, values)
            for state, resource, colour, values in states
        ]
        _stack(axes, own, series, hatch=mark)
    axes.set_xlabel("cycles of the array; hatched: of STORE, for layers without GEMM", fontsize=8)


def _states(engine: Engine) -> Iterable[tuple[str, str, str]]:
    """State, resource and colour, by resource: shades of one hue stand side by side."""
    for resource, hue in _HUES.items():
        states = [s for s in (BUSY, *STALLS[engine]) if BOUND[engine].get(s) == resource]
        for i, state in enumerate(states):
            yield state, resource, _lighter(hue, 0.45 * i)
    yield "finished", "", _FINISHED


def _lighter(colour: str, share: float) -> str:
    channels = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(c + (255 - c) * share):02x}" for c in channels)


def _cycles(layer: Mapping[str, Any], engine: str, state: str) -> int:
    return int(layer["busy"][engine] if state == BUSY else layer["stalls"][engine][state])


def _draw_traffic(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    rows = list(range(len(layers)))
    series = [
        (kind.name.lower(), colour, [layer["dram_bytes"][kind.name.lower()] for layer in layers])
        for kind, colour in _KINDS.items()
    ]
    _stack(axes, rows, series)
    axes.set_xlabel("bytes of DRAM traffic", fontsize=8)


def _stack(
    axes: Axes,
    rows: Sequence[int],
    series: Iterable[tuple[str, str, Sequence[int]]],
    hatch: str = "",
) -> None:
    """Bars one after the other in each row; what is nothing everywhere has no place in the key."""
    left = [0] * len(rows)
    for label, colour, values in series:
        if not any(values):
            continue
        axes.barh(
            rows,
            values,
            height=0.78,
            left=left,
            color=colour,
            label=label,
            hatch=hatch,
            edgecolor="white" if hatch else None,
            linewidth=0,
        )
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_xlim(0, max(axes.get_xlim()[1], 1.02 * max(left, default=0)))
