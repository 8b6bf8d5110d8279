"""The cycle model: four engines, an instruction fetch unit and a DRAM channel under SimPy.

Each engine takes its instructions in text order: take tokens, work, give tokens.  Events are per
instruction and per DRAM grant, never per cycle; what happens inside a tile is a closed form.
Engines that act in the same cycle do so in a fixed order (LOAD, ARRAY, DPPU, STORE).

The time of each engine is divided without rest into `busy` and the stalls of `stalls.STALLS`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import simpy

from ...errors import DeadlockError, InternalError, ProgramError
from ...isa.instructions import (
    BY_OPCODE,
    INSTRUCTIONS,
    Engine,
    Kind,
    Source,
)
from ...isa.program import Program
from ...tables import complete
from ..dppu.taps import tap_windows
from ..machine.memory import Memory
from ..text.work import Strided, Work
from .activation_port import ActivationPort
from .dram import ON_CHIP, make_dram
from .events import Clock, Process, Waiting
from .fetch import InstructionFetch
from .slack import SlackLedger
from .stalls import BUSY, STALLS, WAITING
from .trace import Recorder

#: The engines that a mask of `wait` or `post` names.
_NAMED = [tuple(e for e in Engine if mask >> e & 1) for mask in range(1 << len(Engine))]


class CycleModel:
    """One run of a program.

    After `run`: cycles; spent : [engine][layer][`busy` or a stall of `STALLS`] -> cycles;
    nbytes : [layer][kind] through the channel; kind_bytes : the channel's own count of them;
    kept_bytes, kept_kind_bytes : the same of the activation memory's port; port_bytes; layer_end :
    cycle of each layer's last STORE; left : [producer][consumer] tokens.
    """

    def __init__(
        self,
        program: Program,
        memory: Memory | None = None,
        start_order: Sequence[Engine] = tuple(Engine),
        progress: Callable[[int, int], object] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """memory : executes values beside the timing. start_order : must not matter (tests).

        progress : called with (cycle, layer index) when a tile is stored. recorder : keeps a trace.
        """
        self.program, self.config, self.memory = program, program.config, memory
        self.start_order, self.progress, self.recorder = start_order, progress, recorder
        self.clock = Clock()
        self.dram = make_dram(self.config.dram)
        self.activations = ActivationPort(self.config.buffers)
        self.activation_base = self.config.activation_base
        self.grant = self.config.dram.grant_bytes
        layers = len(program.layers)
        self.spent: list[list[dict[str, int]]] = [
            [dict.fromkeys((BUSY, *STALLS[e]), 0) for _ in range(layers)] for e in Engine
        ]
        self.nbytes = np.zeros((layers, len(Kind)), np.int64).tolist()
        self.kept_bytes = np.zeros((layers, len(Kind)), np.int64).tolist()
        self.loaded = 0  # when the data of the last LOAD are there
        self.port_bytes = 0  # read by the DPPU through its own buffer port
        self.layer_end = [0] * layers
        #: [producer][consumer]: the cycles from which tokens can be taken, in order.
        self.tokens: list[list[deque[int]]] = [
            [deque([0] * count) for count in row] for row in program.credits.tolist()
        ]
        self.sleeper: list[list[simpy.Event | None]] = [[None] * len(Engine) for _ in Engine]
        self.state: list[tuple[int, str]] = [(-1, "starting")] * len(Engine)
        self.ended = [0] * len(Engine)
        self._prepare()
        d = self.config.dppu
        self.groups = max(1, d.size // d.width)
        self.ledger = SlackLedger(self.groups)
        self.tap_done = [0, 0]  # when the DPPU leaves the register file filled last, and the other
        self.tapped: deque[tuple[int, int]] = deque()  # (done, cycles of work), not collected yet
        self.bus_free = 0  # when the last tile has left the array (double-buffered accumulators)
        self.barrier: dict[int, list[tuple[Engine, simpy.Event]]] = {}

    def _prepare(self) -> None:
        """Decode the text into one queue of pcs for each engine, and into lists by pc."""
        p, c = self.program, self.program.columns
        names = {code: i.name for code, i in BY_OPCODE.items()}
        work = self.work = Work(p)
        self.layer_of = p.debug_layer.tolist()
        self.ops = [names[op] for op in c["op"].tolist()]
        self.taps, self.counts = c["tap"].tolist(), c["count"].tolist()
        self.waits = [_NAMED[mask] for mask in work.waits.tolist()]
        self.posts = [_NAMED[mask] for mask in work.posts.tolist()]
        self.array_token = work.array_token.tolist()
        self.queues = [np.flatnonzero(row).tolist() for row in work.queued]
        self.readers, self.k = work.readers.tolist(), work.k.tolist()
        self.fixed = work.fixed.tolist()
        self.gemm_time = list(zip(*(column.tolist() for column in work.gemm), strict=True))
        self.kinds, self.reads = work.kinds.tolist(), work.reads.tolist()
        self.neuron_cycles = work.neuron_cycles.tolist()
        self.last_window_cycles = work.last_window_cycles.tolist()
        self.excess_at = {pc: i for i, pc in enumerate(work.excess.pcs.tolist())}
        self.sources = c["source"].tolist()
        self.fetch = InstructionFetch(self.clock, p, work, self._fetch_request)

    # ---- accounts and tokens ------------------------------------------------------------------

    def _spend(self, engine: int, pc: int, what: str, cycles: int) -> None:
        """Charge the next `cycles` of the engine's time; calls of an engine come in time order."""
        self.spent[engine][self.layer_of[pc]][what] += cycles
        if self.recorder is not None:
            self.recorder.spend(engine, pc, what, cycles)

    def _post(self, engine: int, pc: int, delay: int = 0) -> None:
        """Give the tokens of an instruction; they can be taken in `delay` cycles."""
        for consumer in self.posts[pc]:
            event = self.sleeper[engine][consumer]
            if event is not None:
                self.sleeper[engine][consumer] = None
                self.clock.wake(consumer, event, delay)
            else:
                self.tokens[engine][consumer].append(self.clock.now + delay)

    def _until_token(self, engine: Engine, producer: Engine, pc: int) -> Waiting:
        """Take a token of `producer`; returns the cycles that passed, which are not charged."""
        start, given = self.clock.now, self.tokens[producer][engine]
        if given and given[0] <= start:
            given.popleft()
            return 0
        self.state[engine] = (pc, producer.name)
        if given:
            yield self.clock.sleep(engine, given.popleft() - start)
        else:
            event = self.sleeper[producer][engine] = self.clock.event()
            yield event
        return self.clock.now - start

    def _wait(self, engine: Engine, producer: Engine, pc: int) -> Process:
        """Take a token of `producer`; the time is charged to the instruction's layer."""
        held = self._fetching()
        store_waits_for_dppu = self.sleeper[Engine.DPPU][Engine.STORE] is not None
        waited = yield from self._until_token(engine, producer, pc)
        reason = WAITING[engine][producer]
        if reason == "operands":
            contention = min(waited, self._fetching() - held)
            self._spend(engine, pc, "dram_contention", contention)
            waited -= contention
        elif reason == "output_full" and store_waits_for_dppu:
            reason = "dppu_outbuf_full"
        self._spend(engine, pc, reason, waited)

    def _fetching(self) -> int:
        """Cycles so far in which the DPPU's operands have moved."""
        return self.dram.busy[Kind.DPPU_OPERAND] + self.activations.busy[Kind.DPPU_OPERAND]

    # ---- engines ------------------------------------------------------------------------------

    def _engine(self, engine: Engine) -> Process:
        """Take tokens, work, give tokens; the skeleton of every engine."""
        work = {name: partial(process, self, engine) for name, process in PROCESSES.items()}
        for pc in self.queues[engine]:
            if not self.fetch.ready(pc):
                yield from self._wait_for_instruction(engine, pc)
            self.fetch.take(pc)
            for producer in self.waits[pc]:
                yield from self._wait(engine, producer, pc)
            if self.memory is not None:
                self.memory.begin(pc)
            yield from work[self.ops[pc]](pc)
        self.ended[engine] = self.clock.now
        self.state[engine] = (-1, "ended")

    def _finish(self, engine: int, pc: int) -> None:
        """The instruction ends now: its effect happens, its tokens are given."""
        if self.memory is not None:
            self.memory.end(pc)
        self._post(engine, pc)

    def _fixed(self, engine: Engine, pc: int) -> Process:
        """VEC, SETCFG: always the same time."""
        self._spend(engine, pc, BUSY, self.fixed[pc])
        yield self.clock.sleep(engine, self.fixed[pc])
        self._finish(engine, pc)

    def _wait_for_instruction(self, engine: Engine, pc: int) -> Process:
        start = self.clock.now
        self.state[engine] = (pc, "fetch")
        yield from self.fetch.wait(engine, pc)
        self._spend(engine, pc, "instruction", self.clock.now - start)

    def _fetch_request(self, address: int, nbytes: int, pc: int) -> int:
        return self._request(pc, address, nbytes, Kind.INSTRUCTION, 1, 0)[1]

    def _transfer(self, engine: Engine, pc: int, kind: int, reads: Sequence[Strided]) -> Process:
        """Move (address, row bytes, rows, stride) each through its port, grant by grant.

        One event serves up to a grant of bytes. LOAD and STORE are busy while bytes move, and
        stalled while the port serves others; the DPPU accounts for its time itself.
        """
        grant, reason = self.grant, self._port_stall(reads)
        now = end = self.clock.now
        busy = moved = 0
        for address, row, rows, stride in reads:
            together = max(1, min(rows, grant // row))
            for first in range(0, rows, together):
                count = min(together, rows - first)
                for offset in range(0, row, grant):
                    part = min(grant, row - offset)
                    if moved and moved + part * count > grant:
                        yield self._moved(engine, pc, reason, end - now - busy, busy)
                        now, busy, moved = self.clock.now, 0, 0
                    at = address + first * stride + offset
                    start, finish = self._request(pc, at, part, kind, count, stride)
                    end = max(end, finish)
                    busy += finish - start
                    moved += part * count
        yield self._moved(engine, pc, reason, end - now - busy, busy)

    def _request(
        self, pc: int, address: int, nbytes: int, kind: int, rows: int, stride: int
    ) -> tuple[int, int]:
        """Ask the channel, or the activation memory's port: (start, finish)."""
        now, layer = self.clock.now, self.layer_of[pc]
        if self._is_kept(address):
            own, port = self.kept_bytes[layer], ON_CHIP
            start, finish = self.activations.request(now, nbytes * rows, kind)
        else:
            own, port = self.nbytes[layer], self.dram.port(kind)
            start, finish = self.dram.request(now, address, nbytes, kind, rows, stride)
        own[kind] += nbytes * rows
        if self.recorder is not None:
            self.recorder.transfer(pc, kind, port, start, finish, nbytes * rows)
        return start, finish

    def _is_kept(self, address: int) -> bool:
        """Whether an address is one of the activation memory."""
        return address >= self.activation_base

    def _port_stall(self, reads: Sequence[Strided]) -> str:
        """What a LOAD or STORE waits for while its port serves others."""
        return "activation_port" if reads and self._is_kept(reads[0][0]) else "dram"

    def _moved(self, engine: int, pc: int, reason: str, wait: int, busy: int) -> simpy.Event:
        """Account for what a port was asked for; the event of its end."""
        if engine != Engine.DPPU:
            self._spend(engine, pc, reason, wait)
            self._spend(engine, pc, BUSY, busy)
        return self.clock.sleep(engine, wait + busy)

    def _load(self, engine: Engine, pc: int) -> Process:
        """LOAD: the engine is free when the channel is; tokens can be taken with the data.

        Data come in the order of the LOADs, those from on chip not before older ones from DRAM.
        """
        yield from self._transfer(engine, pc, self.kinds[pc], [self.reads[pc]])
        kept = self._is_kept(self.reads[pc][0])
        arrival = self.clock.now + (0 if kept else self.config.dram.latency_cycles)
        self.loaded = max(self.loaded, arrival)
        latency = self.loaded - self.clock.now
        if self.memory is not None:
            event = self.clock.sleep(engine, latency)
            assert event.callbacks is not None
            event.callbacks.append(partial(self._arrived, pc))
        self._post(engine, pc, latency)

    def _arrived(self, pc: int, _: simpy.Event) -> None:
        assert self.memory is not None
        self.memory.end(pc)

    def _gemm(self, engine: Engine, pc: int) -> Process:
        """GEMM: stream the operands (the DPPU's register files may hold them up), skew, drain."""
        blocks, cycles, leaves, under, waits, buses = self.gemm_time[pc]
        now = self.clock.now + blocks
        stall = self._tap(pc, now, self.k[pc]) if self.taps[pc] else 0
        wait = 0
        if leaves:
            # The rows of this tile follow those of the last one on the column buses.
            wait = max(0, self.bus_free + buses - (now + leaves + stall))
            self.bus_free = now + cycles + stall + wait
        if blocks:
            self._spend(engine, pc, "blocks", blocks)
        if stall:
            self._spend(engine, pc, "dppu_window", stall)
        if wait + waits:
            self._spend(engine, pc, "drain", wait + waits)
        self._spend(engine, pc, BUSY, cycles - under - waits)
        if self.recorder is not None and not leaves:
            self.recorder.goes_on(pc, under)
        yield self.clock.sleep(engine, blocks + cycles - under + stall + wait)
        # The next operands may come; tokens can be taken when the last sum has left.
        if self.memory is not None:
            self.memory.end(pc)
        self._post(engine, pc, under)

    def _tap(self, pc: int, now: int, k: int) -> int:
        """The DPPU works along with the stream; returns the cycles for which it holds it up."""
        d = self.config.dppu
        end, done1, done2, begin, work = tap_windows(
            now, k, d.window, self.taps[pc], self.groups, d.width, *self.tap_done
        )
        self.tap_done = [done1, done2]
        self.tapped.append((done1, work))
        self.ledger.book(begin, done1, work * self.groups)
        return end - now - k

    def _dppu(self, engine: Engine, pc: int) -> Process:
        """DPPU: compute from the taps while the array streams, or fetch and compute in slack."""
        fetched = pc in self.excess_at
        yield from self._compute_excess(pc) if fetched else self._collect_taps(pc)
        self._finish(engine, pc)

    def _collect_taps(self, pc: int) -> Process:
        """Wait for the array's tile and for the DPPU's last window of it."""
        waited = 0
        if self.array_token[pc]:
            waited = yield from self._until_token(Engine.DPPU, Engine.ARRAY, pc)
        if not self.tapped:
            raise ProgramError(
                f"{self.program.name}: DPPU at pc {pc} takes operands from the array, but no GEMM "
                "with taps has started; check the tap and post fields"
            )
        done, work = self.tapped.popleft()
        overlapped, rest = min(waited, work), max(0, done - self.clock.now)
        self._spend(Engine.DPPU, pc, "array", waited - overlapped)
        self._spend(Engine.DPPU, pc, BUSY, overlapped + rest)
        if rest:
            yield self.clock.sleep(Engine.DPPU, rest)

    def _compute_excess(self, pc: int) -> Process:
        """Operands come window by window and are worked on as they come, in what the taps leave."""
        excess, i, start = self.work.excess, self.excess_at[pc], self.clock.now
        if self.sources[pc] == Source.DRAM:
            reason, reads = "dram", excess.reads[excess.begins[i] : excess.begins[i + 1]].tolist()
            yield from self._transfer(Engine.DPPU, pc, self.kinds[pc], reads)
            yield self.clock.sleep(Engine.DPPU, self.config.dram.latency_cycles)
        elif self.sources[pc] == Source.BUFFER:
            reason, nbytes = "buffer_port", int(excess.nbytes[i])
            self.port_bytes += nbytes
            yield self.clock.sleep(Engine.DPPU, -(-nbytes // self.config.dppu.sram_bytes_per_cycle))
        else:
            raise InternalError("engines.py: _compute_excess has no branch for a source")
        now = self.clock.now
        least, last = self.neuron_cycles[pc], now + self.last_window_cycles[pc]
        work = least * self.counts[pc]
        done = self.ledger.finish(start, work, least)
        while max(done, last) > now:  # tiles that start meanwhile take slack away
            yield self.clock.sleep(Engine.DPPU, max(done, last) - now)
            now, done = self.clock.now, self.ledger.finish(start, work, least)
        self._spend(Engine.DPPU, pc, reason, now - done)
        self._spend(Engine.DPPU, pc, BUSY, done - start)
        if self.array_token[pc]:
            waited = yield from self._until_token(Engine.DPPU, Engine.ARRAY, pc)
            self._spend(Engine.DPPU, pc, "array", waited)

    def _store(self, engine: Engine, pc: int) -> Process:
        """STORE: the tile's bytes through the channel."""
        yield from self._transfer(engine, pc, self.kinds[pc], [self.reads[pc]])
        layer = self.layer_of[pc]
        self.layer_end[layer] = self.clock.now
        if self.progress is not None:
            self.progress(self.clock.now, layer)
        self._finish(engine, pc)

    def _sync(self, engine: Engine, pc: int) -> Process:
        """Wait until every engine of the barrier has come."""
        here = self.barrier.setdefault(pc, [])
        if len(here) + 1 == self.readers[pc]:
            for e, event in here:
                self.clock.wake(e, event)
        else:
            event, start = self.clock.event(), self.clock.now
            here.append((engine, event))
            self.state[engine] = (pc, "SYNC")
            yield event
            self._spend(engine, pc, "instruction", self.clock.now - start)
        self._post(engine, pc)

    def _halt(self, engine: Engine, pc: int) -> Process:
        """HALT: nothing is left to do."""
        yield from ()

    # ---- the run ------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end; returns the total cycles. Raises DeadlockError if that never comes."""
        clock = self.clock
        processes: list[Any] = [clock.process(self._engine(e)) for e in self.start_order]
        clock.process(self.fetch.process())
        clock.run()
        if any(process.is_alive for process in processes):
            raise DeadlockError(self._deadlock())
        self.cycles = max(self.ended)
        self.kind_bytes, self.kept_kind_bytes = self.dram.nbytes, self.activations.nbytes
        self.left = [[len(given) for given in row] for row in self.tokens]
        for e in Engine:
            pc = self.queues[e][-1]
            self._spend(e, pc, "finished", self.cycles - self.ended[e])
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
            f"{self.program.name}: deadlock at cycle {self.clock.now}: {'; '.join(blocked)}; "
            "a token is never posted: check the wait and post fields"
        )


#: What an engine does for an instruction; it has the tokens that were waited for.
PROCESSES: dict[str, Callable[[CycleModel, Engine, int], Process]] = {
    "LOAD": CycleModel._load,
    "STORE": CycleModel._store,
    "GEMM": CycleModel._gemm,
    "DPPU": CycleModel._dppu,
    "VEC": CycleModel._fixed,
    "SETCFG": CycleModel._fixed,
    "SYNC": CycleModel._sync,
    "HALT": CycleModel._halt,
}
complete(
    "INSTRUCTIONS in isa/instructions.py",
    [i.name for i in INSTRUCTIONS],
    PROCESSES,
    "simulator/cycles/engines.py: PROCESSES",
)
complete(
    "Source in isa/instructions.py",
    Source,
    (Source.ARRAY, Source.BUFFER, Source.DRAM),
    "simulator/cycles/engines.py: _dppu, _compute_excess",
)


def layer_cycles(ends: list[int]) -> list[int]:
    """Cycles from the end of one layer to the end of the next; they add up to the last end."""
    done = np.maximum.accumulate([0, *ends]).tolist()
    return [b - a for a, b in pairwise(done)]
