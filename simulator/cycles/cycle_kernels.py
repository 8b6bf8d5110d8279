"""The cycle model of `engines.py` once more, compiled: the same cycles in less time.

`engines.py` is the reference, written to be read; tests hold the two equal in every number.  Here
the four engines and the fetch unit are state machines (`phase`), each with at most one event to
come (`at`); of the earliest events that of the lowest rank happens first, as in `events.Clock`.
"""

from __future__ import annotations

import numpy as np

from ...errors import InternalError
from ...isa.instructions import (
    BY_NAME,
    INSTRUCTION_BYTES,
    INSTRUCTIONS,
    Engine,
    Kind,
    Source,
)
from ...kernels import kernel
from ...tables import complete
from ..dppu.taps import tap_windows
from ..text.work import FIXED
from .activation_port import pass_port
from .dram import request
from .stalls import BUSY, WAITING
from .state import (
    REASONS,
    Machine,
    State,
    Text,
)

_HERE = "simulator/cycles/cycle_kernels.py"
_LOAD, _ARRAY = int(Engine.LOAD), int(Engine.ARRAY)
_DPPU, _STORE = int(Engine.DPPU), int(Engine.STORE)
_ALL = (_LOAD, _ARRAY, _DPPU, _STORE)
complete("Engine in isa/instructions.py", Engine, _ALL, f"{_HERE}: _move, _moved")
_ENGINES = len(Engine)
_FETCH = _ENGINES  # rank of the fetch unit
_OWN = ("LOAD", "GEMM", "DPPU", "STORE", "SYNC", "HALT")
_OP_LOAD, _OP_GEMM, _OP_DPPU, _OP_STORE, _OP_SYNC, _OP_HALT = (
    BY_NAME[name].opcode for name in _OWN
)
complete(
    "INSTRUCTIONS in isa/instructions.py",
    [i.name for i in INSTRUCTIONS],
    [*FIXED, *_OWN],
    f"{_HERE}: _begin",
)
_FROM_ARRAY, _FROM_BUFFER = int(Source.ARRAY), int(Source.BUFFER)
_FROM_DRAM = int(Source.DRAM)
_SOURCES = (_FROM_ARRAY, _FROM_BUFFER, _FROM_DRAM)
complete("Source in isa/instructions.py", Source, _SOURCES, f"{_HERE}: _begin, _compute")
_BUSY, _DRAM, _WINDOW, _DRAIN, _PORT, _AWAIT, _INSTRUCTION, _CONTENTION, _OPERANDS, _BLOCKS = (
    REASONS.index(reason)
    for reason in (
        BUSY, "dram", "dppu_window", "drain", "buffer_port", "array", "instruction",
        "dram_contention", "operands", "blocks",
    )
)  # fmt: skip
_ACTIVATION_PORT = REASONS.index("activation_port")
_OUTPUT_FULL, _OUTBUF_FULL = REASONS.index("output_full"), REASONS.index("dppu_outbuf_full")
_WAITING = np.array(
    [[REASONS.index(WAITING[c].get(p, BUSY)) for p in Engine] for c in Engine], np.int64
)
_OPERAND, _INSTRUCTIONS = int(Kind.DPPU_OPERAND), int(Kind.INSTRUCTION)
_NEVER = np.iinfo(np.int64).max

# What an engine does when its event comes.
(_NEXT, _FETCHED, _TOKEN, _FINISH, _MOVE, _MOVED, _STREAMED,
 _TAPPED, _EXCESS, _COMPUTED, _SYNCED, _ENDED) = range(12)  # fmt: skip


