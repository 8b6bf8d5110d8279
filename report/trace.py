"""A recorded run as a Chrome trace, which Perfetto (ui.perfetto.dev) opens: docs/traces.md.

One microsecond of the trace is one cycle.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..isa.instructions import BY_OPCODE, Engine, Kind
from ..isa.program import Program
from ..simulator.cycles.occupancy import COUNTERS, leases, levels
from ..simulator.cycles.stalls import BUSY
from ..simulator.cycles.trace import Recorder, Track
from ..simulator.run import Result

#: Slices up to which every tile is drawn unless layers are named. Perfetto takes far more, but a
#: file of this many has some 40 MB already.
MOST_SLICES = 200_000
#: Intervals of the DRAM counter, and of the others where they change too often.
INTERVALS = 2_000
MOST_CHANGES = 20_000

LAYERS, DRAM_CHANNEL, DRAM_WRITES = "layers", "DRAM", "DRAM writes"
ACTIVATION_MEMORY = "activation memory"
#: The tracks from top to bottom; the place in this list is the thread's number.
TRACKS = (LAYERS, *(e.name for e in Engine), DRAM_CHANNEL)
_PID = 1


class TraceSlice(NamedTuple):
    """`cycles` from `start` on in `state`; pc -1: all that a layer spent in it, put together."""

    layer: int
    pc: int
    state: str
    start: int
    cycles: int
    nbytes: int


def tracks(config: Config) -> tuple[str, ...]:
    """The tracks of a machine: `TRACKS`, a write channel (`dram.duplex`), the activation memory."""
    more = {DRAM_WRITES: config.dram.duplex, ACTIVATION_MEMORY: config.buffers.activation_bytes}
    return (*TRACKS, *(name for name, there in more.items() if there))


def default_detail(recorder: Recorder, layers: int) -> set[int]:
    """Layers that are drawn tile by tile if none are named: all, or none where that is too much."""
    return set() if slice_count(recorder) > MOST_SLICES else set(range(layers))


def slice_count(recorder: Recorder) -> int:
    """Slices of the trace if every tile is drawn."""
    ports = recorder.channel, recorder.writes, recorder.activations
    return sum(map(len, (*ports, *recorder.engines)))


def slices(track: Track, layer_of: Sequence[int], detail: Set[int]) -> Iterator[TraceSlice]:
    """The slices of a track in time order; layers that are not in `detail` rolled up.

    Neighbours among those are put together, one slice for each layer and state, in the order in
    which the layers appear first. Lengths are exact, and so are the time at which such a group
    begins and ends (the gaps of a channel keep their place in it), not what lies between.
    """
    gathered: dict[int, dict[str, list[int]]] = {}  # layer -> state -> [cycles, bytes]
    begin = end = 0
    for pc, state, start, cycles, nbytes in zip(
        track.pcs, track.states, track.starts, track.cycles, track.nbytes, strict=True
    ):
        layer = layer_of[pc]
        if layer in detail:
            yield from _rolled_up(gathered, begin)
            yield TraceSlice(layer, pc, state, start, cycles, nbytes)
            gathered, begin = {}, start + cycles
        else:
            states = gathered.setdefault(layer, {})
            states.setdefault("", [0, 0])[0] += start - end
            total = states.setdefault(state, [0, 0])
            total[0] += cycles
            total[1] += nbytes
        end = start + cycles
    yield from _rolled_up(gathered, begin)


def _rolled_up(gathered: dict[int, dict[str, list[int]]], at: int) -> Iterator[TraceSlice]:
    for layer, states in gathered.items():
        for state, (cycles, nbytes) in states.items():
            if cycles and state:
                yield TraceSlice(layer, -1, state, at, cycles, nbytes)
            at += cycles


def write_trace(
    path: Path, result: Result, recorder: Recorder, detail: Set[int], compress: bool
) -> None:
    """Write the trace of `result` as JSON (gzip if `compress`): one event a line.

    detail : layers (by index) whose tiles are drawn; all others are rolled up.
    """
    head = {"displayTimeUnit": "ms", "otherData": _about(result, detail)}
    with path.open("wb") as raw:
        # A fixed time and no name: the same run gives the same bytes.
        file = gzip.GzipFile("", "wb", 6, raw, mtime=0) if compress else raw
        file.write((json.dumps(head)[:-1] + ', "traceEvents": [\n').encode())
        first = True
        for event in events(result, recorder, detail):
            text = json.dumps(event, separators=(",", ":"))
            file.write((text if first else ",\n" + text).encode())
            first = False
        file.write(b"\n]}\n")
        if compress:
            file.close()


def _about(result: Result, detail: Set[int]) -> dict[str, object]:
    from .. import __version__

    program = result.program
    named = [name for i, name in enumerate(program.layer_names) if i in detail]
    whole = len(named) == len(program.layer_names)
    return {
        "program": f"flexhyca {__version__}",
        "time": "1 microsecond is 1 cycle",
        "model": program.name,
        "config": program.config.name,
        "config_hash": program.config.config_hash,
        "batch": program.batch,
        "cycles": result.cycles,
        "tiles_of": "all layers" if whole else ", ".join(named) or "no layer",
    }


def events(result: Result, recorder: Recorder, detail: Set[int]) -> Iterator[dict[str, Any]]:
    """The events of the trace: names, slices track by track, counters."""
    program = result.program
    title = f"{program.name} on {program.config.name} (1 us is 1 cycle)"
    yield _metadata("process_name", 0, name=title)
    for tid, name in enumerate(tracks(program.config), 1):
        yield _metadata("thread_name", tid, name=name)
        yield _metadata("thread_sort_index", tid, sort_index=tid)
    yield from _layer_events(result)
    named = _Names(program)
    for tid, track in enumerate(recorder.engines, 2):
        for piece in slices(track, named.layer_of, detail):
            yield named.engine_event(tid, piece)
    ports = {
        DRAM_CHANNEL: recorder.channel,
        DRAM_WRITES: recorder.writes,
        ACTIVATION_MEMORY: recorder.activations,
    }
    for tid, name in enumerate(tracks(program.config), 1):
        if name in ports:
            for piece in slices(ports[name], named.layer_of, detail):
                yield named.port_event(tid, piece, name)
    yield from _traffic((recorder.channel, recorder.writes), result.cycles)
    for name, (times, values) in levels(leases(program), recorder).items():
        yield _counter(name, 0, {COUNTERS[name]: 0})
        for at, value in zip(*_thinned(times, values, result.cycles), strict=True):
            yield _counter(name, at, {COUNTERS[name]: value})


def _metadata(what: str, tid: int, **args: object) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": _PID, "tid": tid, "args": args}


def _counter(name: str, at: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "C", "ts": at, "pid": _PID, "args": args}


def _slice(
    name: str, category: str, at: int, cycles: int, tid: int, args: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "cat": category,
        "ph": "X",
        "ts": at,
        "dur": cycles,
        "pid": _PID,
        "tid": tid,
        "args": args,
    }


def _layer_events(result: Result) -> Iterator[dict[str, Any]]:
    at = 0
    for layer in result.layers.to_dict("records"):
        cycles = int(layer["cycles"])
        if cycles:
            keys = ("op", "tiles", "macs", "utilization", "bound", "bound_share")
            args = {key: layer[key] for key in keys}
            yield _slice(layer["name"], LAYERS, at, cycles, 1, args)
        at += cycles


class _Names:
    """What slices are called."""

    def __init__(self, program: Program) -> None:
        self.layers = program.layer_names
        self.layer_of = program.debug_layer.tolist()
        self.tile_of = program.debug_tile.tolist()
        self.ops = [BY_OPCODE[op].name for op in program.columns["op"].tolist()]

    def _args(self, piece: TraceSlice) -> dict[str, Any]:
        if piece.pc < 0:
            return {"layer": self.layers[piece.layer], "tiles": "all"}
        return {
            "pc": piece.pc,
            "instruction": self.ops[piece.pc],
            "layer": self.layers[piece.layer],
            "tile": self.tile_of[piece.pc],
        }

    def engine_event(self, tid: int, piece: TraceSlice) -> dict[str, Any]:
        """LAYER TILE while an instruction works, LAYER TILE: STALL while it cannot."""
        busy = piece.state == BUSY
        name = self.layers[piece.layer]
        if piece.pc >= 0:
            name = f"{name} {self.tile_of[piece.pc]}"
        return _slice(
            name if busy else f"{name}: {piece.state}",
            BUSY if busy else "stall",
            piece.start,
            piece.cycles,
            tid,
            {**self._args(piece), "reason": piece.state},
        )

    def port_event(self, tid: int, piece: TraceSlice, port: str) -> dict[str, Any]:
        """The kind of what is moved: Perfetto colours slices by their name."""
        args, category = {**self._args(piece), "bytes": piece.nbytes}, "dram"
        if port == ACTIVATION_MEMORY:
            category = port
        return _slice(piece.state, category, piece.start, piece.cycles, tid, args)


def _traffic(channels: Sequence[Track], cycles: int) -> Iterator[dict[str, Any]]:
    """Bytes a cycle by kind, on average over intervals of equal length (the last may be shorter).

    The bytes of a transfer are spread evenly over its cycles.
    """
    if not cycles:
        return
    width = -(-cycles // INTERVALS)
    edges = np.append(np.arange(0, cycles, width), cycles)
    states = np.concatenate([np.array(track.states, str) for track in channels])
    starts, lengths, nbytes = (
        np.concatenate([np.array(column, np.float64) for column in columns])
        for columns in zip(*((t.starts, t.cycles, t.nbytes) for t in channels), strict=True)
    )
    name = "DRAM bytes per cycle"
    rates = {}
    for kind in Kind:
        own = states == kind.name.lower()
        moved = _moved_until(edges, starts[own], lengths[own], nbytes[own])
        rates[kind.name.lower()] = np.diff(moved) / np.diff(edges)
    before: dict[str, float] = {}
    for i, at in enumerate(edges[:-1].tolist()):
        now = {kind: round(float(rate[i]), 6) for kind, rate in rates.items()}
        if now != before:
            yield _counter(name, at, now)
        before = now
    yield _counter(name, cycles, dict.fromkeys(rates, 0))


def _moved_until(
    edges: NDArray[np.int64],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    nbytes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Bytes moved before each of `edges`."""
    if not len(starts):
        return np.zeros(len(edges))
    before = np.concatenate([[0.0], np.cumsum(nbytes)])
    last = np.searchsorted(starts, edges, side="right") - 1  # the transfer that began last
    part = np.clip((edges - starts[last]) / lengths[last], 0.0, 1.0)
    return np.where(last < 0, 0.0, before[last] + part * nbytes[last])


def _thinned(
    times: NDArray[np.int64], values: NDArray[np.int64], cycles: int
) -> Iterable[list[int]]:
    """A counter's changes; if they are very many, the largest value of each interval instead."""
    if len(times) <= MOST_CHANGES:
        return times.tolist(), values.tolist()
    edges = np.arange(0, cycles, -(-cycles // INTERVALS))
    before = np.searchsorted(times, edges, side="right") - 1
    most = np.where(before < 0, 0, values[before])  # at the beginning of the interval
    np.maximum.at(most, np.searchsorted(edges, times, side="right") - 1, values)
    at = np.append(edges, times[-1]) if edges[-1] < times[-1] else edges
    most = np.append(most, values[-1]) if edges[-1] < times[-1] else most
    changed = np.append(True, np.diff(most) != 0)
    return at[changed].tolist(), most[changed].tolist()
