"""Verilog of a netlist: one module a cell kind, one instance a cell, ports as they are named."""

from __future__ import annotations

from collections.abc import Iterable

from ..netlist.cells import KINDS, renamed, text
from ..netlist.netlist import (
    ONE,
    ZERO,
    Cell,
    Netlist,
)


def cell_modules(kinds: Iterable[str]) -> str:
    """Modules of cell kinds; a register has a clock and takes its input at the rising edge."""
    return "\n".join(_cell(kind) for kind in sorted(kinds))


def module(netlist: Netlist, name: str) -> str:
    """The circuit as a structural module; registers add the port `clk`."""
    registers = any(KINDS[cell.kind].is_register for cell in netlist.cells)
    net = [f"n{i}" for i in range(netlist.nets)]  # a vector would look like a loop to Verilator
    net[ZERO], net[ONE] = "1'b0", "1'b1"
    ports = ["input wire clk"] if registers else []
    lines = []
    for port, nets in netlist.inputs.items():
        if nets:
            ports.append(f"input wire {_range(len(nets))}{port}")
            lines += [f"  assign {net[n]} = {_bit(port, nets, i)};" for i, n in enumerate(nets)]
    for port, nets in netlist.outputs.items():
        ports.append(f"output wire {_range(len(nets))}{port}")
    for number, cell in enumerate(netlist.cells):
        kind = KINDS[cell.kind]
        pins = [*zip(kind.inputs, cell.inputs, strict=True)]
        pins += zip(kind.outputs, cell.outputs, strict=True)
        wired = [f".{pin}({net[n]})" for pin, n in pins]
        if kind.is_register:
            wired.insert(0, ".clk(clk)")
        label = f"{cell.name or cell.part}_c{cell.column}_{cell.copy}_{number}"
        lines.append(f"  {cell.kind} {label} ({', '.join(wired)});")
    for port, nets in netlist.outputs.items():
        lines += [f"  assign {_bit(port, nets, i)} = {net[n]};" for i, n in enumerate(nets)]
    head = ",\n  ".join(ports)
    body = "\n".join([*(f"  wire {name};" for name in net[ONE + 1 :]), *lines])
    return f"module {name} (\n  {head}\n);\n{body}\nendmodule\n"


def design(netlist: Netlist, name: str) -> str:
    """The module and those of its cells: a whole file."""
    kinds = {cell.kind for cell in netlist.cells}
    return cell_modules(kinds) + "\n" + module(netlist, name)


def grouped(netlist: Netlist, name: str) -> str:
    """The circuit with its copies in modules of their own, which a synthesiser has to keep apart.

    Modules copy0 (and all that has one copy), copy1, copy2, voters, muxes; logic as expressions.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in netlist.cells:
        groups.setdefault(group(cell), []).append(cell)
    clock = any(KINDS[cell.kind].is_register for cell in netlist.cells)
    outside = {net for nets in netlist.outputs.values() for net in nets}
    read = {
        label: {net for cell in cells for net in cell.inputs} for label, cells in groups.items()
    }
    modules, instances = [], []
    for label, cells in groups.items():
        own = {net for cell in cells for net in cell.outputs}
        others = set().union(outside, *(nets for g, nets in read.items() if g != label))
        wanted = sorted(own & others)
        taken = sorted(read[label] - own - {ZERO, ONE})
        lines = [f"  wire n{net};" for net in sorted(own - set(wanted))]
        lines += [_statement(cell) for cell in cells]
        ports = [*(["input wire clk"] if clock else []), *(f"input wire n{n}" for n in taken)]
        ports += [f"output wire n{n}" for n in wanted]
        body = "\n".join(lines)
        modules.append(f"module {label} (\n  {', '.join(ports)}\n);\n{body}\nendmodule\n")
        wired = [*([".clk(clk)"] if clock else []), *(f".n{n}(n{n})" for n in (*taken, *wanted))]
        instances.append(f"  {label} {label}_i ({', '.join(wired)});")
    top = module(Netlist(name, netlist.nets, [], netlist.inputs, netlist.outputs), name)
    if clock:
        top = top.replace("(\n  ", "(\n  input wire clk,\n  ", 1)
    top = top.replace("endmodule", "\n".join([*instances, "endmodule"]))
    return "\n".join([*modules, top])


def group(cell: Cell) -> str:
    """The module of a cell in `grouped`."""
    return cell.part if cell.part in ("voters", "muxes") else f"copy{cell.copy}"


def _statement(cell: Cell) -> str:
    """A cell as Verilog expressions of nets."""
    kind = KINDS[cell.kind]
    names = [{ZERO: "1'b0", ONE: "1'b1"}.get(net, f"n{net}") for net in cell.inputs]
    if kind.is_register:
        (net,) = cell.outputs
        return f"  reg r{net}; always @(posedge clk) r{net} <= {names[0]}; assign n{net} = r{net};"
    pins = dict(zip(kind.inputs, names, strict=True))
    return "\n".join(
        f"  assign n{net} = {text(renamed(logic, pins))};"
        for net, logic in zip(cell.outputs, kind.outputs.values(), strict=True)
    )


def _cell(name: str) -> str:
    kind = KINDS[name]
    inputs = [f"input wire {pin}" for pin in kind.inputs]
    if kind.is_register:
        ports = ", ".join(["input wire clk", *inputs, "output reg q"])
        return f"module {name} ({ports});\n  always @(posedge clk) q <= d;\nendmodule\n"
    ports = ", ".join([*inputs, *(f"output wire {pin}" for pin in kind.outputs)])
    body = "\n".join(f"  assign {pin} = {text(logic)};" for pin, logic in kind.outputs.items())
    return f"module {name} ({ports});\n{body}\nendmodule\n"


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""


def _bit(port: str, nets: list[int], i: int) -> str:
    return f"{port}[{i}]" if len(nets) > 1 else port
