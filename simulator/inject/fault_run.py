"""One inference with faults anywhere in the machine: the reference, and the exact fast way.

`run_reference` executes the program on the byte-accurate machine and steps every register of every
tile.  `FaultRun` works out what the faults change in the tiles that they reach and follows the
difference; it equals the reference bit for bit under any plan (a property test).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...errors import DeadlockError, FlexhycaError, ProgramError
from ...isa.program import Program
from ...network import fixedpoint
from ...network.difference import Difference, Golden
from ..array.flips import Flip
from ..text.spans import Span, Spans
from .buffer_faults import Read, Reads
from .control import (
    MachineCheckError,
    damaged,
    meaningless,
    run_damaged,
)
from .fault_plan import (
    Key,
    Plan,
    Sum,
    copies_at,
    force,
    make_plan,
)
from .faulty_memory import FaultyMemory
from .sites import FLIP, Site
from .stuck_pes import add_stuck_pes
from .tile_kernels import stored_at
from .tile_sums import Evaluator, TileSums
from .vector_faults import (
    element_of,
    is_in_tile,
    readers,
)


@dataclass(frozen=True)
class End:
    """How an inference ended. output : int8 (h, w, c), meaningless after a failure.

    failure : `crash`, `hang` or None. reason : the machine's error, or what hangs.
    """

    output: NDArray[np.int8]
    failure: str | None = None
    reason: str = ""


def run_reference(program: Program, image: NDArray[np.int8], sites: Sequence[Site]) -> End:
    """The program with the faults, every register stepped; slow. image : int8 (h, w, c).

    The stuck PEs of the program's chip are among them, here as in `FaultRun`.
    """
    spans = Spans(program)
    plan = add_stuck_pes(make_plan(sites, spans), spans)
    if plan.instructions:
        return _run_damaged(program, image, plan, spans, registers_true=True)[1]
    return End(FaultyMemory(program, image[None], plan, spans).run()[0])


def _run_damaged(
    program: Program, image: NDArray[np.int8], plan: Plan, spans: Spans, registers_true: bool
) -> tuple[FaultyMemory | None, End]:
    try:
        memory = run_damaged(program, image, plan, spans, registers_true)
    except (ProgramError, DeadlockError) as error:
        failure = "hang" if isinstance(error, DeadlockError) else "crash"
        nothing = np.zeros(program.tensors[program.output, :3].tolist(), np.int8)
        return None, End(nothing, failure, error.what)
    return memory, End(memory.output()[0])


@dataclass(frozen=True)
class Hit:
    """What the faults do to the words of one tile.

    elements : flat numbers in the layer's output. summed : the words are sums, `before` and `after`
    wrapped and on the operands of this run; else values that are stored. overwritten : the DPPU's
    result replaces a wrong sum (`after` is the wrong one). stored_before, stored_after : after
    requantisation, before the residual and the clamp.
    """

    span: Span
    summed: bool
    elements: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    overwritten: NDArray[np.bool_]
    stored_before: NDArray[np.int64]
    stored_after: NDArray[np.int64]


@dataclass(frozen=True)
class Outcome(End):
    """The end of one run, and how it came to it.

    reads : of wrong bytes in buffers. changed : elements that differ, by tensor name, in execution
    order. masked : by what the last difference was stopped, None if it got through or the run
    failed.
    """

    hits: tuple[Hit, ...] = ()
    reads: tuple[Read, ...] = ()
    changed: dict[str, int] = field(default_factory=dict)
    masked: str | None = None


class FaultRun:
    """Runs of one image with faults, each as cheap as what it changes.

    What depends on the program alone is made once; `use` goes on to another image.
    """

    def __init__(self, program: Program, image: NDArray[np.int8]) -> None:
        """image : int8 (h, w, c). Raises FlexhycaError for a batch."""
        if program.batch != 1:
            raise FlexhycaError(
                f"{program.name}: faults run with batch 1, the program has {program.batch}; "
                "compile it with batch 1"
            )
        self.program, self.spans, self.network = program, Spans(program), program.network
        self.difference = Difference(self.network, image)
        self.reads, self.evaluate = Reads(self.spans), Evaluator(self.spans)

    def fault_free(self, images: NDArray[np.int8]) -> Iterator[Golden]:
        """The fault-free run of each of `images`, int8 (n, h, w, c), for `use`."""
        return self.difference.fault_free(images)

    def use(self, golden: Golden) -> None:
        """Go on with the image of which `golden` is the fault-free run."""
        self.difference.use(golden)

    @property
    def image(self) -> NDArray[np.int8]:
        """The network's input: int8 (h, w, c)."""
        return self.difference.golden(self.network.input)

    @property
    def golden(self) -> NDArray[np.int8]:
        """The fault-free output: int8 (h, w, c)."""
        return self.difference.golden(self.network.output)

    def run(self, sites: Sequence[Site]) -> Outcome:
        """The inference with all of `sites`; FlexhycaError for one that does not exist."""
        plan = add_stuck_pes(make_plan(sites, self.spans), self.spans)
        if plan.instructions and not self._means_nothing(plan):
            return self._damaged(plan)
        reads = self.reads.find(plan.words)
        keys = {*plan.flips, *plan.sums, *plan.results, *reads}
        keys |= {(layer, number) for layer, number, _ in plan.dppu}
        hits: list[Hit] = []
        try:
            for layer in sorted({layer for layer, _ in keys}):
                own = sorted(key for key in keys if key[0] == layer)
                hits += self._layer(layer, own, plan, reads)
            output = self.difference.finish().copy()
            counts, names = self.difference.differing(), self.network.tensors
            order = [row.output for row in self.network.layers if row.output in counts]
            changed = {names[tensor].name: counts[tensor] for tensor in order}
        finally:
            self.difference.reset()
        masked = self._masked(sites, hits, changed, output)
        found = tuple(read for key in sorted(reads) for read in reads[key])
        return Outcome(output, hits=tuple(hits), reads=found, changed=changed, masked=masked)

    def _means_nothing(self, plan: Plan) -> bool:
        """Whether wrong bits of instructions can be left out.

        With words of buffers wrong too they cannot: these have the order of the program, or of a
        damaged run.
        """
        if plan.words:
            return False
        try:
            return meaningless(self.program, damaged(self.program, plan.instructions))
        except MachineCheckError:
            return False

    def _damaged(self, plan: Plan) -> Outcome:
        """A run with wrong instructions: by events, every tile at once."""
        memory, end = _run_damaged(self.program, self.image, plan, self.spans, False)
        if memory is None:
            return Outcome(end.output, end.failure, end.reason)
        changed = {}
        for row in self.network.layers:
            count = int((memory.tensor(row.output)[0] != self.difference.golden(row.output)).sum())
            if count:
                changed[self.network.tensors[row.output].name] = count
        masked = None
        if (end.output == self.golden).all():
            masked = "downstream" if changed else "idle"
        return Outcome(end.output, changed=changed, masked=masked)

    def _layer(
        self, index: int, keys: Sequence[Key], plan: Plan, reads: dict[Key, list[Read]]
    ) -> Iterable[Hit]:
        """Run up to the end of a layer of which faults reach some tiles."""
        difference = self.difference
        hits: list[Hit] = []
        difference.advance(index)
        spans = [self.spans.own[index][number] for _, number in keys]
        if not spans[0].gemms:  # only the vector unit computes it
            difference.advance(index + 1)
            for span, key in zip(spans, keys, strict=True):
                hits += self._vector(span, reads.get(key, []))
                hits += self._results(span, plan.results.get(key, []))
            return hits
        x = difference.tensor(self.network.layers[index].input)
        tiles = [
            self.evaluate(span, x, plan, reads.get(key, []))
            for span, key in zip(spans, keys, strict=True)
        ]
        wrong = [np.nonzero(tile.by) for tile in tiles]
        at = [self.spans.elements(t.span, r, c) for t, (r, c) in zip(tiles, wrong, strict=True)]
        by = [tile.by[where] for tile, where in zip(tiles, wrong, strict=True)]
        hits += [self._hit(tile) for tile in tiles]
        difference.advance(index + 1, np.concatenate(at), np.concatenate(by))
        for tile, key in zip(tiles, keys, strict=True):
            hits += self._residuals(tile, reads.get(key, []))
            hits += self._results(tile.span, plan.results.get(key, []))
        return hits

    # ---- what a tile's words become -----------------------------------------------------------

    def _hit(self, tile: TileSums) -> Hit:
        rows, cols = np.nonzero((tile.by != 0) | (tile.array != 0))
        if not len(rows):
            none = np.zeros(0, np.int64)
            return Hit(tile.span, True, none, none, none, none != 0, none, none)
        gone = tile.overwritten[rows, cols] & (tile.by[rows, cols] == 0)
        change = np.where(gone, tile.array[rows, cols], tile.by[rows, cols])
        exact, finish = tile.clean.sums(rows, cols), self.difference.tables.finish[tile.span.layer]
        before, stored_before = stored_at(exact, finish)
        after, stored_after = stored_at(exact + change, finish)
        at = self.spans.elements(tile.span, rows, cols)
        return Hit(tile.span, True, at, before, after, gone, stored_before, stored_after)

    def _residuals(self, tile: TileSums, reads: Sequence[Read]) -> Iterable[Hit]:
        """Wrong residual operands: what VEC adds to the (perhaps wrong) sums."""
        span, a = tile.span, self.network.arithmetic
        layer = self.network.layers[span.layer]
        elements, values = [], []
        cells: dict[int, Read] = {r.at[0]: r for r in reads if r.what == "residual"}
        for word, read in cells.items():
            row, col = (np.array([i]) for i in divmod(word, span.n))
            at = int(self.spans.elements(span, row, col)[0])
            sums = tile.clean.sums(row, col) + tile.by[row, col]
            true = int(self.difference.tensor(layer.residual).reshape(-1)[at])
            other = read.bits[-1][1].of(true, a.act_bits)
            elements.append(at)
            values.append(int(fixedpoint.vector_unit(sums, layer, a, other)[0]))
        return self._set(span, elements, values)

    def _vector(self, span: Span, reads: Sequence[Read]) -> Iterable[Hit]:
        """Wrong operands of a tile that only the vector unit computes."""
        layer, a = self.network.layers[span.layer], self.network.arithmetic
        x = self.difference.tensor(layer.input)
        other = self.difference.tensor(layer.residual) if layer.residual >= 0 else None
        wrong: dict[str, dict[int, int]] = {"input": {}, "other": {}}
        for read in reads:
            values = x if read.what == "input" else other
            assert values is not None
            value = int(values.reshape(-1)[read.at[0]])
            wrong[read.what][read.at[0]] = read.bits[-1][1].of(value, a.act_bits)
        out = self.network.tensors[layer.output]
        found: dict[int, int] = {}
        for at in {*wrong["input"], *wrong["other"]}:
            for y, column, c in readers(self.network, layer, at):
                if is_in_tile(span, out.w, (y, column, c)):
                    element = (y * out.w + column) * out.c + c
                    if element not in found:
                        found[element] = element_of(
                            self.network, layer, (y, column, c), x, other, wrong
                        )
        return self._set(span, list(found), list(found.values()))

    def _results(self, span: Span, faults: Sequence[Sum]) -> Iterable[Hit]:
        """Words that are hit between VEC and STORE."""
        bits = self.network.arithmetic.act_bits
        values: dict[int, int] = {}
        now = self.difference.tensor(self.network.layers[span.layer].output).reshape(-1)
        for fault in faults:
            row, col = (np.array([i]) for i in divmod(fault.word, span.n))
            if row[0] < span.m:
                at = int(self.spans.elements(span, row, col)[0])
                values[at] = force(values.get(at, int(now[at])), fault.bit, fault.stuck, bits)
        return self._set(span, list(values), list(values.values()))

    def _set(self, span: Span, elements: list[int], values: list[int]) -> Iterable[Hit]:
        """Store other values than those computed."""
        if not elements:
            return
        tensor = self.network.layers[span.layer].output
        at, after = np.array(elements, np.int64), np.array(values, np.int64)
        before = self.difference.tensor(tensor).reshape(-1)[at].astype(np.int64)
        self.difference.set(tensor, at, after)
        wrong = before != after
        if wrong.any():
            at, before, after = at[wrong], before[wrong], after[wrong]
            none = np.zeros(len(at), np.bool_)
            yield Hit(span, False, at, before, after, none, before, after)

    # ---- how it ended -------------------------------------------------------------------------

    def _masked(
        self,
        sites: Sequence[Site],
        hits: Sequence[Hit],
        changed: dict[str, int],
        output: NDArray[np.int8],
    ) -> str | None:
        """The stage that stopped the last difference."""
        if (output != self.golden).any():
            return None
        if changed:
            return "downstream"
        wrong = [(h.before != h.after) for h in hits]
        if not any(w.any() for w in wrong):
            return "tmr" if any(map(self._outvoted, _odd(sites))) else "idle"
        if all((h.overwritten | ~w).all() for h, w in zip(hits, wrong, strict=True)):
            return "dppu"
        alive = [~h.overwritten & (h.stored_before != h.stored_after) for h in hits]
        return "activation" if any(x.any() for x in alive) else "truncation"

    def _outvoted(self, site: Site) -> bool:
        """Whether the bit has copies, and alone and without them would change a sum."""
        plan = make_plan([site], self.spans)
        single = [
            (key, Plan(flips={key: (_first_copies(flips),)}))
            for key, runs in plan.flips.items()
            for flips in runs
            if flips
        ]
        single += [
            (key[:2], Plan(dppu={key: _first_copies(flips)})) for key, flips in plan.dppu.items()
        ]
        for (layer, number), alone in single:
            span = self.spans.own[layer][number]
            if copies_at(self.spans, span, site) == (1, 1):
                continue
            x = self.difference.golden(self.network.layers[layer].input)
            tile = self._without_copies(span, x, alone, [])
            if tile.by.any() or tile.array.any():
                return True
        return False

    @cached_property
    def _without_copies(self) -> Evaluator:
        config = self.program.config
        one = config.protection.model_copy(update={"pe_policy": "none", "ib_th": 0, "nb_th": 0})
        bare = replace(self.program, config=config.model_copy(update={"protection": one}))
        return Evaluator(Spans(bare))


def _odd(sites: Sequence[Site]) -> list[Site]:
    """Sites without flips that undo each other."""
    return [site for site, n in Counter(sites).items() if n % 2 or site.stuck != FLIP]


def _first_copies(flips: Iterable[Flip]) -> list[Flip]:
    return [flip._replace(copy=0) for flip in flips]
