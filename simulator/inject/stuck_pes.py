"""Stuck PEs of a program's chip (`Program.pe_map`): as faults of every tile, and all values fast.

They are bits that are stuck for ever (`fault_plan`), the same in each tile of a layer.  Every tile
may differ then, so whole layers are computed, and each tile's corrections are added to its sums.
"""

from __future__ import annotations

import numpy as np

from ...isa.program import Program
from ...isa.registers import UNIT_OF_DATAFLOW
from ...network.arrays import I8, I64
from ...network.functional import Functional
from ..array.flips import Flip, stuck_flips
from ..text.spans import Span, Spans
from .array_unit import Runs
from .fault_plan import Plan, copies_at, copies_in_a_layer, flip_of
from .sites import EVERY, Site
from .tile_sums import Evaluator


def add_stuck_pes(plan: Plan, spans: Spans) -> Plan:
    """The plan, with what is stuck in the PEs; nothing is to be added to its flips afterwards."""
    if spans.program.pe_map:
        for own in spans.own.values():
            runs = _runs(own[0], spans) if own and own[0].gemms else ()
            for span in own if any(runs) else ():
                key = span.layer, span.number
                beside = plan.flips.get(key, ((),) * len(runs))
                plan.flips[key] = tuple([*a, *b] for a, b in zip(beside, runs, strict=True))
    return plan


def _runs(span: Span, spans: Spans) -> Runs:
    """What is stuck in any tile of the layer of `span`, for each run or third of the array."""
    program = spans.program
    unit = UNIT_OF_DATAFLOW[program.config.array.dataflow]
    name, shift = program.layer_names[span.layer], program.network.layers[span.layer].shift
    found: list[list[Flip]] = []
    for f in stuck_flips(program.pe_map, program.config, shift):
        site = Site(name, EVERY, 0, f.row, f.col, f.register, f.bit, f.copy, unit, f.stuck)
        runs, own = copies_at(spans, span, site)
        found = found or [[] for _ in range(runs)]
        for part in copies_in_a_layer(site, span, spans):
            run, flip = flip_of(part, own)
            found[run].append(flip)
    return found


class StuckPeValues:
    """Values of a program whose array has stuck PEs; as `FaultRun`, of any number of images."""

    def __init__(self, program: Program) -> None:
        self.program, self.spans = program, Spans(program)
        self.plan, self.evaluate = add_stuck_pes(Plan(), self.spans), Evaluator(self.spans)
        self.engine = Functional(program.network)

    def run(self, images: I8) -> I8:
        """Output (n, h, w, c) of int8 images (n, h, w, c); as many runs of the program's batch.

        What fills up the last one changes nothing: no image's sums depend on another image.
        """
        batch = self.program.batch
        runs = max(1, self.engine.images_at_once // batch)
        return self.engine.run(images, batch * runs, added=self._added)

    def _added(self, layer: int, x: I8) -> I64:
        """What the PEs and the DPPU add to the fault-free sums of a CONV layer."""
        network, batch = self.program.network, self.program.batch
        out = network.tensors[network.layers[layer].output]
        runs = -(-len(x) // batch)
        filled = np.zeros((runs * batch, *x.shape[1:]), np.int8)
        filled[: len(x)] = x
        by = np.zeros((runs, batch * out.h * out.w, out.c), np.int64)
        for run, own in enumerate(filled.reshape(runs, batch * x.shape[1], *x.shape[2:])):
            for span in self.spans.own[layer]:
                if (span.layer, span.number) in self.plan.flips:
                    tile = self.evaluate(span, own, self.plan, ())
                    rows, cols = slice(span.m0, span.m0 + span.m), slice(span.n0, span.n0 + span.n)
                    by[run, rows, cols] = tile.by
        return by.reshape(runs * batch, out.h, out.w, out.c)[: len(x)]


def value_engine(program: Program) -> Functional | StuckPeValues:
    """What computes whole layers of a program; its `run` takes any number of int8 images."""
    return StuckPeValues(program) if program.pe_map else Functional(program.network)
