"""One inference with faults in the array's registers: the reference, and the exact fast way.

`run_reference` executes the program on the byte-accurate machine and steps every register of every
tile.  `FaultRun` corrects the sums of the tiles that are hit and follows the difference; it equals
the reference bit for bit under any plan (a property test).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import FlexhycaError
from ..isa import fixedpoint
from ..isa.program import Program
from .array_faults import os_tile_faults
from .difference import Difference
from .memory import Memory
from .sites import Site, voted
from .stepper import Flip
from .tiles import Tile, Tiles


def run_reference(
    program: Program, image: NDArray[np.int8], sites: Sequence[Site]
) -> NDArray[np.int8]:
    """Output of the program with the faults, int8 (h, w, c); slow. image : int8 (h, w, c)."""
    tiles = Tiles(program)
    flips: dict[int, list[Flip]] = {}
    for tile, flip in voted(sites, tiles):
        if flip is not None:
            flips.setdefault(tile.pcs[-1], []).append(flip)
    outputs = Memory(program, image[None], registers_true=True, flips=flips).run()
    output: NDArray[np.int8] = outputs[0]
    return output


@dataclass(frozen=True)
class Hit:
    """What the flips in one tile do to its sums.

    elements : flat numbers of the sums in the layer's output; before, after : the wrapped sums, on
    the operands of this run. overwritten : the DPPU's result replaces the sum. stored_before,
    stored_after : after requantisation, before the residual and the clamp.
    """

    tile: Tile
    elements: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    overwritten: NDArray[np.bool_]
    stored_before: NDArray[np.int64]
    stored_after: NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """The end of one run. masked : by what the last difference was stopped, None if it got through.

    changed : elements that differ, by tensor name, in execution order.
    """

    output: NDArray[np.int8]
    hits: tuple[Hit, ...]
    changed: dict[str, int]
    masked: str | None


class FaultRun:
    """Runs of one image with faults, each as cheap as what it changes."""

    def __init__(self, program: Program, image: NDArray[np.int8]) -> None:
        """image : int8 (h, w, c). Raises FlexhycaError for a batch, or a dataflow other than os."""
        config = program.config
        if program.batch != 1 or config.array.dataflow != "os":
            raise FlexhycaError(
                f"{program.name}: faults run with batch 1 and dataflow os, the program has batch "
                f"{program.batch} and dataflow {config.array.dataflow}"
            )
        self.program, self.tiles = program, Tiles(program)
        self.network = self.tiles.network
        self.difference = Difference(self.network, image)

    @property
    def golden(self) -> NDArray[np.int8]:
        """The fault-free output: int8 (h, w, c)."""
        return self.difference.golden(self.network.output)

    def run(self, sites: Sequence[Site]) -> Outcome:
        """The inference with all of `sites`; FlexhycaError for one that does not exist."""
        plan: dict[int, dict[int, tuple[Tile, list[Flip]]]] = {}
        for tile, flip in voted(sites, self.tiles):
            own = plan.setdefault(tile.layer, {}).setdefault(tile.number, (tile, []))
            if flip is not None:
                own[1].append(flip)
        hits: list[Hit] = []
        difference = self.difference
        try:
            for layer in sorted(plan):
                difference.advance(layer)
                found = [self._hit(tile, flips) for tile, flips in plan[layer].values()]
                alive = [
                    (h.elements[~h.overwritten], (h.after - h.before)[~h.overwritten])
                    for h in found
                ]
                at, by = (np.concatenate(x) for x in zip(*alive, strict=True))
                difference.advance(layer + 1, at, by)
                hits += found
            output = difference.finish().copy()
            changed = {}
            for layer_row in self.network.layers:
                count = self._changed(layer_row.output)
                if count:
                    changed[self.network.tensors[layer_row.output].name] = count
        finally:
            difference.reset()
        outvoted = all(not flips for own in plan.values() for _, flips in own.values())
        masked = self._masked(hits, changed, output, outvoted and bool(sites))
        return Outcome(output, tuple(hits), changed, masked)

    def _changed(self, tensor: int) -> int:
        at = self.difference.changed(tensor)
        now, was = (
            f(tensor).reshape(-1)[at] for f in (self.difference.tensor, self.difference.golden)
        )
        return int((now != was).sum())

    def _hit(self, tile: Tile, flips: Sequence[Flip]) -> Hit:
        layer, a = self.network.layers[tile.layer], self.network.arithmetic
        act = self.tiles.operands(tile, self.difference.tensor(layer.input)[None])
        wgt, start = self.tiles.weights(tile), self.tiles.start(tile)
        array = self.program.config.array
        r, c, change = os_tile_faults(
            act, wgt, start, rows=array.rows, cols=array.cols, arithmetic=a, flips=flips
        )
        r, c, change = r[change != 0], c[change != 0], change[change != 0]
        products = (act[r].astype(np.int64) * wgt[c]).sum(1) + start[r, c]
        before, after = (fixedpoint.wrap(x, a.acc_bits) for x in (products, products + change))
        important = np.zeros((tile.m, tile.n), np.bool_)
        important[tuple(self.tiles.important(tile).T)] = True
        stored = (
            fixedpoint.requantise(x, layer.shift, a.act_bits, a.rounding, a.overflow)
            for x in (before, after)
        )
        return Hit(tile, self.tiles.elements(tile, r, c), before, after, important[r, c], *stored)

    def _masked(
        self,
        hits: Sequence[Hit],
        changed: dict[str, int],
        output: NDArray[np.int8],
        outvoted: bool,
    ) -> str | None:
        """The stage that stopped the last difference."""
        if (output != self.golden).any():
            return None
        if changed:
            return "downstream"
        if outvoted:
            return "tmr"
        wrong = [(h.before != h.after) for h in hits]
        if not any(w.any() for w in wrong):
            return "idle"
        if all((h.overwritten | ~w).all() for h, w in zip(hits, wrong, strict=True)):
            return "dppu"
        alive = [~h.overwritten & (h.stored_before != h.stored_after) for h in hits]
        return "activation" if any(x.any() for x in alive) else "truncation"
