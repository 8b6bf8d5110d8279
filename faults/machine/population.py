"""All the bits that can be hit while a program runs, each for as long as it stands there.

A stratum is a register while a layer runs.  Its exposure, in bit-cycles, is what it weighs in a
campaign; copies of protected bits count, each for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ...config import Config
from ...errors import FlexhycaError
from ...isa.instructions import INSTRUCTION_BITS
from ...isa.registers import BY_UNIT, Register, StateKind
from ...simulator.array.live import windows
from ...simulator.dppu.live import DppuLive
from ...simulator.inject.fault_plan import DPPU_UNITS, copies_of, moments
from ...simulator.inject.sites import (
    ALL,
    END,
    EVERY,
    Site,
    units_of,
)
from ...simulator.text.spans import Span, Spans
from ...tables import complete
from ..models import FAULT_MODELS, MACHINE_MODELS, machine_model
from .machine_time import HeldWords, MachineTime

Place = tuple[int, int]
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

    def __init__(self, spans: Spans, model: str, live: bool = False) -> None:
        """model : of `faults.models`. live : draw only where something is stored and still used."""
        self.spans, self.live = spans, live
        self.strata = list(strata(spans, model))
        weights = [s.exposure * (s.live if live else 1.0) for s in self.strata]
        self.ends = np.cumsum(weights)
        if not len(weights) or self.ends[-1] <= 0:
            raise FlexhycaError(
                f"{spans.program.name}: there is no bit for fault model {model!r} to hit"
            )

    @property
    def live_share(self) -> float:
        """Share of all bit-cycles in which a flip hits something that is still used."""
        total = sum(s.exposure for s in self.strata)
        return sum(s.exposure * s.live for s in self.strata) / total

    def draw(self, rng: Rng) -> Site:
        """One site."""
        at = int(np.searchsorted(self.ends, rng.random() * self.ends[-1], side="right"))
        stratum = self.strata[min(at, len(self.strata) - 1)]
        return stratum.draw_live(rng) if self.live else stratum.draw(rng)


def strata(spans: Spans, model: str | None = None) -> Iterator[ExposedRegister]:
    """What a fault model (or None: any) can hit, in the order of the program and the table."""
    kinds = get_args(StateKind) if model is None else machine_model(model).hits
    units = [unit for unit in units_of(spans.program.config) if unit != "buffer"]
    for layer, own in spans.own.items():
        if not own or not own[0].gemms:
            continue
        for unit in units:
            for register in BY_UNIT[unit].values():
                if register.model in kinds:
                    yield from _registers(spans, layer, own, register)
    if "memory" in kinds or "control" in kinds:
        yield from _buffers(spans, kinds)


# ---- registers --------------------------------------------------------------------------------


def _registers(
    spans: Spans, layer: int, own: Sequence[Span], register: Register
) -> Iterator[ExposedRegister]:
    config = spans.array(own[0])
    places = _places(config, register)
    cycles = np.array([moments(register, span, spans) for span in own])
    follow = (
        config.array.double_buffered_accumulators
        and register.unit in ("array", "skew")
        and register.name != "acc"
    )
    if follow:  # the next tile's operands come at once: a tile has these registers for K cycles
        cycles = np.array([sum(spans.depth[pc] for pc in span.gemms) for span in own])
    bits = [
        (bit, copy)
        for bit in range(register.bits(spans.program.network.arithmetic))
        for copy in range(_copies(spans, own[0], register, bit))
    ]
    if not len(places) or not bits or not cycles.sum():
        return
    ends = np.cumsum(cycles)
    lives = np.array(_lives(register, own, spans, places))
    live_ends = np.cumsum(lives)
    name = spans.program.layer_names[layer]

    def site(span: Span, cycle: int, place: NDArray[np.int64], rng: Rng) -> Site:
        bit, copy = bits[rng.integers(len(bits))]
        row, col = place.tolist()
        return Site(name, span.number, cycle, row, col, register.name, bit, copy, register.unit)

    def draw(rng: Rng) -> Site:
        at = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
        where = int(rng.integers(len(places)))
        first = windows(register, own[at], spans, places)[0][0, where] if follow else 0
        return site(own[at], int(first + rng.integers(cycles[at])), places[where], rng)

    def draw_live(rng: Rng) -> Site:
        at = int(np.searchsorted(live_ends, rng.integers(live_ends[-1]), side="right"))
        if register.unit in DPPU_UNITS:
            row, col, cycle = DppuLive(register, own[at], spans).draw(rng)
            return site(own[at], cycle, np.array([row, col]), rng)
        first, count = windows(register, own[at], spans, places)
        total = np.cumsum(count)
        slot = int(rng.integers(total[-1]))
        where = int(np.searchsorted(total, slot, side="right"))
        cycle = int(first.reshape(-1)[where] + slot - (total[where] - count.reshape(-1)[where]))
        return site(own[at], cycle, places[where % len(places)], rng)

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


def _lives(
    register: Register, own: Sequence[Span], spans: Spans, places: NDArray[np.int64]
) -> list[int]:
    """Live cycles of all places in each tile; many tiles are alike."""
    if register.unit in DPPU_UNITS:
        return [
            DppuLive(register, span, spans).total if moments(register, span, spans) else 0
            for span in own
        ]
    known: dict[tuple[object, ...], int] = {}
    found = []
    for span in own:
        alike = span.m, span.n, tuple(spans.depth[pc] for pc in span.gemms)
        if alike not in known:
            known[alike] = int(windows(register, span, spans, places)[1].sum())
        found.append(known[alike])
    return found


def _copies(spans: Spans, span: Span, register: Register, bit: int) -> int:
    runs, own = copies_of(spans, span, register.unit, register.name, bit)
    return runs * own


def _places(config: Config, register: Register) -> NDArray[np.int64]:
    return _grid(register, register.rows(config), register.cols(config))


@lru_cache(64)
def _grid(register: Register, rows: int, cols: int) -> NDArray[np.int64]:
    found = [p for p in product(range(rows), range(cols)) if register.exists(*p)]
    return np.array(found, np.int64).reshape(-1, 2)


# ---- buffers ----------------------------------------------------------------------------------


def _buffers(spans: Spans, kinds: Sequence[str]) -> Iterator[ExposedRegister]:
    time = MachineTime(spans)
    leases: dict[str, list[HeldWords]] = {}
    for lease in time.leases():
        leases.setdefault(lease.register, []).append(lease)
    for register in BY_UNIT["buffer"].values():
        if register.model not in kinds:
            continue
        if register.name == "instruction":
            yield from _instructions(spans, time, register)
        elif register.name == "result" or register.name == "output":
            yield from _slots(spans, time, register)
        elif register.rows(spans.program.config):
            yield _bytes(time, register, leases.get(register.name, []))


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


def _bytes(time: MachineTime, register: Register, leases: Sequence[HeldWords]) -> ExposedRegister:
    """A buffer of bytes during the whole run. Its leases say what of it is live."""
    words = register.rows(time.spans.program.config)
    ends = np.cumsum([lease.words * (lease.end - lease.begin) for lease in leases])
    names = time.spans.program.layer_names

    def at(word: int, moment: int, rng: Rng) -> Site:
        span, cycle = time.at(moment)
        cycle = cycle if register.timed else 0
        bit = int(rng.integers(8))
        return Site(
            names[span.layer], span.number, cycle, word, 0, register.name, bit, unit="buffer"
        )

    def draw(rng: Rng) -> Site:
        return at(int(rng.integers(words)), int(rng.integers(time.cycles)), rng)

    def draw_live(rng: Rng) -> Site:
        slot = int(rng.integers(ends[-1]))
        index = int(np.searchsorted(ends, slot, side="right"))
        lease = leases[index]
        word = lease.word + int(rng.integers(lease.words))
        return at(word, int(rng.integers(lease.begin, lease.end)), rng)

    live = float(ends[-1]) / (words * time.cycles) if len(ends) else 0.0
    counts = len(time.spans.all), time.cycles, live
    return _stratum(ALL, register, 8, words, counts, (draw, draw_live))


def _slots(spans: Spans, time: MachineTime, register: Register) -> Iterator[ExposedRegister]:
    """Words of the output buffer, layer by layer, while a tile holds them."""
    words = spans.program.config.tile_words
    bits = register.bits(spans.program.network.arithmetic)
    for layer, own in spans.own.items():
        if not own or not (register.name == "result" or own[0].gemms):
            continue
        held = [
            time.sums(span) if register.name == "output" else [time.results(span)] for span in own
        ]
        stationary = register.name == "output" and spans.program.config.array.dataflow != "os"
        if stationary:
            held = [[span.cycles] for span in own]
        cycles = np.array([sum(x) for x in held])
        if not cycles.sum():
            continue
        yield _slot_stratum(spans, layer, own, register, bits, words, held, cycles, stationary)


def _slot_stratum(
    spans: Spans,
    layer: int,
    own: Sequence[Span],
    register: Register,
    bits: int,
    words: int,
    held: Sequence[Sequence[int]],
    cycles: NDArray[np.int64],
    stationary: bool,
) -> ExposedRegister:
    used = np.array([span.m * span.n for span in own])
    ends, live_ends = np.cumsum(cycles), np.cumsum(cycles * used)
    name = spans.program.layer_names[layer]

    def site(at: int, word: int, rng: Rng) -> Site:
        moment = int(rng.integers(cycles[at]))
        if not stationary:
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
    return _stratum(name, register, bits, words, counts, (draw, draw_live))


def _instructions(spans: Spans, time: MachineTime, register: Register) -> Iterator[ExposedRegister]:
    """Instruction words, layer by layer, while they wait in their buffer; all are live."""
    waits = time.instructions()
    for layer, own in spans.own.items():
        if not own:
            continue
        name = spans.program.layer_names[layer]
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


def stuck_site(site: Site, rng: Rng, spans: Spans, cycles: int = 0) -> Site:
    """A site's bit, stuck at 0 or 1: for ever, or for that many `cycles` of its tile.

    What is left of the tile is stuck where that is less. A copy that a PE routes to the bit in some
    layers only is stuck in these.
    """
    value = int(rng.integers(2))
    register = BY_UNIT[site.unit][site.register]
    span = spans.own[spans.program.layer_names.index(site.layer)][site.tile]
    if not cycles:
        _, own = copies_of(spans, span, site.unit, site.register, site.bit)
        run, copy = divmod(site.copy, own)
        col, third = site.col, spans.array(span).array.cols
        if third < spans.program.config.array.cols and (site.unit, site.register) != (
            "skew",
            "act",
        ):
            col += run * third
        return replace(site, layer=ALL, tile=EVERY, cycle=0, col=col, copy=copy, stuck=value)
    until = site.cycle + cycles
    return replace(
        site, stuck=value, until=until if until < moments(register, span, spans) else END
    )
