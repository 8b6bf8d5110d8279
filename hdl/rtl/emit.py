"""Verilog that a user can take away: files with their ports documented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..netlist.configurable import Configured
from ..netlist.cost import cost
from ..netlist.design import PeProtection, protected
from ..netlist.dppu import dppu_group
from ..netlist.netlist import Netlist
from ..netlist.pe import Datapath, pe
from ..netlist.tmr import in_columns, tripled
from .players import array_verilog
from .verilog import design

What = Literal["pe", "dppu", "array"]

_PE = {
    "act": "activation from the left",
    "wgt": "weight from above",
    "valid": "the operands belong to a sum; travels with act",
    "load": "the accumulator takes `bias` at this edge",
    "bias": "what the sum begins with",
    "bus": "the column's bus from the PE above",
    "out": "this row puts its accumulator on the bus",
    "select": "control lines of the spare columns, the same in all PEs; see the table below",
    "act_out": "activation to the right",
    "wgt_out": "weight to the PE below",
    "valid_out": "valid bit to the right",
    "bus_out": "the column's bus to the PE below",
}
_DPPU = {
    "act": "activations, one word a lane, lane 0 lowest",
    "wgt": "weights, one word a lane, lane 0 lowest",
    "neuron": "one line a resident neuron: its partial sum is read and updated",
    "load": "the partial sum takes `bias` at this edge",
    "bias": "what the sum begins with",
    "psum": "the partial sum of the chosen neuron",
}
_ARRAY = {
    "act_in": "activations by row, row 0 lowest; row r is delayed by r cycles",
    "wgt_in": "weights by column, column 0 lowest; column c is delayed by c cycles",
    "valid_in": "valid bits by row, delayed as act_in",
    "load": "by row: the accumulators take `bias`",
    "bias": "by column: what the sums begin with",
    "out": "by row: its accumulators are on the bus",
    "protect_prod": "columns of the product that have three copies and a voter",
    "protect_acc": "columns of the accumulator that have three copies and a voter",
    "flips": "by PE, row-major: stored bits that flip in this cycle (act, wgt, prod x3, acc x3)",
    "bus": "by column: the accumulators of the row that `out` names",
}


def emit_pe(datapath: Datapath, protection: PeProtection) -> str:
    """A PE from its cell list."""
    circuit = protected(pe(datapath), datapath, protection)
    title = (
        f"Processing element: {datapath.multiplier} multiplier, policy {protection.policy}, "
        f"s {protection.protect}, q_scale {protection.q_scale}, {protection.overflow}"
    )
    return _header(title, circuit, _PE) + design(circuit.netlist, "pe")


def emit_dppu(datapath: Datapath, width: int, neurons: int, first_column: int) -> str:
    """A group of the DPPU; its columns from `first_column` on are tripled."""
    netlist = tripled(
        dppu_group(datapath, width, neurons),
        in_columns(range(first_column, datapath.acc_bits)),
    )
    title = f"Group of the DPPU: {width} multipliers, {neurons} resident neurons"
    return _header(title, Configured(netlist), _DPPU) + design(netlist, "dppu_group")


def emit_array(datapath: Datapath, rows: int, cols: int, faults: bool) -> str:
    """The 2-D array as the simulator steps it, converted by MyHDL."""
    lines = [f"Output-stationary array of {rows} x {cols} PEs; rising edge of clk"]
    lines += [f"  {name}: {text}" for name, text in _ARRAY.items() if faults or name != "flips"]
    return _comment(lines) + array_verilog(rows, cols, datapath, faults=faults)


def _header(title: str, circuit: Configured, ports: dict[str, str]) -> str:
    netlist: Netlist = circuit.netlist
    own = cost(netlist)
    lines = [title, f"{own.area_ge:.1f} GE, depth {own.depth} unit delays, rising edge of clk"]
    for name, nets in {**netlist.inputs, **netlist.outputs}.items():
        if nets:
            lines.append(f"  {name} [{len(nets)}]: {ports[name]}")
    lines += [
        f"  select[{i}] = 1 for layers with n in {{{', '.join(map(str, sorted(shifts)))}}}"
        for i, shifts in enumerate(circuit.lines)
    ]
    return _comment(lines)


def _comment(lines: Sequence[str]) -> str:
    return "".join(f"// {line}\n" for line in lines) + "\n"
