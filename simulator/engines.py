"""The cycle model: four engines, an instruction fetch unit and a DRAM channel under SimPy.

Each engine takes its instructions in text order: take tokens, work, give tokens.  Events are per
instruction and per DRAM grant, never per cycle; what happens inside a tile is a closed form.
Engines that act in the same cycle do so in a fixed order (LOAD, ARRAY, DPPU, STORE).

The time of each engine is divided without rest into `busy` and the stalls of `stalls.STALLS`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import simpy

from ..errors import DeadlockError, ProgramError
from ..isa.instructions import BY_NAME, BY_OPCODE, Engine, Kind, Source
from ..isa.layers import LayerOp
from ..isa.program import Program
from .dram import make_dram
from .events import Clock, Process
from .fetch import InstructionFetch
from .kernels import tap_windows
from .memory import Memory
from .slack import SlackLedger
from .stalls import STALLS, WAITING
from .timing import is_fold_cycles, os_tile_cycles, ws_fold_cycles
from .work import Excess, Strided, excess_work, reductions

#: Cycles of the vector unit's pipeline, from the first word in to the first word out.
VEC_LATENCY = 4

_ARRAY_BIT = 1 << Engine.ARRAY
#: The engines that a mask of `wait` or `post` names.
_NAMED = [tuple(e for e in Engine if mask >> e & 1) for mask in range(1 << len(Engine))]


class CycleModel:
    """One run of a program. Attributes after `run`: cycles, busy, stalls, nbytes, layer_end."""

    def __init__(
        self,
        program: Program,
        memory: Memory | None = None,
        start_order: Sequence[Engine] = tuple(Engine),
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """memory : executes values beside the timing. start_order : must not matter (tests).

        progress : called with (cycle, layer index) when a tile is stored.
        """
        self.program, self.config, self.memory = program, program.config, memory
        self.start_order, self.progress = start_order, progress
        self.clock = Clock()
        self.dram = make_dram(self.config.dram)
        self.grant = self.config.dram.grant_bytes
        layers = len(program.layers)
        self.busy = np.zeros((len(Engine), layers), np.int64).tolist()
        self.stalls: list[list[dict[str, int]]] = [
            [dict.fromkeys(STALLS[e], 0) for _ in range(layers)] for e in Engine
        ]
        self.nbytes = np.zeros((layers, len(Kind)), np.int64).tolist()
        self.port_bytes = 0  # read by the DPPU through its own buffer port
        self.layer_end = [0] * layers
        self.tokens: list[list[int]] = program.credits.tolist()  # [producer][consumer]
        self.sleeper: list[list[simpy.Event | None]] = [[None] * len(Engine) for _ in Engine]
        self.state: list[tuple[int, str]] = [(-1, "starting")] * len(Engine)
        self.ended = [0] * len(Engine)
        self.last_layer = [0] * len(Engine)
        self._prepare()
        d = self.config.dppu
        self.groups = max(1, d.size // d.width)
        self.ledger = SlackLedger(self.groups)
        self.tap_done = [0, 0]  # when the DPPU leaves the register file filled last, and the other
        self.tapped: deque[tuple[int, int]] = deque()  # (done, cycles of work), not collected yet
        self.bus_free = 0  # when the last tile has left the array (double-buffered accumulators)
        self.barrier: dict[int, list[tuple[Engine, simpy.Event]]] = {}

    def _prepare(self) -> None:
        """Decode the text into one queue of pcs for each engine."""
        p, c = self.program, self.program.columns
        self.columns = {name: column.tolist() for name, column in c.items()}
        self.layer_of = p.debug_layer.tolist()
        names = {code: i.name for code, i in BY_OPCODE.items()}
        self.ops = [names[op] for op in self.columns["op"]]
        self.queues: list[list[int]] = [[] for _ in Engine]
        self.readers = [0] * len(self.ops)
        for pc, name in enumerate(self.ops):
            engine = BY_NAME[name].engine
            if engine is not None:
                mask = 1 << engine
            elif name == "SETCFG":
                mask = 1 << self.columns["engine"][pc]
            else:
                mask = self.columns["engines"][pc] if name == "SYNC" else (1 << len(Engine)) - 1
            for e in _NAMED[mask]:
                self.queues[e].append(pc)
            self.readers[pc] = len(_NAMED[mask])
        self.k = reductions(p)
        self.excess: dict[int, Excess] = excess_work(p, self.k)
        window = np.where(
            p.column("op") == LayerOp.CONV, 1, p.column("kernel_h") * p.column("kernel_w")
        )
        self.window_elements = window.tolist()
        self.outputs = p.tensors[p.column("output")].tolist()
        self.fetch = InstructionFetch(self.clock, p, self.readers, self._fetch_request)

    # ---- tokens -------------------------------------------------------------------------------

    def _post(self, engine: int, mask: int) -> None:
        for consumer in _NAMED[mask]:
            event = self.sleeper[engine][consumer]
            if event is not None:
                self.sleeper[engine][consumer] = None
                self.clock.wake(consumer, event)
            else:
                self.tokens[engine][consumer] += 1

    def _wait(self, engine: Engine, producer: Engine, pc: int) -> Process:
        """Wait for a token of `producer`; the time is charged to the instruction's layer."""
        start, held = self.clock.now, self.dram.busy[Kind.DPPU_OPERAND]
        store_waits_for_dppu = self.sleeper[Engine.DPPU][Engine.STORE] is not None
        event = self.sleeper[producer][engine] = self.clock.event()
        self.state[engine] = (pc, producer.name)
        yield event
        waited = self.clock.now - start
        reason = WAITING[engine][producer]
        stalls = self.stalls[engine][self.layer_of[pc]]
        if reason == "operands":
            contention = min(waited, self.dram.busy[Kind.DPPU_OPERAND] - held)
            stalls["dram_contention"] += contention
            waited -= contention
        elif reason == "output_full" and store_waits_for_dppu:
            reason = "dppu_outbuf_full"
        stalls[reason] += waited

    # ---- engines ------------------------------------------------------------------------------

    def _engine(self, engine: Engine) -> Process:
        """Take tokens, work, give tokens; the skeleton of every engine."""
        waits, memory = self.columns["wait"], self.memory
        work = getattr(self, f"_{engine.name.lower()}")
        for pc in self.queues[engine]:
            if not self.fetch.ready(pc):
                yield from self._wait_for_instruction(engine, pc)
            self.fetch.take(pc)
            self.last_layer[engine] = self.layer_of[pc]
            op, mask = self.ops[pc], waits[pc]
            if op == "DPPU":  # takes the array's token itself, before it writes its sums
                mask &= ~_ARRAY_BIT
            for producer in _NAMED[mask]:
                if self.tokens[producer][engine]:
                    self.tokens[producer][engine] -= 1
                else:
                    yield from self._wait(engine, producer, pc)
            if memory is not None:
                memory.begin(pc)
            if op == "SYNC":
                yield from self._sync(engine, pc)
                self._post(engine, self.columns["post"][pc])
            elif op == "SETCFG":
                yield self.clock.sleep(engine, 1)
                self.busy[engine][self.layer_of[pc]] += 1
                self._finish(engine, pc)
            elif op != "HALT":
                yield from work(pc)
        self.ended[engine] = self.clock.now
        self.state[engine] = (-1, "ended")

    def _finish(self, engine: int, pc: int) -> None:
        """The instruction ends now: its effect happens, its tokens are given."""
        if self.memory is not None:
            self.memory.end(pc)
        if self.columns["post"][pc]:
            self._post(engine, self.columns["post"][pc])

    def _later(self, engine: int, cycles: int, action: Callable[[], None]) -> None:
        """Do `action` in `cycles` while the engine goes on."""
        event = self.clock.sleep(engine, cycles)
        assert event.callbacks is not None
        event.callbacks.append(lambda _event: action())

    def _wait_for_instruction(self, engine: Engine, pc: int) -> Process:
        start = self.clock.now
        self.state[engine] = (pc, "fetch")
        yield from self.fetch.wait(engine, pc)
        self.stalls[engine][self.layer_of[pc]]["instruction"] += self.clock.now - start

    def _fetch_request(self, address: int, nbytes: int, pc: int) -> int:
        layer = self.layer_of[pc]
        self.nbytes[layer][Kind.INSTRUCTION] += nbytes
        return self.dram.request(self.clock.now, address, nbytes, Kind.INSTRUCTION)[1]

    def _transfer(self, engine: Engine, pc: int, kind: int, reads: Sequence[Strided]) -> Process:
        """Move (address, row bytes, rows, stride) each through the channel, grant by grant.

        Waits for the channel are `dram` stalls. One event serves up to a grant of bytes.
        """
        layer, grant, now = self.layer_of[pc], self.grant, self.clock.now
        if len(reads) == 1 and reads[0][1] * reads[0][2] <= grant:  # most of them: one grant
            address, row, rows, stride = reads[0]
            start, end = self.dram.request(now, address, row, kind, rows, stride)
            self.nbytes[layer][kind] += row * rows
            yield self._moved(engine, layer, now, end - start, end)
            return
        busy, nbytes, end = 0, 0, now
        for address, row, rows, stride in reads:
            together = max(1, min(rows, grant // row))
            for first in range(0, rows, together):
                count = min(together, rows - first)
                for offset in range(0, row, grant):
                    part = min(grant, row - offset)
                    if nbytes and nbytes + part * count > grant:
                        yield self._moved(engine, layer, now, busy, end)
                        now, busy, nbytes = self.clock.now, 0, 0
                    at = address + first * stride + offset
                    start, end = self.dram.request(now, at, part, kind, count, stride)
                    busy += end - start
                    nbytes += part * count
                    self.nbytes[layer][kind] += part * count
        yield self._moved(engine, layer, now, busy, end)

    def _moved(self, engine: Engine, layer: int, now: int, busy: int, end: int) -> simpy.Event:
        self.busy[engine][layer] += busy
        self.stalls[engine][layer]["dram"] += end - now - busy
        return self.clock.sleep(engine, end - now)

    def _load(self, pc: int) -> Process:
        """LOAD: the engine is free when the channel is; tokens come with the data."""
        c = self.columns
        read = (c["dram_addr"][pc], c["row_bytes"][pc], c["count"][pc], c["stride"][pc])
        yield from self._transfer(Engine.LOAD, pc, c["kind"][pc], [read])
        if self.memory is not None or c["post"][pc]:
            latency = self.config.dram.latency_cycles
            self._later(Engine.LOAD, latency, lambda: self._finish(Engine.LOAD, pc))

    def _array(self, pc: int) -> Process:
        """GEMM: stream the operands (the DPPU's register files may hold them up), skew, drain."""
        c, array = self.columns, self.config.array
        layer, k, now = self.layer_of[pc], self.k[pc], self.clock.now
        stalls, drain = self.stalls[Engine.ARRAY][layer], 0
        if array.dataflow == "os":
            whole = os_tile_cycles(k, array.rows, array.cols, bool(c["last"][pc]))
            if array.double_buffered_accumulators:
                drain = whole - k
        elif array.dataflow == "ws":
            whole = ws_fold_cycles(c["m"][pc], array.rows, array.cols)
        else:
            whole = is_fold_cycles(c["n"][pc], array.rows, array.cols)
        stall = self._tap(pc, now, k) if c["tap"][pc] else 0
        stalls["dppu_window"] += stall
        if drain:
            # The rows of this tile follow those of the last one on the column buses.
            wait = max(0, self.bus_free + array.rows - (now + whole + stall))
            stalls["drain"] += wait
            stall += wait
            self.bus_free = now + whole + stall
        self.busy[Engine.ARRAY][layer] += whole - drain
        yield self.clock.sleep(Engine.ARRAY, whole - drain + stall)
        if not drain:
            self._finish(Engine.ARRAY, pc)
            return
        # The operands are used up; only the tokens wait until the last row has left.
        if self.memory is not None:
            self.memory.end(pc)
        self._later(Engine.ARRAY, drain, lambda: self._post(Engine.ARRAY, c["post"][pc]))

    def _tap(self, pc: int, now: int, k: int) -> int:
        """The DPPU works along with the stream; returns the cycles for which it holds it up."""
        d = self.config.dppu
        end, done1, done2, begin, work = tap_windows(
            now, k, d.window, self.columns["tap"][pc], self.groups, d.width, *self.tap_done
        )
        self.tap_done = [done1, done2]
        self.tapped.append((done1, work))
        self.ledger.book(begin, done1, work * self.groups)
        return int(end - now - k)

    def _dppu(self, pc: int) -> Process:
        """DPPU: compute from the taps while the array streams, or fetch and compute in slack."""
        if self.columns["source"][pc] == Source.ARRAY:
            yield from self._collect_taps(pc)
        else:
            yield from self._compute_excess(pc)
        self._finish(Engine.DPPU, pc)

    def _collect_taps(self, pc: int) -> Process:
        """Wait for the array's tile and for the DPPU's last window of it."""
        layer = self.layer_of[pc]
        stalls = self.stalls[Engine.DPPU][layer]
        before = stalls["array"]
        yield from self._array_token(pc)
        if not self.tapped:
            raise ProgramError(
                f"{self.program.name}: DPPU at pc {pc} takes operands from the array, but no GEMM "
                "with taps has started; check the tap and post fields"
            )
        done, work = self.tapped.popleft()
        overlapped = min(stalls["array"] - before, work)
        stalls["array"] -= overlapped
        rest = max(0, done - self.clock.now)
        self.busy[Engine.DPPU][layer] += overlapped + rest
        if rest:
            yield self.clock.sleep(Engine.DPPU, rest)

    def _compute_excess(self, pc: int) -> Process:
        """Fetch operands, compute in the group-cycles that the taps leave, then overwrite."""
        c, excess, layer = self.columns, self.excess[pc], self.layer_of[pc]
        if c["source"][pc] == Source.DRAM:
            yield from self._fetch_operands(pc, excess)
        else:
            cycles = -(-excess.nbytes // self.config.dppu.sram_bytes_per_cycle)
            self.port_bytes += excess.nbytes
            self.stalls[Engine.DPPU][layer]["buffer_port"] += cycles
            yield self.clock.sleep(Engine.DPPU, cycles)
        start = self.clock.now
        work = excess.cycles * c["count"][pc]
        target = self.ledger.finish(start, work, excess.cycles)
        while target > self.clock.now:  # tiles that start meanwhile take slack away
            yield self.clock.sleep(Engine.DPPU, target - self.clock.now)
            target = self.ledger.finish(start, work, excess.cycles)
        self.busy[Engine.DPPU][layer] += self.clock.now - start
        yield from self._array_token(pc)

    def _array_token(self, pc: int) -> Process:
        """The DPPU may write its sums when those of the array are in the slot."""
        if self.columns["wait"][pc] & _ARRAY_BIT:
            if self.tokens[Engine.ARRAY][Engine.DPPU]:
                self.tokens[Engine.ARRAY][Engine.DPPU] -= 1
            else:
                yield from self._wait(Engine.DPPU, Engine.ARRAY, pc)

    def _fetch_operands(self, pc: int, excess: Excess) -> Process:
        """Read the rows and columns of the excess neurons from DRAM, each once."""
        layer = self.layer_of[pc]
        stalls, before = self.stalls[Engine.DPPU][layer], self.busy[Engine.DPPU][layer]
        yield from self._transfer(Engine.DPPU, pc, Kind.DPPU_OPERAND, excess.reads)
        latency = self.config.dram.latency_cycles
        # To the DPPU its own transfer is a wait: it computes nothing meanwhile.
        stalls["dram"] += self.busy[Engine.DPPU][layer] - before + latency
        self.busy[Engine.DPPU][layer] = before
        yield self.clock.sleep(Engine.DPPU, latency)

    def _store(self, pc: int) -> Process:
        """VEC: words over lanes. STORE: the tile's bytes through the channel."""
        c, layer = self.columns, self.layer_of[pc]
        m, n = c["m"][pc], c["n"][pc]
        if self.ops[pc] == "VEC":
            elements = m * n * self.window_elements[layer]
            cycles = -(-elements // self.config.vec.lanes) + VEC_LATENCY
            self.busy[Engine.STORE][layer] += cycles
            yield self.clock.sleep(Engine.STORE, cycles)
        else:
            _, _, channels, base = self.outputs[layer]
            at = base + c["m0"][pc] * channels + c["n0"][pc]
            yield from self._transfer(Engine.STORE, pc, Kind.OFMAP, [(at, n, m, channels)])
            self.layer_end[layer] = self.clock.now
            if self.progress is not None:
                self.progress(self.clock.now, layer)
        self._finish(Engine.STORE, pc)

    def _sync(self, engine: Engine, pc: int) -> Process:
        """Wait until every engine of the barrier has come."""
        here = self.barrier.setdefault(pc, [])
        if len(here) + 1 == self.readers[pc]:
            for e, event in here:
                self.clock.wake(e, event)
            return
        event, start = self.clock.event(), self.clock.now
        here.append((engine, event))
        self.state[engine] = (pc, "SYNC")
        yield event
        self.stalls[engine][self.layer_of[pc]]["instruction"] += self.clock.now - start

    # ---- the run ------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end; returns the total cycles. Raises DeadlockError if that never comes."""
        env = self.clock.env
        processes: list[Any] = [env.process(self._engine(e)) for e in self.start_order]
        env.process(self.fetch.process())
        env.run()
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
            f"{self.program.name}: deadlock at cycle {self.clock.now}: {'; '.join(blocked)}; "
            "a token is never posted: check the wait and post fields"
        )


def layer_cycles(ends: list[int]) -> list[int]:
    """Cycles from the end of one layer to the end of the next; they add up to the last end."""
    done = np.maximum.accumulate([0, *ends]).tolist()
    return [b - a for a, b in pairwise(done)]
