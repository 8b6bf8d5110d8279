"""The story of a flip: what was stored, what it became, what it reached, where it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..simulator.fault_run import FaultRun, Hit, Outcome
from ..simulator.sites import Site
from .outcomes import OUTCOMES, STAGES, outcome

_SHOWN = 6  # sums that are listed


def explain(run: FaultRun, sites: Sequence[Site], result: Outcome) -> Iterator[str]:
    """Lines about `result`, the outcome of `run.run(sites)`."""
    yield from (str(site) for site in sites)
    for hit in result.hits:
        tile, layer = hit.tile, run.network.layers[hit.tile.layer]
        yield (
            f"tile {tile.number} of {layer.name}: pixels {tile.m0}..{tile.m0 + tile.m - 1}, "
            f"channels {tile.n0}..{tile.n0 + tile.n - 1}, {run.tiles.depth(tile)} operands a sum"
        )
        yield from _sums(run, hit)
    for name, count in result.changed.items():
        size = next(t.elements for t in run.network.tensors if t.name == name)
        yield f"  {name}: {count} of {size} elements differ"
    name = outcome(run.golden, result.output, result.masked)
    kind, _, stage = name.partition(":")
    if stage:
        yield f"masked ({stage}): {STAGES[stage]}"
    else:
        before, after = (int(np.argmax(x)) for x in (run.golden, result.output))
        yield f"{kind}: {OUTCOMES[kind]}; prediction {before} -> {after}"


def _sums(run: FaultRun, hit: Hit) -> Iterator[str]:
    """The sums that differ, before and after, stored and cut."""
    layer, a = run.network.layers[hit.tile.layer], run.network.arithmetic
    out = run.network.tensors[layer.output]
    if not len(hit.elements):
        yield "no sum differs"
        return
    yield (
        f"{len(hit.elements)} sum(s) differ; stored are bits {layer.shift + a.act_bits - 1}.."
        f"{layer.shift} ({a.overflow}), clamped to {layer.act_lo}..{layer.act_hi}:"
    )
    for i, at in enumerate(hit.elements[:_SHOWN].tolist()):
        pixel, channel = divmod(at, out.c)
        end = (
            "overwritten by the DPPU"
            if hit.overwritten[i]
            else (f"stored {hit.stored_before[i]} -> {hit.stored_after[i]}")
        )
        yield (
            f"  ({pixel // out.w}, {pixel % out.w}, channel {channel}): "
            f"{hit.before[i]} -> {hit.after[i]}, {end}"
        )
    if len(hit.elements) > _SHOWN:
        yield f"  ... and {len(hit.elements) - _SHOWN} more"
