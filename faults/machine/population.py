"""All the bits that can be hit while a program runs, each for as long as it stands there.

A stratum is a register while a layer runs.  Its exposure, in bit-cycles, is what it weighs in a
campaign; copies of protected bits count, each for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ...isa.instructions import INSTRUCTION_BITS
from ...isa.registers import BUFFER_BYTES, BY_UNIT, Register, StateKind, all_handled
from ...simulator.inject.fault_plan import alike, copies_of
from ...simulator.inject.sites import (
    ALL,
    END,
    Site,
    units_of,
)
from ...simulator.inject.units import all_places, moments, unit_in_tile
from ...simulator.text.spans import Span, Spans
from ...tables import complete
from ..models import FAULT_MODELS, MACHINE_MODELS, machine_model
from .machine_time import MachineTime
from .part import EVERYTHING, NothingToHitError, Part

Rng = np.random.Generator

complete(
    "StateKind in isa/registers.py",
    get_args(StateKind),
    {kind for name in MACHINE_MODELS for kind in FAULT_MODELS[name].hits},
    "faults/models.py: FAULT_MODELS, the `hits` of a row",
)


@dataclass(frozen=True)
class ExposedRegister:
    """A register while a layer runs.

    bits : of a word. flip_flops : of a place, copies included. places, tiles : how many. cycles :
    that a place is exposed, over all tiles. live : share of the bit-cycles in which what is stored
    is still used. draw, draw_live : a random site of all and of the live ones.
    """

    layer: str
    unit: str
    register: str
    bits: int
    flip_flops: int
    places: int
    tiles: int
    cycles: int
    live: float
    draw: Callable[[Rng], Site]
    draw_live: Callable[[Rng], Site]

    @property
    def exposure(self) -> int:
        """Bit-cycles."""
        return self.flip_flops * self.places * self.cycles


class Population:
    """The strata of a fault model, and random sites of them in proportion to their exposure."""

    def __init__(
        self,
        spans: Spans,
        model: str,
        live: bool = False,
        part: Part = EVERYTHING,
        kinds: Sequence[str] = (),
    ) -> None:
        """model : of `faults.models`. live : draw only where something is stored and still used.

        part : what is left of it. kinds : of state, of those that the model hits; (): all.
        """
        self.spans, self.live = spans, live
        self.strata = list(strata(spans, model, part, kinds))
        weights = [s.exposure * (s.live if live else 1.0) for s in self.strata]
        self.ends = np.cumsum(weights)
        if not len(weights) or self.ends[-1] <= 0:
            raise NothingToHitError(spans.program.name, model, part)

    @property
    def exposure(self) -> int:
        """Bit-cycles."""
        return sum(s.exposure for s in self.strata)

    @property
    def live_exposure(self) -> float:
        """Those in which a flip hits something that is still used."""
        return sum(s.exposure * s.live for s in self.strata)

    @property
    def live_share(self) -> float:
        """Share of all bit-cycles in which a flip hits something that is still used."""
        return self.live_exposure / self.exposure

    def draw(self, rng: Rng) -> Site:
        """One site."""
        at = int(np.searchsorted(self.ends, rng.random() * self.ends[-1], side="right"))
        stratum = self.strata[min(at, len(self.strata) - 1)]
        return stratum.draw_live(rng) if self.live else stratum.draw(rng)


def strata(
    spans: Spans, model: str | None = None, part: Part = EVERYTHING, kinds: Sequence[str] = ()
) -> Iterator[ExposedRegister]:
    """What a fault model (or None: any) can hit, in the order of the program and the table.

    part, kinds : see `Population`.
    """
    hits = get_args(StateKind) if model is None else machine_model(model).hits
    kinds = kinds or hits
    units = [unit for unit in units_of(spans.program.config) if unit != "buffer"]
    layers = part.layers_of(spans)
    for layer in layers:
        own = spans.own[layer]
        if not own or not own[0].gemms:
            continue
        for unit in units:
            for register in BY_UNIT[unit].values():
                if register.model in kinds and part.has(register):
                    for cols in alike(register, spans.program.config):
                        yield from _registers(spans, layer, own, register, cols)
    words = [r for r in BY_UNIT["buffer"].values() if r.model in kinds and part.has(r)]
    if words:
        time = MachineTime(spans)
        for register in words:
            yield from _BUFFERS[register.name](time, register, layers)


# ---- registers --------------------------------------------------------------------------------


def _registers(
    spans: Spans, layer: int, own: Sequence[Span], register: Register, cols: range | None
) -> Iterator[ExposedRegister]:
    """cols : of the array, with the same copies; None for all places."""
    config = spans.array(own[0])
    places = all_places(register, register.rows(config), register.cols(config), cols)
    units = [unit_in_tile(register.unit, span, spans) for span in own]
    cycles = np.array([sum(steps for _, steps in unit.owned(register)) for unit in units])
    bits = [
        (bit, copy)
        for bit in range(register.bits(spans.program.network.arithmetic))
        for copy in range(_copies(spans, own[0], register, bit, cols.start if cols else 0))
    ]
    if not len(places) or not bits or not cycles.sum():
        return
    ends = np.cumsum(cycles)
    lives = np.array([unit.total(register, cols) for unit in units])
    live_ends = np.cumsum(lives)
    name = spans.program.layer_names[layer]

    def site(at: int, row: int, col: int, cycle: int, rng: Rng) -> Site:
        bit, copy = bits[rng.integers(len(bits))]
        number, unit = own[at].number, register.unit
        return Site(name, number, cycle, row, col, register.name, bit, copy, unit)

    def draw(rng: Rng) -> Site:
        at = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
        row, col = places[rng.integers(len(places))].tolist()
        stretches = units[at].owned(register, row, col)
        lasts = np.cumsum([steps for _, steps in stretches])
        step = int(rng.integers(lasts[-1]))
        which = int(np.searchsorted(lasts, step, side="right"))
        return site(at, row, col, sum(stretches[which]) - int(lasts[which]) + step, rng)

    def draw_live(rng: Rng) -> Site:
        at = int(np.searchsorted(live_ends, rng.integers(live_ends[-1]), side="right"))
        row, col, cycle = units[at].draw(register, rng, cols)
        return site(at, row, col, cycle, rng)

    yield ExposedRegister(
        name,
        register.unit,
        register.name,
        register.bits(spans.program.network.arithmetic),
        len(bits),
        len(places),
        len(own),
        int(ends[-1]),
        float(lives.sum()) / (len(places) * float(ends[-1])),
        draw,
        draw_live,
    )


def _copies(spans: Spans, span: Span, register: Register, bit: int, col: int) -> int:
    runs, own = copies_of(spans, span, register.unit, register.name, bit, col)
    return runs * own


# ---- buffers ----------------------------------------------------------------------------------


def _stratum(
    layer: str,
    register: Register,
    bits: int,
    places: int,
    counts: tuple[int, int, float],
    draw: tuple[Callable[[Rng], Site], Callable[[Rng], Site]],
) -> ExposedRegister:
    tiles, cycles, live = counts
    return ExposedRegister(
        layer, "buffer", register.name, bits, bits, places, tiles, cycles, live, *draw
    )


def _bytes(
    time: MachineTime, register: Register, layers: Sequence[int]
) -> Iterator[ExposedRegister]:
    """A buffer of bytes during the whole run, or while some layers are at work.

    Its leases say what of it is live.
    """
    words = register.rows(time.spans.program.config)
    stretches = time.stretches(layers)
    lengths = np.cumsum([end - begin for begin, end in stretches])
    if not words or not len(lengths) or not lengths[-1]:
        return
    leases = [
        lease._replace(begin=max(lease.begin, begin), end=min(lease.end, end))
        for lease in time.leases[register.name]
        for begin, end in stretches
        if lease.begin < end and begin < lease.end
    ]
    ends = np.cumsum([lease.words * (lease.end - lease.begin) for lease in leases])
    names = time.spans.program.layer_names
    cycles, tiles = int(lengths[-1]), sum(len(time.spans.own[i]) for i in layers)

    def at(word: int, moment: int, rng: Rng) -> Site:
        span, cycle = time.at(moment)
        cycle = cycle if register.timed else 0
        bit = int(rng.integers(8))
        return Site(
            names[span.layer], span.number, cycle, word, 0, register.name, bit, unit="buffer"
        )

    def draw(rng: Rng) -> Site:
        word, moment = int(rng.integers(words)), int(rng.integers(cycles))
        which = int(np.searchsorted(lengths, moment, side="right"))
        return at(word, stretches[which][1] - int(lengths[which]) + moment, rng)

    def draw_live(rng: Rng) -> Site:
        slot = int(rng.integers(ends[-1]))
        index = int(np.searchsorted(ends, slot, side="right"))
        lease = leases[index]
        word = lease.number(int(rng.integers(lease.words)))
        return at(word, int(rng.integers(lease.begin, lease.end)), rng)

    live = float(ends[-1]) / (words * cycles) if len(ends) else 0.0
    counts = tiles, cycles, live
    yield _stratum(ALL, register, 8, words, counts, (draw, draw_live))


def _sums(
    time: MachineTime, register: Register, layers: Sequence[int]
) -> Iterator[ExposedRegister]:
    """Words of the output buffer, layer by layer, while a tile's sums are in them."""
    # Sums that stand there while the array adds to them can be hit in every cycle of the tile.
    stay = not time.spans.program.config.array.keeps_sums
    for layer in layers:
        own = time.spans.own[layer]
        if own and own[0].gemms:
            held = [[span.cycles] if stay else time.sums(span) for span in own]
            yield from _slots(time.spans, layer, own, register, held, stay)


