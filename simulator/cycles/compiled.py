"""The compiled twin of `engines.CycleModel`: the arrays of `cycle_kernels`, made and read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InternalError
from ...isa.instructions import Engine, Kind
from ...isa.program import Program
from ..text.work import Work
from .activation_port import make_port
from .cycle_kernels import run_cycles
from .dram import make_channel
from .engines import CycleModel
from .stalls import BUSY, STALLS
from .state import (
    BOOKED,
    CHUNK,
    ENGINE,
    INSTRUCTION,
    PAIR,
    READ,
    REASONS,
    SHARED,
    TAPPED,
    Machine,
    State,
    Text,
)


class CompiledModel:
    """One run of a program without values; attributes after `run` as those of `CycleModel`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.work = Work(program)

    def run(self) -> int:
        """Run to the end; returns the total cycles. Raises what the reference raises."""
        text, state = _text(self.program, self.work), _state(self.program, self.work)
        if not run_cycles(_machine(self.program, self.work), text, state):
            CycleModel(self.program).run()
            raise InternalError(
                f"{self.program.name}: the compiled cycle model finds no end, the reference does"
            )
        engine, finished = state.engine[: len(Engine)], REASONS.index("finished")
        self.cycles = int(engine["ended"].max())
        for e in Engine:
            last = self.program.debug_layer[text.queue[engine["queue_end"][e] - 1]]
            state.spent[e, last, finished] += self.cycles - engine["ended"][e]
        self.spent = [
            [
                {what: int(layer[REASONS.index(what)]) for what in (BUSY, *STALLS[e])}
                for layer in state.spent[e]
            ]
            for e in Engine
        ]
        self.nbytes: list[list[int]] = state.nbytes.tolist()
        self.kind_bytes: list[int] = state.dram.moved["nbytes"].tolist()
        self.kept_bytes: list[list[int]] = state.kept_bytes.tolist()
        self.kept_kind_bytes: list[int] = state.port.passed["nbytes"].tolist()
        self.layer_end: list[int] = state.layer_end.tolist()
        self.port_bytes = int(state.shared["port_bytes"][0])
        self.left: list[list[int]] = (state.pair["tail"] - state.pair["head"]).tolist()
        return self.cycles


def _machine(program: Program, work: Work) -> Machine:
    config = program.config
    dram, dppu = config.dram, config.dppu
    return Machine(
        grant=dram.grant_bytes,
        latency=dram.latency_cycles,
        window=dppu.window,
        groups=max(1, dppu.size // dppu.width),
        width=dppu.width,
        port_bytes=dppu.sram_bytes_per_cycle,
        chunk=work.chunk,
        held=work.held,
        text_base=program.memory_map["text"][0],
        activations=config.activation_base,
    )


def _filled(dtype: np.dtype[np.void], length: int, **fields: object) -> NDArray[np.void]:
    """Records with these fields, and 0 in the others."""
    records = np.zeros(length, dtype)
    for name, values in fields.items():
        records[name] = values
    return records


def _text(program: Program, work: Work) -> Text:
    c, excess, n = program.columns, work.excess, len(work.k)
    first = np.arange(n)
    last = first + 1
    first[excess.pcs], last[excess.pcs] = n + excess.begins[:-1], n + excess.begins[1:]
    excess_bytes = np.zeros(n, np.int64)
    excess_bytes[excess.pcs] = excess.nbytes
    code = _filled(
        INSTRUCTION,
        n,
        op=c["op"],
        layer=program.debug_layer,
        waits=work.waits,
        array_token=work.array_token,
        posts=work.posts,
        k=work.k,
        fixed=work.fixed,
        blocks=work.gemm.blocks,
        gemm_cycles=work.gemm.cycles,
        leaves=work.gemm.leaves,
        under=work.gemm.under,
        bus_waits=work.gemm.waits,
        buses=work.gemm.buses,
        taps=c["tap"],
        count=c["count"],
        kind=work.kinds,
        first_read=first,
        last_read=last,
        source=c["source"],
        excess_bytes=excess_bytes,
        neuron_cycles=work.neuron_cycles,
        last_window_cycles=work.last_window_cycles,
        fetch_bytes=work.fetch_bytes,
    )
    reads = np.concatenate([work.reads, excess.reads])
    return Text(code, np.nonzero(work.queued)[1], reads.view(READ).ravel())


def _state(program: Program, work: Work) -> State:
    engines, layers = len(Engine), len(program.layers)
    ends = work.queued.sum(1).cumsum()
    engine = _filled(ENGINE, engines + 1, asleep=-1)
    engine["cursor"][1:engines], engine["queue_end"][:engines] = ends[:-1], ends
    # A queue of tokens for each pair: the initial ones, and room for all that are posted.
    posted = [int((work.posts[work.queued[p]] >> c & 1).sum()) for p in Engine for c in Engine]
    credits = program.credits.ravel()
    starts = np.concatenate([[0], np.cumsum(credits + posted)])
    pair = _filled(PAIR, engines**2, head=starts[:-1], tail=starts[:-1] + credits)
    taps = int((program.columns["tap"] > 0).sum())
    return State(
        engine=engine,
        shared=_filled(SHARED, 1),
        pair=pair.reshape(engines, engines),
        tokens=np.zeros(starts[-1], np.int64),
        spent=np.zeros((engines, layers, len(REASONS)), np.int64),
        nbytes=np.zeros((layers, len(Kind)), np.int64),
        kept_bytes=np.zeros((layers, len(Kind)), np.int64),
        layer_end=np.zeros(layers, np.int64),
        dram=make_channel(program.config.dram),
        port=make_port(program.config.buffers),
        booked=_filled(BOOKED, taps),
        tapped=_filled(TAPPED, taps),
        missing=work.readers.astype(np.int64),
        chunk=_filled(CHUNK, len(work.chunk_readers), left=work.chunk_readers),
    )
