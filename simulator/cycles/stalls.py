"""Why an engine stands still, and what that says about a layer: the one table of each."""

from __future__ import annotations

from collections.abc import Mapping

from ...isa.instructions import Engine
from ...tables import complete

#: What an engine does when it does not stand still.
BUSY = "busy"

#: Why an engine stands still. Keys of the stall table, engine by engine.
STALLS: dict[Engine, dict[str, str]] = {
    Engine.LOAD: {
        "buffer_full": "the half to be filled is still read by the array or the vector unit",
        "dppu_buffer_full": "the half to be filled (tables, or operands) is still read by the DPPU",
        "producer": "the tensor to be read is not stored yet, or no residual slot is free",
        "dram": "the channel serves another engine",
        "activation_port": "the activation memory's port serves another engine",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
    Engine.ARRAY: {
        "operands": "operands are not loaded yet",
        "dram_contention": "operands are late because the DPPU's fetches held the channel, or the "
        "activation memory's port",
        "output_full": "no output slot is free: the vector unit or STORE is behind",
        "dppu_outbuf_full": "no output slot is free: results wait for the DPPU",
        "dppu_window": "the DPPU has not left the register file to be filled (HyCA's stall)",
        "drain": "the column buses still carry the last tile (double-buffered accumulators)",
        "blocks": "the channels of a window's position do not fill their last block "
        "(array.channel_block)",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
    Engine.DPPU: {
        "tables": "the position table (or operands from the buffers) is not loaded yet",
        "producer": "the tensor to be read is not stored yet",
        "dram": "operands are on their way from DRAM",
        "buffer_port": "operands are read from the buffers through the DPPU's own port",
        "array": "the array's results are not there yet",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
    Engine.STORE: {
        "array": "the array's results are not there yet",
        "dppu": "the DPPU's results are not there yet",
        "residual": "operands of the vector unit are not loaded yet, or what a STORE overwrites "
        "in the activation memory",
        "dram": "the channel serves another engine",
        "activation_port": "the activation memory's port serves another engine",
        "instruction": "the next instruction is not fetched yet",
        "finished": "after the engine's last instruction",
    },
}
#: Stall of a consumer that waits for a token of a producer: [consumer][producer].
WAITING: dict[Engine, dict[Engine, str]] = {
    Engine.LOAD: {
        Engine.ARRAY: "buffer_full",
        Engine.DPPU: "dppu_buffer_full",
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

#: What can set the pace of a layer.
RESOURCES: dict[str, str] = {
    "compute": "the 2-D array itself: its products and its column buses",
    "dram": "operands from DRAM, or from the activation memory: bandwidth, latency, or the layer "
    "before is not stored yet",
    "dppu": "the DPPU: the array's windows or results wait for it",
    "vector": "the vector unit and STORE behind it",
    "control": "instructions are not fetched yet",
}
#: What each state of the engine that stands for a layer says about it: the array, and for layers
#: without GEMM the engine that runs the vector unit. `finished` says nothing.
BOUND: dict[Engine, dict[str, str]] = {
    Engine.ARRAY: {
        BUSY: "compute",
        "operands": "dram",
        "dram_contention": "dram",
        "output_full": "vector",
        "dppu_outbuf_full": "dppu",
        "dppu_window": "dppu",
        "drain": "compute",
        "blocks": "compute",
        "instruction": "control",
    },
    Engine.STORE: {
        BUSY: "vector",
        "array": "compute",
        "dppu": "dppu",
        "residual": "dram",
        "dram": "dram",
        "activation_port": "dram",
        "instruction": "control",
    },
}
_HERE = "simulator/cycles/stalls.py"
complete("Engine in isa/instructions.py", Engine, STALLS, f"{_HERE}: STALLS")
complete("Engine in isa/instructions.py", Engine, WAITING, f"{_HERE}: WAITING")
for _engine, _reasons in WAITING.items():
    _others = [engine for engine in Engine if engine != _engine]
    _where = f"WAITING[{_engine.name}]"
    complete("Engine in isa/instructions.py", _others, _reasons, f"{_HERE}: {_where}")
for _engine, _bounds in BOUND.items():
    _states = [state for state in (BUSY, *STALLS[_engine]) if state != "finished"]
    complete(f"STALLS in {_HERE}", _states, _bounds, f"{_HERE}: BOUND[{_engine.name}]")
complete(
    f"RESOURCES in {_HERE}",
    RESOURCES,
    {resource for bounds in BOUND.values() for resource in bounds.values()},
    f"{_HERE}: BOUND",
)


def bound(engine: Engine, spent: Mapping[str, int]) -> tuple[str, float]:
    """What bounds a layer: the resource with most of the engine's time for it, and its share.

    spent : state -> cycles. Of equal resources the first of `RESOURCES` counts; ("none", 0.0) where
    the engine had no time for the layer.
    """
    cycles = dict.fromkeys(RESOURCES, 0)
    for state, resource in BOUND[engine].items():
        cycles[resource] += spent[state]
    total, most = sum(cycles.values()), max(cycles, key=lambda resource: cycles[resource])
    return (most, cycles[most] / total) if total else ("none", 0.0)