def _results(
    time: MachineTime, register: Register, layers: Sequence[int]
) -> Iterator[ExposedRegister]:
    """The same while what VEC has finished is in them."""
    for layer in layers:
        own = time.spans.own[layer]
        if own:
            held = [[time.results(span)] for span in own]
            yield from _slots(time.spans, layer, own, register, held, False)


def _slots(
    spans: Spans,
    layer: int,
    own: Sequence[Span],
    register: Register,
    held: Sequence[Sequence[int]],
    every_cycle: bool,
) -> Iterator[ExposedRegister]:
    """Words of the tiles of a layer. held : cycles of each moment at which they can be hit.

    every_cycle : whether a cycle is a moment.
    """
    words, bits = (
        int(spans.program.column("slot_words")[layer]),
        register.bits(spans.program.network.arithmetic),
    )
    cycles = np.array([sum(x) for x in held])
    if not cycles.sum():
        return
    used = np.array([span.m * span.n for span in own])
    ends, live_ends = np.cumsum(cycles), np.cumsum(cycles * used)
    name = spans.program.layer_names[layer]

    def site(at: int, word: int, rng: Rng) -> Site:
        moment = int(rng.integers(cycles[at]))
        if not every_cycle:
            moment = int(np.searchsorted(np.cumsum(held[at]), moment, side="right"))
        bit = int(rng.integers(bits))
        return Site(name, own[at].number, moment, word, 0, register.name, bit, unit="buffer")

    def draw(rng: Rng) -> Site:
        at = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
        return site(at, int(rng.integers(words)), rng)

    def draw_live(rng: Rng) -> Site:
        at = int(np.searchsorted(live_ends, rng.integers(live_ends[-1]), side="right"))
        return site(at, int(rng.integers(used[at])), rng)

    live = float(live_ends[-1]) / (words * float(ends[-1]))
    counts = len(own), int(ends[-1]), live
    yield _stratum(name, register, bits, words, counts, (draw, draw_live))


