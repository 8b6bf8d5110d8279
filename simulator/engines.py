"""The cycle model: four engines, an instruction fetch unit and a DRAM channel under SimPy.

Each engine takes its instructions in text order: take tokens, work, give tokens.  Events are per
instruction and per DRAM grant, never per cycle; what happens inside a tile is a closed form.
Engines that act in the same cycle do so in a fixed order of priority (LOAD, ARRAY, DPPU, STORE), so
that the result does not depend on how the events were inserted.

The time of each engine is divided without rest into `busy` and the stalls of `STALLS`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import simpy

from ..errors import DeadlockError, ProgramError
from ..isa.instructions import (
    BY_NAME,
    BY_OPCODE,
    INSTRUCTION_BYTES,
    LAYER_DESCRIPTOR_BYTES,
    WINDOW_DESCRIPTOR_BYTES,
    Engine,
    Kind,
    Source,
    Table,
)
from ..isa.program import Program
from .dram import FixedDram
from .kernels import tap_windows
from .memory import Memory
from .slack import SlackLedger
from .timing import os_tile_cycles
from .work import excess_work, reductions

#: Why an engine stands still. Keys of the stall table, engine by engine.
STALLS: dict[Engine, dict[str, str]] = {
    Engine.LOAD: {
        "buffer_full": "the half to be filled is still read by the array or the vector unit",
        "position_buffer_full": "the half to be filled is still read by the DPPU",
        "producer": "the tensor to be read is not stored yet, or no residual slot is free",
        "dram": "the channel serves another engine",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
    Engine.ARRAY: {
        "operands": "operands are not loaded yet",
        "dram_contention": "operands are late because the DPPU's fetches held the channel",
        "output_full": "no output slot is free: the vector unit or STORE is behind",
        "dppu_outbuf_full": "no output slot is free: results wait for the DPPU",
        "dppu_window": "the DPPU has not left the register file to be filled (HyCA's stall)",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
    Engine.DPPU: {
        "tables": "the position table is not loaded yet",
        "producer": "the tensor to be read is not stored yet",
        "dram": "operands are on their way from DRAM",
        "array": "the array's results are not there yet",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
    Engine.STORE: {
        "array": "the array's results are not there yet",
        "dppu": "the DPPU's results are not there yet",
        "residual": "operands of the vector unit are not loaded yet",
        "dram": "the channel serves another engine",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
}
#: Stall of a consumer that waits for a token of a producer: [consumer][producer].
_WAITING: dict[Engine, dict[Engine, str]] = {
    Engine.LOAD: {
        Engine.ARRAY: "buffer_full",
        Engine.DPPU: "position_buffer_full",
        Engine.STORE: "producer",
    },
    Engine.ARRAY: {
        Engine.LOAD: "operands",
        Engine.DPPU: "dppu_window",
        Engine.STORE: "output_full",
    },
    Engine.DPPU: {Engine.LOAD: "tables", Engine.ARRAY: "array", Engine.STORE: "producer"},
    Engine.STORE: {Engine.LOAD: "residual", Engine.ARRAY: "array", Engine.DPPU: "dppu"},
}
#: Cycles of the vector unit's pipeline, from the first word in to the first word out.
VEC_LATENCY = 4

Process = Generator[simpy.Event, None, None]


class CycleModel:
    """One run of a program. Attributes after `run`: cycles, busy, stalls, nbytes, layer_end."""

    def __init__(
        self,
        program: Program,
        memory: Memory | None = None,
        start_order: Sequence[Engine] = tuple(Engine),
        progress: Any = None,
    ) -> None:
        """memory : executes values beside the timing. start_order : must not matter (tests).

        progress : called with (cycle, layer index) when a layer is stored.
        """
        self.program, self.config, self.memory = program, program.config, memory
        self.start_order, self.progress = start_order, progress
        self.env = simpy.Environment()
        dram = self.config.dram
        self.dram = FixedDram(dram.bytes_per_cycle, dram.latency_cycles)
        layers = len(program.layers)
        self.busy = np.zeros((len(Engine), layers), np.int64).tolist()
        self.stalls: list[list[dict[str, int]]] = [
            [dict.fromkeys(STALLS[e], 0) for _ in range(layers)] for e in Engine
        ]
        self.nbytes = np.zeros((layers, len(Kind)), np.int64).tolist()
        self.layer_end = [0] * layers
        self.tokens: list[list[int]] = program.credits.tolist()  # [producer][consumer]
        self.sleeper: list[list[simpy.Event | None]] = [[None] * len(Engine) for _ in Engine]
        self.state: list[tuple[int, str]] = [(-1, "starting")] * len(Engine)
        self.ended = [0] * len(Engine)
        self.last_layer = [0] * len(Engine)
        self._prepare_queues()
        d = self.config.dppu
        self.ledger = SlackLedger(max(1, d.size // d.width))
        self.tap_done = [0, 0]  # when the DPPU leaves the register file filled last, and the other
        self.tapped: deque[tuple[int, int]] = (
            deque()
        )  # (done, cycles of work) of tiles not yet collected
        self.barrier: dict[int, list[Any]] = {}

    # ---- preparation --------------------------------------------------------------------------

    def _prepare_queues(self) -> None:
        """Per-engine lists of (pc, op name, layer, waits, posts)."""
        p, c = self.program, self.program.columns
        self.columns = {name: column.tolist() for name, column in c.items()}
        self.layer_of = p.debug_layer.tolist()
        names = {code: i.name for code, i in BY_OPCODE.items()}
        self.ops = [names[op] for op in self.columns["op"]]
        self.queues: list[list[int]] = [[] for _ in Engine]
        everyone = (1 << len(Engine)) - 1
        for pc, name in enumerate(self.ops):
            if name == "SETCFG":
                self.queues[self.columns["engine"][pc]].append(pc)
            elif name in ("SYNC", "HALT"):
                mask = self.columns["engines"][pc] if name == "SYNC" else everyone
                for e in Engine:
                    if mask >> e & 1:
                        self.queues[e].append(pc)
            else:
                engine = BY_NAME[name].engine
                assert engine is not None
                self.queues[engine].append(pc)
        self.readers = [0] * len(self.ops)
        for queue in self.queues:
            for pc in queue:
                self.readers[pc] += 1
        self.k = reductions(p)
        self.excess_bytes, self.excess_cycles = excess_work(p, self.k)
        self._prepare_fetch()

    def _prepare_fetch(self) -> None:
        """Cut the text into the chunks that the fetch unit reads."""
        size = min(self.config.dram.grant_bytes, self.config.buffers.instruction_bytes // 2)
        self.chunk = max(1, size // INSTRUCTION_BYTES)
        count = -(-len(self.ops) // self.chunk)
        self.chunks_held = max(
            2, self.config.buffers.instruction_bytes // (self.chunk * INSTRUCTION_BYTES)
        )
        self.fetched = [False] * count
        self.fetch_event: list[simpy.Event | None] = [None] * count
        self.left = [sum(self.readers[i * self.chunk : (i + 1) * self.chunk]) for i in range(count)]
        self.drained = 0  # chunks whose instructions have all been taken, in order
        self.fetch_sleep: simpy.Event | None = None

    # ---- events -------------------------------------------------------------------------------

    def _sleep(self, engine: int, cycles: int) -> simpy.Event:
        """A time-out that, among events of its cycle, comes in the order of its engine."""
        event = simpy.Event(self.env)
        event._ok, event._value = True, None
        self.env.schedule(event, engine + 2, cycles)  # type: ignore[arg-type]
        return event

    def _wake(self, engine: int, event: simpy.Event) -> None:
        event._ok, event._value = True, None
        self.env.schedule(event, engine + 2, 0)  # type: ignore[arg-type]

    def _post(self, engine: int, mask: int) -> None:
        for consumer in range(len(Engine)):
            if mask >> consumer & 1:
                event = self.sleeper[engine][consumer]
                if event is not None:
                    self.sleeper[engine][consumer] = None
                    self._wake(consumer, event)
                else:
                    self.tokens[engine][consumer] += 1

    def _take(self, engine: Engine, producer: Engine, pc: int) -> Process:
        """Take one token of `producer`; the wait is charged to the instruction's layer."""
        if self.tokens[producer][engine]:
            self.tokens[producer][engine] -= 1
            return
        start, held = self.env.now, self.dram.busy[Kind.DPPU_OPERAND]
        blocked_on_dppu = self._store_waits_for_dppu()
        event = self.sleeper[producer][engine] = simpy.Event(self.env)
        self.state[engine] = (pc, producer.name)
        yield event
        waited = int(self.env.now - start)
        reason = _WAITING[engine][producer]
        stalls = self.stalls[engine][self.layer_of[pc]]
        if reason == "operands":
            contention = min(waited, self.dram.busy[Kind.DPPU_OPERAND] - held)
            stalls["dram_contention"] += contention
            waited -= contention
        elif reason == "output_full" and blocked_on_dppu:
            reason = "dppu_outbuf_full"
        stalls[reason] += waited

    def _store_waits_for_dppu(self) -> bool:
        return self.sleeper[Engine.DPPU][Engine.STORE] is not None

    # ---- instruction supply -------------------------------------------------------------------

    def _fetch(self) -> Process:
        """The fetch unit: text and the descriptors it names, a few chunks ahead."""
        nbytes = {Table.LAYER: LAYER_DESCRIPTOR_BYTES, Table.WINDOW: WINDOW_DESCRIPTOR_BYTES}
        table = self.columns["table"]
        base = self.program.memory_map["text"][0]
        for index in range(len(self.fetched)):
            while index - self.drained >= self.chunks_held:
                self.fetch_sleep = simpy.Event(self.env)
                yield self.fetch_sleep
            first = index * self.chunk
            pcs = range(first, min(first + self.chunk, len(self.ops)))
            size = len(pcs) * INSTRUCTION_BYTES
            size += sum(nbytes[Table(table[pc])] for pc in pcs if self.ops[pc] == "SETCFG")
            at = base + first * INSTRUCTION_BYTES
            for offset in range(0, size, self.config.dram.grant_bytes):
                part = min(self.config.dram.grant_bytes, size - offset)
                _, end = self._request(at + offset, part, Kind.INSTRUCTION, self.layer_of[first])
                yield self._sleep(len(Engine), end - int(self.env.now))
            yield self._sleep(len(Engine), self.config.dram.latency_cycles)
            self.fetched[index] = True
            event = self.fetch_event[index]
            if event is not None:
                self._wake(len(Engine), event)

    def _next(self, engine: Engine, pc: int) -> Process:
        """Wait until instruction `pc` is fetched, and take it out of the instruction buffer."""
        index = pc // self.chunk
        if not self.fetched[index]:
            start = self.env.now
            event = self.fetch_event[index]
            if event is None:
                event = self.fetch_event[index] = simpy.Event(self.env)
            self.state[engine] = (pc, "fetch")
            yield event
            # Engines woken by one event go on in their order of priority.
            yield self._sleep(engine, 0)
            waited = int(self.env.now - start)
            self.stalls[engine][self.layer_of[pc]]["instruction"] += waited

    def _taken(self, pc: int) -> None:
        self.left[pc // self.chunk] -= 1
        while self.drained < len(self.left) and self.left[self.drained] == 0:
            self.drained += 1
            if self.fetch_sleep is not None and not self.fetch_sleep.triggered:
                self._wake(len(Engine), self.fetch_sleep)

    # ---- engines ------------------------------------------------------------------------------

    def _engine(self, engine: Engine) -> Process:
        """Take tokens, work, give tokens; the skeleton of every engine."""
        columns, memory = self.columns, self.memory
        waits, posts = columns["wait"], columns["post"]
        work = getattr(self, f"_{engine.name.lower()}")
        late = 1 << Engine.ARRAY if engine == Engine.DPPU else 0  # taken by _dppu itself
        for pc in self.queues[engine]:
            if not self.fetched[pc // self.chunk]:
                yield from self._next(engine, pc)
            self._taken(pc)
            self.last_layer[engine] = self.layer_of[pc]
            mask = waits[pc] & ~late
            for producer in Engine:
                if mask >> producer & 1:
                    yield from self._take(engine, producer, pc)
            if memory is not None:
                memory.begin(pc)
            op = self.ops[pc]
            if op == "SYNC":
                yield from self._sync(engine, pc)
            elif op == "SETCFG":
                yield self._sleep(engine, 1)
                self.busy[engine][self.layer_of[pc]] += 1
            elif op != "HALT":
                yield from work(pc)
            if op == "LOAD":
                continue  # its effect and its tokens come with the data
            if memory is not None:
                memory.end(pc)
            if posts[pc] and op != "HALT":
                self._post(engine, posts[pc])
        self.ended[engine] = int(self.env.now)
        self.state[engine] = (-1, "ended")

    def _request(self, address: int, nbytes: int, kind: int, layer: int) -> tuple[int, int]:
        self.nbytes[layer][kind] += nbytes
        return self.dram.request(int(self.env.now), address, nbytes, kind)

    def _transfer(self, engine: Engine, pc: int, address: int, nbytes: int, kind: int) -> Process:
        """Move `nbytes` through the channel, grant by grant; waits for it are `dram` stalls."""
        layer, grant = self.layer_of[pc], self.config.dram.grant_bytes
        while nbytes > 0:
            part = min(grant, nbytes)
            now = int(self.env.now)
            start, end = self._request(address, part, kind, layer)
            self.stalls[engine][layer]["dram"] += start - now
            self.busy[engine][layer] += end - start
            yield self._sleep(engine, end - now)
            nbytes -= part
            address += part

    def _load(self, pc: int) -> Process:
        """LOAD: the engine is free when the channel is; tokens come with the data."""
        c = self.columns
        size = c["row_bytes"][pc] * c["count"][pc]
        yield from self._transfer(Engine.LOAD, pc, c["dram_addr"][pc], size, c["kind"][pc])
        if self.memory is not None or c["post"][pc]:
            arrival = self._sleep(Engine.LOAD, self.config.dram.latency_cycles)
            assert arrival.callbacks is not None
            arrival.callbacks.append(lambda _event: self._arrive(pc))

    def _arrive(self, pc: int) -> None:
        if self.memory is not None:
            self.memory.end(pc)
        self._post(Engine.LOAD, self.columns["post"][pc])

    def _array(self, pc: int) -> Process:
        """GEMM: stream K operands (the DPPU's register files may hold them up), skew, drain."""
        c, config = self.columns, self.config
        layer, k, now = self.layer_of[pc], self.k[pc], int(self.env.now)
        cycles = os_tile_cycles(k, config.array.rows, config.array.cols, bool(c["last"][pc]))
        stall = 0
        if c["tap"][pc]:
            d = config.dppu
            end, done1, done2, begin, work = tap_windows(
                now, k, d.window, c["tap"][pc], d.size // d.width, d.width, *self.tap_done
            )
            stall = end - now - k
            self.tap_done = [done1, done2]
            self.tapped.append((done1, work))
            self.ledger.book(begin, done1, work * (d.size // d.width))
        self.busy[Engine.ARRAY][layer] += cycles
        self.stalls[Engine.ARRAY][layer]["dppu_window"] += stall
        yield self._sleep(Engine.ARRAY, cycles + stall)

    def _dppu(self, pc: int) -> Process:
        """DPPU: compute from the taps while the array streams, or fetch and compute in slack."""
        c, layer = self.columns, self.layer_of[pc]
        stalls = self.stalls[Engine.DPPU][layer]
        if c["source"][pc] == Source.DRAM:
            yield from self._fetch_operands(pc)
            start = int(self.env.now)
            work = self.excess_cycles[pc]
            target = self.ledger.finish(start, work * c["count"][pc], work)
            while target > self.env.now:  # tiles that start meanwhile take slack away
                yield self._sleep(Engine.DPPU, target - int(self.env.now))
                target = self.ledger.finish(start, work * c["count"][pc], work)
            self.busy[Engine.DPPU][layer] += int(self.env.now) - start
            if c["wait"][pc] >> Engine.ARRAY & 1:
                yield from self._take(Engine.DPPU, Engine.ARRAY, pc)
            return
        before = stalls["array"]
        if c["wait"][pc] >> Engine.ARRAY & 1:
            yield from self._take(Engine.DPPU, Engine.ARRAY, pc)
        if not self.tapped:
            raise ProgramError(
                f"{self.program.name}: DPPU at pc {pc} takes operands from the array, but no GEMM "
                "with taps has started; check the tap and post fields"
            )
        done, work = self.tapped.popleft()
        overlapped = min(stalls["array"] - before, work)
        stalls["array"] -= overlapped
        rest = max(0, done - int(self.env.now))
        self.busy[Engine.DPPU][layer] += overlapped + rest
        if rest:
            yield self._sleep(Engine.DPPU, rest)

    def _fetch_operands(self, pc: int) -> Process:
        """Read the rows and columns of the excess neurons from DRAM, each once."""
        layer = self.layer_of[pc]
        stalls, before = self.stalls[Engine.DPPU][layer], self.busy[Engine.DPPU][layer]
        address = self.program.memory_map["activations"][0]
        yield from self._transfer(
            Engine.DPPU, pc, address, self.excess_bytes[pc], Kind.DPPU_OPERAND
        )
        latency = self.config.dram.latency_cycles
        # To the DPPU its own transfer is a wait: it computes nothing meanwhile.
        stalls["dram"] += self.busy[Engine.DPPU][layer] - before + latency
        self.busy[Engine.DPPU][layer] = before
        yield self._sleep(Engine.DPPU, latency)

    def _store(self, pc: int) -> Process:
        """VEC: words over lanes. STORE: the tile's bytes through the channel."""
        c, layer = self.columns, self.layer_of[pc]
        words = c["m"][pc] * c["n"][pc]
        if self.ops[pc] == "VEC":
            window = self.window_elements[layer]
            cycles = -(-words * window // self.config.vec.lanes) + VEC_LATENCY
            self.busy[Engine.STORE][layer] += cycles
            yield self._sleep(Engine.STORE, cycles)
            return
        yield from self._transfer(Engine.STORE, pc, self.store_base[layer], words, Kind.OFMAP)
        self.layer_end[layer] = int(self.env.now)
        if self.progress is not None:
            self.progress(int(self.env.now), layer)

    def _sync(self, engine: Engine, pc: int) -> Process:
        """Wait until every engine of the barrier has come."""
        here = self.barrier.setdefault(pc, [])
        if len(here) + 1 == self.readers[pc]:
            for e, event in here:
                self._wake(e, event)
            return
        event, start = simpy.Event(self.env), self.env.now
        here.append((engine, event))
        self.state[engine] = (pc, "SYNC")
        yield event
        waited = int(self.env.now - start)
        self.stalls[engine][self.layer_of[pc]]["instruction"] += waited

    # ---- the run ------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end; returns the total cycles. Raises DeadlockError if that never comes."""
        p = self.program
        kernel = p.column("kernel_h") * p.column("kernel_w")
        self.window_elements = np.where(p.column("op") == 0, 1, kernel).tolist()
        self.store_base = p.tensors[p.column("output"), 3].tolist()
        processes = [self.env.process(self._engine(e)) for e in self.start_order]
        self.env.process(self._fetch())
        self.env.run()
        if any(process.is_alive for process in processes):
            raise DeadlockError(self._deadlock())
        self.cycles = max(self.ended)
        for e in Engine:
            rest = self.cycles - self.ended[e]
            self.stalls[e][self.last_layer[e]]["finished"] += rest
        return self.cycles

    def _deadlock(self) -> str:
        blocked = []
        for e in Engine:
            pc, what = self.state[e]
            if what in ("ended", "starting"):
                continue
            layer = self.program.layer_names[self.layer_of[pc]]
            wants = f"semaphore {what} -> {e.name}" if what in Engine.__members__ else f"for {what}"
            blocked.append(f"{e.name} at pc {pc} ({self.ops[pc]}, layer {layer}) waits {wants}")
        return (
            f"{self.program.name}: deadlock at cycle {int(self.env.now)}: {'; '.join(blocked)}; "
            "a token is never posted: check the wait and post fields"
        )


def layer_cycles(ends: list[int]) -> list[int]:
    """Cycles from the end of one layer to the end of the next; they add up to the last end."""
    done = np.maximum.accumulate([0, *ends]).tolist()
    return [b - a for a, b in pairwise(done)]