@kernel
def _slack(m: Machine, s: State, start: int, work: int, least: int) -> int:
    """`SlackLedger.finish`."""
    booked, head, tail = s.booked, s.shared[0].booked, s.shared[0].booked_end
    while head < tail and booked[head].end <= start:
        head += 1
    s.shared[0].booked = head
    at, left = start, work
    for i in range(head, tail):
        begin, end, used = booked[i].begin, booked[i].end, booked[i].used
        gap = max(0, begin - at) * m.groups
        if left <= gap:
            break
        left -= gap
        at = max(at, begin)
        length = end - begin
        free = m.groups * length - used
        available = free * (end - at) // length
        if left <= available:
            return max(start + least, at + -(-left * length // free))
        left -= available
        at = end
    return max(start + least, at + -(-left // m.groups))


@kernel
def _post(s: State, engine: int, mask: int, at: int) -> None:
    """Give tokens that can be taken from cycle `at` on."""
    for consumer in range(_ENGINES):
        if mask >> consumer & 1:
            if s.engine[consumer].asleep == engine:
                s.engine[consumer].asleep = -1
                s.engine[consumer].at = at
            else:
                s.tokens[s.pair[engine, consumer].tail] = at
                s.pair[engine, consumer].tail += 1


@kernel
def _end(t: Text, s: State, engine: int, pc: int, at: int) -> None:
    """The instruction has ended; its tokens can be taken from cycle `at` on."""
    _post(s, engine, t.code[pc].posts, at)
    s.engine[engine].phase = _NEXT


@kernel
def _has_token(s: State, engine: int, producer: int, now: int) -> bool:
    """Take the next token of `producer` if it is there; else its coming is the next event."""
    head = s.pair[producer, engine].head
    if head == s.pair[producer, engine].tail:
        s.engine[engine].asleep = producer
        return False
    s.pair[producer, engine].head += 1
    if s.tokens[head] <= now:
        return True
    s.engine[engine].at = s.tokens[head]
    return False


@kernel
def _move(m: Machine, t: Text, s: State, engine: int, pc: int, now: int) -> None:
    """Ask for up to a grant of the instruction's reads (`CycleModel._transfer`)."""
    kind = t.code[pc].kind
    busy, moved, end = 0, 0, now
    s.engine[engine].phase = _MOVE
    full = False
    own = s.engine[engine]
    at, first, offset = own.read, own.first, own.offset
    while at < t.code[pc].last_read and not full:
        read = t.reads[at]
        address, row, rows, stride = read.address, read.row, read.rows, read.stride
        together = max(1, min(rows, m.grant // row))
        while first < rows and not full:
            count = min(together, rows - first)
            while offset < row:
                part = min(m.grant, row - offset)
                if moved and moved + part * count > m.grant:
                    full = True
                    break
                where = address + first * stride + offset
                if where >= m.activations:
                    start, finish = pass_port(s.port, now, part * count, kind)
                    s.kept_bytes[t.code[pc].layer, kind] += part * count
                else:
                    start, finish = request(s.dram, now, where, part, kind, count, stride)
                    s.nbytes[t.code[pc].layer, kind] += part * count
                end = max(end, finish)
                busy += finish - start
                moved += part * count
                offset += m.grant
            if not full:
                offset = 0
                first += together
        if not full:
            first = 0
            at += 1
    own.read, own.first, own.offset = at, first, offset
    if not full:
        s.engine[engine].phase = _MOVED
    spent = s.spent[engine, t.code[pc].layer]
    if engine != _DPPU:
        spent[_ACTIVATION_PORT if _is_kept(m, t, pc) else _DRAM] += end - now - busy
        spent[_BUSY] += busy
    s.engine[engine].at = end


@kernel
def _is_kept(m: Machine, t: Text, pc: int) -> bool:
    """Whether a LOAD reads, or a STORE writes, the activation memory."""
    return t.reads[t.code[pc].first_read].address >= m.activations


@kernel
def _fetching(s: State) -> int:
    """`CycleModel._fetching`."""
    return s.dram.moved[_OPERAND].busy + s.port.passed[_OPERAND].busy


@kernel
def _gemm(m: Machine, t: Text, s: State, pc: int, since: int) -> None:
    """`CycleModel._gemm` up to its end."""
    now = since + t.code[pc].blocks
    k, cycles, leaves = t.code[pc].k, t.code[pc].gemm_cycles, t.code[pc].leaves
    under, waits, wait, stall = t.code[pc].under, t.code[pc].bus_waits, 0, 0
    a, spent = s.shared[0], s.spent[_ARRAY, t.code[pc].layer]
    if t.code[pc].taps:
        end, done1, done2, begin, work = tap_windows(
            now, k, m.window, t.code[pc].taps, m.groups, m.width, a.tap_done, a.tap_done_before
        )
        a.tap_done, a.tap_done_before = done1, done2
        s.tapped[a.tapped_end].done, s.tapped[a.tapped_end].work = done1, work
        a.tapped_end += 1
        if done1 > begin:
            row = s.booked[a.booked_end]
            row.begin, row.end, row.used = begin, done1, work * m.groups
            a.booked_end += 1
        stall = end - now - k
    if leaves:
        wait = max(0, a.bus_free + t.code[pc].buses - (now + leaves + stall))
        a.bus_free = now + cycles + stall + wait
    spent[_BLOCKS] += now - since
    spent[_WINDOW] += stall
    spent[_DRAIN] += wait + waits
    spent[_BUSY] += cycles - under - waits
    s.engine[_ARRAY].since = under
    s.engine[_ARRAY].at = now + cycles - under + stall + wait
    s.engine[_ARRAY].phase = _STREAMED


@kernel
def _collect(t: Text, s: State, pc: int, now: int, waited: int) -> bool:
    """`CycleModel._collect_taps` after the array's token; False if nothing was tapped."""
    a, spent = s.shared[0], s.spent[_DPPU, t.code[pc].layer]
    if a.tapped == a.tapped_end:
        return False
    done, work = s.tapped[a.tapped].done, s.tapped[a.tapped].work
    a.tapped += 1
    overlapped, rest = min(waited, work), max(0, done - now)
    spent[_AWAIT] += waited - overlapped
    spent[_BUSY] += overlapped + rest
    if rest:
        s.engine[_DPPU].at = now + rest
        s.engine[_DPPU].phase = _FINISH
    else:
        _end(t, s, _DPPU, pc, now)
    return True


@kernel
def _begin(m: Machine, t: Text, s: State, engine: int, pc: int, now: int) -> bool:
    """All tokens are taken: start to work. False if the program is wrong."""
    code, own = t.code[pc], s.engine[engine]
    op, spent = code.op, s.spent[engine, code.layer]
    if t.code[pc].fixed:
        spent[_BUSY] += t.code[pc].fixed
        s.engine[engine].at = now + t.code[pc].fixed
        s.engine[engine].phase = _FINISH
    elif op == _OP_GEMM:
        _gemm(m, t, s, pc, now)
    elif op == _OP_DPPU and t.code[pc].source == _FROM_ARRAY:
        s.engine[engine].since = now
        if t.code[pc].array_token and not _has_token(s, engine, _ARRAY, now):
            s.engine[engine].phase = _TAPPED
        else:
            return _collect(t, s, pc, now, 0)
    elif op == _OP_DPPU and t.code[pc].source == _FROM_BUFFER:
        cycles = -(-t.code[pc].excess_bytes // m.port_bytes)
        s.shared[0].port_bytes += t.code[pc].excess_bytes
        s.engine[engine].at = now + cycles
        s.engine[engine].phase = _EXCESS
        own.since, own.arrived = now, -1
    elif op in (_OP_LOAD, _OP_STORE) or (op == _OP_DPPU and code.source == _FROM_DRAM):
        own.read, own.first, own.offset = code.first_read, 0, 0
        own.since, own.arrived = now, -1
        _move(m, t, s, engine, pc, now)
    elif op == _OP_SYNC:
        s.missing[pc] -= 1
        s.engine[engine].since = now
        s.engine[engine].phase = _SYNCED
        if s.missing[pc] == 0:
            for e in range(_ENGINES):
                here = s.engine[e].phase == _SYNCED and t.queue[s.engine[e].cursor - 1] == pc
                if here and e != engine:
                    s.engine[e].at = now
            _end(t, s, engine, pc, now)
    elif op == _OP_HALT:
        s.engine[engine].phase = _NEXT
    else:
        raise InternalError("cycle_kernels.py: _begin has no branch for an instruction or source")
    return True


@kernel
def _moved(m: Machine, t: Text, s: State, engine: int, pc: int, now: int) -> None:
    """The last byte of a transfer is through the channel."""
    if engine == _DPPU:
        s.engine[_DPPU].at = now + m.latency
        s.engine[_DPPU].phase = _EXCESS
    elif engine == _STORE:
        s.layer_end[t.code[pc].layer] = now
        _end(t, s, engine, pc, now)
    elif engine == _LOAD:
        arrival = now if _is_kept(m, t, pc) else now + m.latency
        s.shared[0].loaded = max(s.shared[0].loaded, arrival)
        _end(t, s, engine, pc, s.shared[0].loaded)
    else:
        raise InternalError("cycle_kernels.py: _moved has no branch for an engine")


@kernel
def _compute(m: Machine, t: Text, s: State, pc: int, now: int) -> None:
    """`CycleModel._compute_excess` once the operands are there."""
    code, own = t.code[pc], s.engine[_DPPU]
    if own.arrived < 0:
        own.arrived = now
    done = _slack(m, s, own.since, code.neuron_cycles * code.count, code.neuron_cycles)
    target = max(done, own.arrived + code.last_window_cycles)
    if target > now:
        own.at = target
        return
    spent = s.spent[_DPPU, code.layer]
    if code.source == _FROM_DRAM:
        spent[_DRAM] += now - done
    elif code.source == _FROM_BUFFER:
        spent[_PORT] += now - done
    else:
        raise InternalError("cycle_kernels.py: _compute has no branch for a source")
    spent[_BUSY] += done - own.since
    if not code.array_token or _has_token(s, _DPPU, _ARRAY, now):
        _end(t, s, _DPPU, pc, now)
    else:
        own.since = now
        own.phase = _COMPUTED


@kernel
def _take(m: Machine, s: State, pc: int, now: int) -> None:
    """`InstructionFetch.take`."""
    s.chunk[pc // m.chunk].left -= 1
    while s.shared[0].drained < len(s.chunk) and s.chunk[s.shared[0].drained].left == 0:
        s.shared[0].drained += 1
        if s.shared[0].full:
            s.shared[0].full = 0
            s.engine[_FETCH].at = now


@kernel
def _fetch(m: Machine, t: Text, s: State, now: int) -> None:
    """`InstructionFetch.process`: one event of it."""
    f = s.shared[0]
    if f.step == 2:  # a chunk has come
        s.chunk[f.chunk].fetched = 1
        for e in range(_ENGINES):
            if s.chunk[f.chunk].awaited >> e & 1:
                s.engine[e].at = now
        f.chunk += 1
        f.offset = 0
        f.step = 0
    if f.chunk == len(s.chunk):
        return
    if f.step == 0 and f.chunk - f.drained >= m.held:
        f.full = 1
        return
    first = f.chunk * m.chunk
    size = 0
    for pc in range(first, min(first + m.chunk, len(t.code))):
        size += t.code[pc].fetch_bytes
    if f.offset < size:
        part = min(m.grant, size - f.offset)
        at = m.text_base + first * INSTRUCTION_BYTES + f.offset
        s.nbytes[t.code[first].layer, _INSTRUCTIONS] += part
        _, end = request(s.dram, now, at, part, _INSTRUCTIONS, 1, 0)
        f.offset += m.grant
        f.step = 1
        s.engine[_FETCH].at = end
        return
    f.step = 2
    s.engine[_FETCH].at = now + m.latency


@kernel
def _take_tokens(m: Machine, t: Text, s: State, engine: int, pc: int, now: int) -> bool:
    """Take the tokens that are left and begin, or wait for one. False: a wrong program."""
    for producer in range(_ENGINES):
        if s.engine[engine].left >> producer & 1:
            behind_dppu = s.engine[_STORE].asleep == _DPPU
            if not _has_token(s, engine, producer, now):
                s.engine[engine].since = now
                s.engine[engine].operands = _fetching(s)
                s.engine[engine].behind_dppu = behind_dppu
                s.engine[engine].phase = _TOKEN
                return True
            s.engine[engine].left &= ~(1 << producer)
    return _begin(m, t, s, engine, pc, now)


@kernel
def _got_token(t: Text, s: State, engine: int, pc: int, now: int) -> None:
    """`CycleModel._wait` after the wait."""
    producer = 0
    while not s.engine[engine].left >> producer & 1:
        producer += 1
    s.engine[engine].left &= ~(1 << producer)
    spent = s.spent[engine, t.code[pc].layer]
    waited, reason = now - s.engine[engine].since, _WAITING[engine, producer]
    if reason == _OPERANDS:
        contention = min(waited, _fetching(s) - s.engine[engine].operands)
        spent[_CONTENTION] += contention
        waited -= contention
    elif reason == _OUTPUT_FULL and s.engine[engine].behind_dppu:
        reason = _OUTBUF_FULL
    spent[reason] += waited


@kernel
def _next(m: Machine, t: Text, s: State, engine: int, now: int) -> bool:
    """Turn to the next instruction. False: a wrong program."""
    if s.engine[engine].cursor == s.engine[engine].queue_end:
        s.engine[engine].ended = now
        s.engine[engine].phase = _ENDED
        return True
    pc = t.queue[s.engine[engine].cursor]
    s.engine[engine].cursor += 1
    if not s.chunk[pc // m.chunk].fetched:
        s.chunk[pc // m.chunk].awaited |= 1 << engine
        s.engine[engine].since = now
        s.engine[engine].phase = _FETCHED
        return True
    _take(m, s, pc, now)
    s.engine[engine].left = t.code[pc].waits
    return _take_tokens(m, t, s, engine, pc, now)


@kernel
def _resume(m: Machine, t: Text, s: State, engine: int, now: int) -> bool:
    """The event for which the engine waited has come. False: a wrong program."""
    phase, pc = s.engine[engine].phase, t.queue[s.engine[engine].cursor - 1]
    spent, waited = s.spent[engine, t.code[pc].layer], now - s.engine[engine].since
    if phase == _FETCHED:
        spent[_INSTRUCTION] += waited
        _take(m, s, pc, now)
        s.engine[engine].left = t.code[pc].waits
        return _take_tokens(m, t, s, engine, pc, now)
    if phase == _TOKEN:
        _got_token(t, s, engine, pc, now)
        return _take_tokens(m, t, s, engine, pc, now)
    if phase == _TAPPED:
        return _collect(t, s, pc, now, waited)
    if phase == _MOVE:
        _move(m, t, s, engine, pc, now)
    elif phase == _MOVED:
        _moved(m, t, s, engine, pc, now)
    elif phase == _EXCESS:
        _compute(m, t, s, pc, now)
    elif phase == _STREAMED:
        _end(t, s, engine, pc, now + s.engine[engine].since)
    elif phase == _FINISH:
        _end(t, s, engine, pc, now)
    elif phase == _COMPUTED:
        spent[_AWAIT] += waited
        _end(t, s, engine, pc, now)
    elif phase == _SYNCED:
        spent[_INSTRUCTION] += waited
        _end(t, s, engine, pc, now)
    else:
        raise InternalError("cycle_kernels.py: _resume has no branch for a phase")
    return True


@kernel
def run_cycles(m: Machine, t: Text, s: State) -> bool:
    """Run to the end; False when the program cannot end (the reference says why)."""
    while True:
        # int(): literals have types of their own, and everything would be compiled twice.
        actor, now = (-1), int(_NEVER)
        for a in range(_ENGINES + 1):
            if s.engine[a].at < now:
                actor, now = a, s.engine[a].at
        if actor < 0:
            break
        s.engine[actor].at = _NEVER
        if actor == _FETCH:
            _fetch(m, t, s, now)
            continue
        if s.engine[actor].phase != _NEXT and not _resume(m, t, s, actor, now):
            return False
        while s.engine[actor].phase == _NEXT:
            if not _next(m, t, s, actor, now):
                return False
    ended = 0
    for e in range(_ENGINES):
        ended += s.engine[e].phase == _ENDED
    return ended == _ENGINES