def _instructions(
    time: MachineTime, register: Register, layers: Sequence[int]
) -> Iterator[ExposedRegister]:
    """Instruction words, layer by layer, while they wait in their buffer; all are live."""
    waits = time.instructions()
    for layer in layers:
        own = time.spans.own[layer]
        if not own:
            continue
        name = time.spans.program.layer_names[layer]
        pcs = np.concatenate([np.arange(span.begin, span.end) for span in own])
        numbers = np.repeat([s.number for s in own], [s.end - s.begin for s in own])
        begins = np.repeat([s.begin for s in own], [s.end - s.begin for s in own])
        ends = np.cumsum(waits[pcs])

        def draw(
            rng: Rng,
            ends: NDArray[np.int64] = ends,
            rows: NDArray[np.int64] = pcs - begins,
            numbers: NDArray[np.int64] = numbers,
            name: str = name,
        ) -> Site:
            at = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
            bit = int(rng.integers(INSTRUCTION_BITS))
            row, tile = int(rows[at]), int(numbers[at])
            return Site(name, tile, 0, row, 0, register.name, bit, unit="buffer")

        counts = len(own), int(ends[-1]), 1.0
        yield _stratum(name, register, INSTRUCTION_BITS, 1, counts, (draw, draw))


_Strata: TypeAlias = Callable[[MachineTime, Register, Sequence[int]], Iterator[ExposedRegister]]
_BUFFERS: dict[str, _Strata] = {
    **dict.fromkeys(BUFFER_BYTES, _bytes),
    "output": _sums,
    "result": _results,
    "instruction": _instructions,
}
all_handled("buffer", _BUFFERS, "faults/machine/population.py: _BUFFERS")


def stuck_site(site: Site, rng: Rng, spans: Spans, cycles: int) -> Site:
    """A site's bit, stuck at 0 or 1 for that many `cycles` of its tile, or for what is left of it.

    Bits that are stuck for ever are those of `physical`.
    """
    value = int(rng.integers(2))
    register = BY_UNIT[site.unit][site.register]
    span = spans.own[spans.program.layer_names.index(site.layer)][site.tile]
    until = site.cycle + cycles
    return replace(
        site, stuck=value, until=until if until < moments(register, span, spans) else END
    )
