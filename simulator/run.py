"""Simulate a compiled program: cycles, stalls and traffic, and values on request."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config.schema import RUNS_ENGINES
from ..errors import FlexhycaError, InternalError
from ..isa.descriptors import Redundancy
from ..isa.instructions import BY_NAME, Engine, Kind, Source
from ..isa.program import Program
from ..network.layers import LayerOp
from ..tables import complete
from .cycles import scalesim
from .cycles.compiled import CompiledModel
from .cycles.engines import CycleModel, layer_cycles
from .cycles.stalls import BUSY, STALLS, bound
from .cycles.trace import Recorder, check_traceable
from .inject.fault_plan import Plan
from .inject.faulty_memory import FaultyMemory
from .inject.stuck_pes import add_stuck_pes, value_engine
from .inputs import checked_inputs
from .machine.memory import Memory
from .text.spans import Spans
from .text.work import PRODUCTS

if TYPE_CHECKING:
    import pandas as pd

ComputedValues = Literal["fast", "machine", "registers"]
Values = Literal[ComputedValues, "none"]
CycleModels = Literal["compiled", "simpy"]


class RealTime(NamedTuple):
    """A run at the machine's clock (`clock_mhz`)."""

    seconds: float  #: of one run (the program's batch)
    images_per_second: float
    dram_gigabytes_per_second: float  #: 10^9 bytes, on average over the run


@dataclass(frozen=True)
class Result:
    """What one run of a program costs and, where values ran, what it computes.

    cycles : of one run (the program's batch). layers : one row a layer, with what bounds it (see
    `stalls.bound`). dram : bytes by kind.
    stalls : engine -> reason -> cycles; with `busy` they add up to `cycles` for every engine.
    macs_by_unit : products formed by the array, again by the second and third copies of redundant
    layers (`array_copies`), with the zeros between packed groups (`array_zeros`), and again by the
    DPPU from taps, buffers and DRAM.
    dppu_port_bytes : bytes that the DPPU read through its own buffer port (hybrid_sram).
    activations : bytes by kind from and to the activation memory, which are none of `dram`.
    important_neurons : that the DPPU recomputes, those of stuck PEs among them.
    outputs : int8 (images, h, w, c) or None.
    """

    program: Program
    cycles: int
    layers: pd.DataFrame
    dram: dict[str, int]
    activations: dict[str, int]
    stalls: dict[str, dict[str, int]]
    busy: dict[str, int]
    macs: int
    macs_by_unit: dict[str, int]
    dppu_port_bytes: int
    utilization: float
    important_neurons: int
    seconds: float = 0.0
    outputs: NDArray[np.int8] | None = None

    @property
    def real_time(self) -> RealTime | None:
        """What the cycles are at the configuration's clock; None where it gives none."""
        clock = self.program.config.clock_mhz * 1e6
        if not clock:
            return None
        seconds = self.cycles / clock
        return RealTime(
            seconds, self.program.batch / seconds, sum(self.dram.values()) / seconds / 1e9
        )


