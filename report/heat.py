"""Heat maps of a masking breakdown: layers down, registers across, a map for each outcome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .layers import shorten
from .masking import FAILURE, TOTAL, WIDE, Breakdown, caption
from .plots import save_figure

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_MOST_NUMBERS = 30  # layers up to which the cells have their numbers
_WIDEST = 16.0  # inches of a row of maps
_TRIALS = "trials"


def draw_masking(path: Path, title: str, found: Breakdown) -> None:
    """Trials, failures, and then every outcome, a heat map each.

    A cell has its share and interval in per cent; hatched ones have too few trials to rely on,
    empty ones have none. With many layers only colours and hatches are drawn.
    """
    import numpy as np
    from matplotlib.figure import Figure

    rows, cols = [*found.layers, TOTAL], [*found.registers, TOTAL]
    numbers = len(found.layers) <= _MOST_NUMBERS
    names = [_TRIALS, FAILURE, *found.stages]
    width, height = 0.56 * len(cols) + 1.2, (0.28 if numbers else 0.13) * len(rows) + 0.45
    across = max(1, min(len(names), int(_WIDEST / width)))
    down = -(-len(names) // across)
    foot = 0.06 * max(map(len, cols)) + 0.6  # the registers' names, and the title
    figure = Figure(figsize=(across * width, down * height + foot), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes in grid.ravel()[len(names) :]:
        axes.set_visible(False)
    for place, (axes, name) in enumerate(zip(grid.ravel(), names, strict=False)):
        values = np.full((len(rows), len(cols)), np.nan)
        for r, layer in enumerate(rows):
            for c, register in enumerate(cols):
                if (layer, register) in found.cells:
                    values[r, c] = _draw_cell(axes, found, name, layer, register, (r, c), numbers)
        _draw_map(axes, name, values, _most(found) if name == FAILURE else 1.0)
        lowest = place + across >= len(names)
        labels = cols if lowest else [""] * len(cols)
        axes.set_xticks(range(len(cols)), labels, rotation=60, ha="right", fontsize=7)
        axes.set_yticks(range(len(rows)), [shorten(row, 26) for row in rows], fontsize=7)
        axes.tick_params(length=0)
        named = name == FAILURE and found.failures
        axes.set_title(f"{name} ({', '.join(found.failures)})" if named else name, fontsize=8)
    figure.suptitle(f"{title}\n{caption(found)} (hatched)", fontsize=9)
    save_figure(figure, path)


def _most(found: Breakdown) -> float:
    """The largest share of failures that can be relied on; no less than 1 %."""
    intervals = [found.interval(cell, FAILURE) for cell in found.cells.values()]
    return max([0.01, *(i.estimate for i in intervals if i.margin <= WIDE)])


def _draw_map(axes: Axes, name: str, values: NDArray[np.float64], most: float) -> None:
    """Colours of a map, pale enough for black numbers. most : the share of the darkest."""
    import numpy as np

    if name == _TRIALS:
        axes.imshow(np.log10(values), cmap="Greys", aspect="auto", vmin=0, vmax=8)
        return
    colours = "Reds" if name == FAILURE else "Blues"
    pale = np.minimum(values, most)
    axes.imshow(pale, cmap=colours, aspect="auto", vmin=0, vmax=1.6 * most)


def _draw_cell(
    axes: Axes,
    found: Breakdown,
    name: str,
    layer: str,
    register: str,
    at: tuple[int, int],
    numbers: bool,
) -> float:
    """Number and hatch of one cell; returns what its colour stands for."""
    from matplotlib.patches import Rectangle

    row, col = at
    cell = found.cells[layer, register]
    if name == _TRIALS:
        if numbers:
            axes.text(col, row, f"{cell.trials:,}", ha="center", va="center", fontsize=5.5)
        return float(cell.trials)
    interval = found.interval(cell, name)
    if interval.margin > WIDE:
        square = (col - 0.5, row - 0.5)
        patch = Rectangle(square, 1, 1, fill=False, hatch="///", ec="#8a8a8a", lw=0)
        patch.set_hatch_linewidth(0.4)
        axes.add_patch(patch)
    if numbers:
        digits = 0 if interval.margin > WIDE else 1
        low, high = (f"{100 * x:.{digits}f}" for x in (interval.low, interval.high))
        text = f"{100 * interval.estimate:.{digits}f}\n[{low}-{high}]"
        axes.text(col, row, text, ha="center", va="center", fontsize=5, linespacing=1.0)
    return interval.estimate
