"""Simulate a compiled program: cycles, stalls and traffic, and values on request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import FlexhycaError, InternalError
from ..isa.instructions import BY_NAME, Engine, Kind, Source
from ..isa.layers import LayerOp
from ..isa.program import Program
from .engines import STALLS, CycleModel, layer_cycles
from .functional import Functional
from .memory import Memory

if TYPE_CHECKING:
    import pandas as pd

Values = Literal["fast", "machine", "none"]


@dataclass(frozen=True)
class Result:
    """What one run of a program costs and, where values ran, what it computes.

    cycles : of one run (the program's batch). layers : one row a layer. dram : bytes by kind.
    stalls : engine -> reason -> cycles; with `busy` they add up to `cycles` for every engine.
    macs_by_unit : products formed by the array, and again by the DPPU from taps and from DRAM.
    outputs : int8 (images, h, w, c) or None.
    """

    program: Program
    cycles: int
    layers: pd.DataFrame
    dram: dict[str, int]
    stalls: dict[str, dict[str, int]]
    busy: dict[str, int]
    macs: int
    macs_by_unit: dict[str, int]
    utilization: float
    important_neurons: int
    seconds: float
    outputs: NDArray[np.int8] | None = None


def simulate(
    program: Program,
    inputs: NDArray[np.int8] | None = None,
    *,
    values: Values = "fast",
    start_order: tuple[Engine, ...] = tuple(Engine),
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Run `program` once for its cycles, and compute `inputs` (int8 (images, h, w, c)) if given.

    values : `fast` computes whole layers (any number of images); `machine` executes every
    instruction on real buffers at its simulated time (exactly the program's batch); `none` only
    times. Cycles are the same for all three. Raises DeadlockError if the program cannot finish.
    """
    if values == "machine" and inputs is not None and len(inputs) != program.batch:
        raise FlexhycaError(
            f"values 'machine' runs exactly the program's batch of {program.batch} images, "
            f"{len(inputs)} given; compile with that batch or use values 'fast'"
        )
    started = time.perf_counter()
    memory = Memory(program, inputs) if values == "machine" and inputs is not None else None
    model = CycleModel(program, memory, start_order, progress)
    cycles = model.run()
    outputs = None
    if memory is not None:
        outputs = memory.output()
    elif values == "fast" and inputs is not None:
        outputs = Functional(program.network).run(inputs)
    _check(model)
    seconds = time.perf_counter() - started
    return _result(program, model, cycles, seconds, outputs)


def _check(model: CycleModel) -> None:
    """The accounting identities; a violation is our bug."""
    for e in Engine:
        spent = sum(model.busy[e]) + sum(sum(s.values()) for s in model.stalls[e])
        if spent != model.cycles:
            raise InternalError(f"{e.name}: busy and stalls are {spent} of {model.cycles} cycles")
    if [sum(kind) for kind in zip(*model.nbytes, strict=True)] != model.dram.nbytes:
        raise InternalError("DRAM bytes by layer and by kind differ")
    if model.tokens != model.program.credits.tolist():
        raise FlexhycaError(
            f"{model.program.name}: semaphores do not return to their initial credits "
            f"({model.tokens}, not {model.program.credits.tolist()}); "
            "a post without a wait, or the other way round"
        )


def _result(
    program: Program,
    model: CycleModel,
    cycles: int,
    seconds: float,
    outputs: NDArray[np.int8] | None,
) -> Result:
    import pandas as pd

    c = program.columns
    pes = program.config.array.rows * program.config.array.cols
    count = len(program.layers)
    k = np.array(model.k, np.int64)
    work = c["m"] * c["n"] * k
    gemm = c["op"] == BY_NAME["GEMM"].opcode
    dppu = c["op"] == BY_NAME["DPPU"].opcode
    layer = program.debug_layer
    macs = np.bincount(layer[gemm], work[gemm], count).astype(np.int64)
    stored = c["op"] == BY_NAME["STORE"].opcode
    tiles = np.bincount(layer[stored], minlength=count)
    spans = layer_cycles(model.layer_end)
    spans[-1] += cycles - sum(spans)
    kinds = [kind.name.lower() for kind in Kind]
    rows = []
    for i, name in enumerate(program.layer_names):
        row = {
            "name": name,
            "op": LayerOp(int(program.column("op")[i])).name.lower(),
            "cycles": spans[i],
            "tiles": int(tiles[i]),
            "macs": int(macs[i]),
            "utilization": float(macs[i]) / (pes * spans[i]) if spans[i] else 0.0,
            "array_busy": model.busy[Engine.ARRAY][i],
            "dppu_busy": model.busy[Engine.DPPU][i],
            "stalls": {e.name.lower(): model.stalls[e][i] for e in Engine},
            "dram_bytes": dict(zip(kinds, model.nbytes[i], strict=True)),
        }
        rows.append(row)
    total = int(macs.sum())
    tap = dppu & (c["source"] == Source.ARRAY)
    fetched = dppu & (c["source"] == Source.DRAM)
    return Result(
        program=program,
        cycles=cycles,
        layers=pd.DataFrame(rows),
        dram=dict(zip(kinds, model.dram.nbytes, strict=True)),
        stalls={
            e.name.lower(): {r: sum(s[r] for s in model.stalls[e]) for r in STALLS[e]}
            for e in Engine
        },
        busy={e.name.lower(): sum(model.busy[e]) for e in Engine},
        macs=total,
        macs_by_unit={
            "array": total,
            "dppu_array": int((c["count"] * k)[tap].sum()),
            "dppu_dram": int((c["count"] * k)[fetched].sum()),
        },
        utilization=total / (pes * cycles) if cycles else 0.0,
        important_neurons=int(c["count"][dppu & (c["last"] == 1)].sum()),
        seconds=seconds,
        outputs=outputs,
    )