def simulate(
    program: Program,
    images: NDArray[np.int8] | None = None,
    *,
    values: Values = "fast",
    cycle_model: CycleModels = "compiled",
    progress: Callable[[int, int], object] | None = None,
    recorder: Recorder | None = None,
) -> Result:
    """Run `program` once for its cycles, and compute `images` (int8 (n, h, w, c)) if given.

    values : `fast` computes whole layers (any number of images); `machine` executes every
    instruction on real buffers at its simulated time (exactly the program's batch); `registers` is
    `machine` with every register of the array stepped; `none` only times. Cycles are the same for
    all of them. progress : called with (cycle, layer index) when a tile is stored, by the SimPy
    model. The stuck PEs of the program's chip, if it has any, are in all values. recorder : keeps a
    trace, which takes the SimPy model. Raises DeadlockError if the
    program cannot finish.
    """
    if images is not None:
        images = checked_inputs(program, images)
    bytewise = values in ("machine", "registers")
    if bytewise and images is not None and len(images) != program.batch:
        raise FlexhycaError(
            f"values {values!r} runs exactly the program's batch of {program.batch} images, "
            f"{len(images)} given; compile with that batch or use values 'fast'"
        )
    if recorder is not None:
        check_traceable(program.config)
    started = time.perf_counter()
    if not program.config.runs_engines:
        timing = program.config.timing
        if bytewise:
            raise FlexhycaError(
                f"values {values!r} needs timing 'native'; use values 'fast' with timing {timing!r}"
            )
        result = _COUNTS[timing](program)
    else:
        memory = None
        if bytewise and images is not None:
            memory = _memory(program, images, registers_true=values == "registers")
        model: CycleModel | CompiledModel
        if memory is None and recorder is None and cycle_model == "compiled":
            model = CompiledModel(program)
        else:
            model = CycleModel(program, memory, progress=progress, recorder=recorder)
        with _no_garbage_collection():
            model.run()
        _check(model)
        result = _result(program, model)
        if memory is not None:
            result = replace(result, outputs=memory.output())
    if values == "fast" and images is not None:
        result = replace(result, outputs=value_engine(program).run(images))
    return replace(result, seconds=time.perf_counter() - started)


def _memory(program: Program, images: NDArray[np.int8], registers_true: bool) -> Memory:
    if not program.pe_map:
        return Memory(program, images, registers_true)
    spans = Spans(program)
    return FaultyMemory(program, images, add_stuck_pes(Plan(), spans), spans, registers_true)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A run makes a hundred thousand small objects and hardly a cycle: looking for them is slow."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _published(program: Program) -> Result:
    """SCALE-Sim's count: layers on the array one after the other, no memory, no vector unit."""
    import pandas as pd

    if program.batch != 1:
        raise FlexhycaError(
            f"timing 'scalesim' counts one image, the program has {program.batch}; use batch 1"
        )
    network, array = program.network, program.config.array
    no_bytes = {kind.name.lower(): 0 for kind in Kind}
    no_stalls = {e.name.lower(): dict.fromkeys(STALLS[e], 0) for e in Engine}
    idle = {e.name.lower(): 0 for e in Engine}
    rows = []
    for row in network.layers:
        count = None
        if row.op == LayerOp.CONV:
            count = scalesim.layer(array.dataflow, row, network.tensors, array.rows, array.cols)
        rows.append(
            {
                "name": row.name,
                "op": row.op.name.lower(),
                "cycles": count.cycles if count else 0,
                "tiles": count.folds if count else 0,
                "macs": count.macs if count else 0,
                "utilization": count.utilization / 100 if count else 0.0,
                "bound": "compute" if count else "none",
                "bound_share": 1.0 if count else 0.0,
                "busy": {**idle, "array": count.cycles if count else 0},
                "stalls": no_stalls,
                "dram_bytes": no_bytes,
                "activation_bytes": no_bytes,
            }
        )
    layers = pd.DataFrame(rows)
    cycles, macs = int(layers["cycles"].sum()), int(layers["macs"].sum())
    return Result(
        program=program,
        cycles=cycles,
        layers=layers,
        dram=no_bytes,
        activations=no_bytes,
        stalls=no_stalls,
        busy={**idle, "array": cycles},
        macs=macs,
        macs_by_unit={"array": macs, "array_copies": 0, "array_zeros": 0},
        dppu_port_bytes=0,
        utilization=macs / (array.rows * array.cols * cycles) if cycles else 0.0,
        important_neurons=0,
    )


#: Published counts, by `timing` of the configuration; the others are those of the engines.
_COUNTS = {"scalesim": _published}
complete(
    "timing in config/schema.py, of those without engines",
    [timing for timing, engines in RUNS_ENGINES.items() if not engines],
    _COUNTS,
    "simulator/run.py: _COUNTS",
)


def _check(model: CycleModel | CompiledModel) -> None:
    """The accounting identities; a violation is our bug."""
    for e in Engine:
        spent = sum(sum(layer.values()) for layer in model.spent[e])
        if spent != model.cycles:
            raise InternalError(f"{e.name}: busy and stalls are {spent} of {model.cycles} cycles")
    for what, by_layer, by_kind in (
        ("DRAM bytes", model.nbytes, model.kind_bytes),
        ("bytes of the activation memory", model.kept_bytes, model.kept_kind_bytes),
    ):
        if [sum(kind) for kind in zip(*by_layer, strict=True)] != by_kind:
            raise InternalError(f"{what} by layer and by kind differ")
    if model.left != model.program.credits.tolist():
        raise FlexhycaError(
            f"{model.program.name}: semaphores do not return to their initial credits "
            f"({model.left}, not {model.program.credits.tolist()}); "
            "a post without a wait, or the other way round"
        )


complete(
    "PRODUCTS in simulator/text/work.py", PRODUCTS, ("GEMM", "DPPU"), "simulator/run.py: _result"
)


def _result(program: Program, model: CycleModel | CompiledModel) -> Result:
    import pandas as pd

    c = program.columns
    pes = program.config.array.rows * program.config.array.cols
    count = len(program.layers)
    k = model.work.k
    work = c["m"] * c["n"] * k
    gemm = c["op"] == BY_NAME["GEMM"].opcode
    dppu = c["op"] == BY_NAME["DPPU"].opcode
    layer = program.debug_layer
    products = np.bincount(layer[gemm], work[gemm], count).astype(np.int64)
    macs = products // program.column("packed")
    stored = c["op"] == BY_NAME["STORE"].opcode
    tiles = np.bincount(layer[stored], minlength=count)
    spans = layer_cycles(model.layer_end)
    spans[-1] += model.cycles - sum(spans)
    kinds = [kind.name.lower() for kind in Kind]
    rows = []
    for i, name in enumerate(program.layer_names):
        op = LayerOp(int(program.column("op")[i]))
        pace = Engine.ARRAY if op == LayerOp.CONV else Engine.STORE
        resource, share = bound(pace, model.spent[pace][i])
        row = {
            "name": name,
            "op": op.name.lower(),
            "cycles": spans[i],
            "tiles": int(tiles[i]),
            "macs": int(macs[i]),
            "utilization": float(macs[i]) / (pes * spans[i]) if spans[i] else 0.0,
            "bound": resource,
            "bound_share": share,
            "busy": {e.name.lower(): model.spent[e][i][BUSY] for e in Engine},
            "stalls": {
                e.name.lower(): {r: model.spent[e][i][r] for r in STALLS[e]} for e in Engine
            },
            "dram_bytes": dict(zip(kinds, model.nbytes[i], strict=True)),
            "activation_bytes": dict(zip(kinds, model.kept_bytes[i], strict=True)),
        }
        rows.append(row)
    total = int(macs.sum())
    again = np.array([r.copies.runs * r.copies.parts - 1 for r in Redundancy])
    copies = int((again[program.column("redundancy")] * macs).sum())
    zeros = int(products.sum()) - total
    again_by_dppu = c["count"] * k // program.column("packed")[layer]
    recomputed = {
        f"dppu_{source.name.lower()}": int(again_by_dppu[dppu & (c["source"] == source)].sum())
        for source in Source
    }
    return Result(
        program=program,
        cycles=model.cycles,
        layers=pd.DataFrame(rows),
        dram=dict(zip(kinds, model.kind_bytes, strict=True)),
        activations=dict(zip(kinds, model.kept_kind_bytes, strict=True)),
        stalls={
            e.name.lower(): {r: sum(s[r] for s in model.spent[e]) for r in STALLS[e]}
            for e in Engine
        },
        busy={e.name.lower(): sum(s[BUSY] for s in model.spent[e]) for e in Engine},
        macs=total,
        macs_by_unit={"array": total, "array_copies": copies, "array_zeros": zeros, **recomputed},
        dppu_port_bytes=model.port_bytes,
        utilization=total / (pes * model.cycles) if model.cycles else 0.0,
        important_neurons=int(c["count"][dppu & (c["last"] == 1)].sum()),
    )
