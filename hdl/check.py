"""What `flexhyca hdl check` runs: simulate, prove, compare. Each check gives one line."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ..config import choices
from ..isa.columns import configurable_sum
from ..tables import complete
from .area.pe_area import Point
from .area.table import lookup
from .netlist.cost import cost
from .netlist.design import PeProtection, Policy, plainest, protected, shifts
from .netlist.dppu import truncation
from .netlist.evaluate import Simulation, pack, unpack
from .netlist.gate_faults import gate_faults, residual
from .netlist.multipliers import MULTIPLIERS
from .netlist.netlist import Netlist
from .netlist.pe import (
    Datapath,
    core,
    multiplier,
    pe,
)
from .rtl import emit, yosys
from .rtl.prove import proofs

#: A spread of policies; `full` and `none` at the ends.
SPREAD: tuple[PeProtection, ...] = (
    PeProtection(),
    PeProtection(1, 7, "direct"),
    PeProtection(3, 0, "direct"),
    PeProtection(1, 2, "configurable"),
    PeProtection(2, 7, "configurable"),
    PeProtection(3, 4, "configurable"),
    PeProtection(2, 7, "configurable", "saturate"),
    PeProtection(0, 0, "full"),
)


class CheckResult(NamedTuple):
    """passed None: skipped, for the reason in `found`."""

    check: str
    found: str
    passed: bool | None


def run_checks(seed: int = 0, vectors: int = 100_000) -> Iterator[CheckResult]:
    """All checks, one after the other."""
    rng = np.random.default_rng(seed)
    for kind in MULTIPLIERS:
        datapath = Datapath(multiplier=kind)
        for protection in SPREAD:
            yield products(datapath, protection)
            yield sums(datapath, protection, rng, vectors)
    yield truncations(Datapath(), rng, vectors)
    for kind in MULTIPLIERS:
        datapath = Datapath(multiplier=kind)
        for protection in SPREAD:
            if protection.protect:
                yield from (_proof(*p) for p in proofs(datapath, protection))
                yield stuck(datapath, protection, rng)
    for policy in choices("protection.pe_policy"):
        yield areas(Point("wallace", policy, "slice", 1, 7))
    yield copies_survive(Datapath(), PeProtection(1, 7, "configurable"))
    yield from lint()


def products(datapath: Datapath, protection: PeProtection) -> CheckResult:
    """All products of the multiplier under a protection, for every shift."""
    circuit = protected(multiplier(datapath), datapath, protection)
    low, high = -(1 << (datapath.act_bits - 1)), 1 << (datapath.act_bits - 1)
    below, above = -(1 << (datapath.weight_bits - 1)), 1 << (datapath.weight_bits - 1)
    a, w = (x.ravel() for x in np.meshgrid(np.arange(low, high), np.arange(below, above)))
    wrong = 0
    for shift in shifts(datapath, protection) if circuit.lines else (0,):
        found = evaluated(circuit.at(shift), {"a": a, "w": w}, "p")
        wrong += int((found != a * w).sum())
    return CheckResult(
        f"products, {_name(datapath, protection)}", f"{wrong} of {len(a)} wrong", not wrong
    )


def sums(
    datapath: Datapath, protection: PeProtection, rng: np.random.Generator, vectors: int
) -> CheckResult:
    """Random accumulations, wrapping included."""
    circuit = protected(core(datapath), datapath, protection)
    a, w, acc = operands(datapath, rng, vectors).values()
    wrong = 0
    for shift in shifts(datapath, protection) if circuit.lines else (0,):
        found = evaluated(circuit.at(shift), {"a": a, "w": w, "acc": acc}, "y")
        wrong += int((found != wrapped(acc + a * w, datapath.acc_bits)).sum())
    return CheckResult(
        f"sums, {_name(datapath, protection)}", f"{wrong} of {vectors} wrong", not wrong
    )


def truncations(datapath: Datapath, rng: np.random.Generator, vectors: int) -> CheckResult:
    """VEC's shifter: bits [n+7 : n] of random accumulators."""
    circuit = truncation(datapath.acc_bits, datapath.act_bits)
    half = 1 << (datapath.acc_bits - 1)
    acc = rng.integers(-half, half, vectors)
    n = rng.integers(0, datapath.acc_bits - datapath.act_bits + 1, vectors)
    found = evaluated(circuit, {"acc": acc, "shift": n}, "y")
    wrong = int((found != wrapped(acc >> n, datapath.act_bits)).sum())
    return CheckResult("truncation of VEC", f"{wrong} of {vectors} wrong", not wrong)


def stuck(datapath: Datapath, protection: PeProtection, rng: np.random.Generator) -> CheckResult:
    """Every stuck output of a copy is masked at the protected bits."""
    circuit = protected(core(datapath), datapath, protection)
    found: Counter[str] = Counter()
    total = 0
    for shift in shifts(datapath, protection) if circuit.lines else (protection.q_scale,):
        columns = protected_outputs(datapath, protection, shift)
        faults = gate_faults(circuit.at(shift), operands(datapath, rng, 256), "y")
        total += len(faults)
        found += residual(faults, columns)
    rest = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    label = f"stuck cells, {_name(datapath, protection)}"
    return CheckResult(label, f"{total} faults; left: {rest or 'none'}", "copy" not in found)


def protected_outputs(datapath: Datapath, protection: PeProtection, shift: int) -> range:
    """Columns of the sum that a layer with this shift has protected."""
    own = plainest(protection)
    return _OUTPUTS[own.policy](datapath, own, shift)


_OUTPUTS: dict[Policy, Callable[[Datapath, PeProtection, int], range]] = {
    "none": lambda d, p, shift: range(0),
    "direct": lambda d, p, shift: range(p.q_scale + d.act_bits - p.protect, d.acc_bits),
    "configurable": lambda d, p, shift: configurable_sum(
        d.act_bits, d.acc_bits, p.protect, p.q_scale, shift
    ),
    "full": lambda d, p, shift: range(d.acc_bits),
}
for _what, _handled in (("_OUTPUTS", set(_OUTPUTS)), ("SPREAD", {p.policy for p in SPREAD})):
    complete(
        "Policy in hdl/netlist/design.py", get_args(Policy), _handled, f"hdl/check.py: {_what}"
    )


def areas(point: Point) -> CheckResult:
    """A row of the table, synthesised again, and its cell count."""
    netlist = protected(pe(point.datapath), point.datapath, point.protection).netlist
    counted, mapped, row = cost(netlist).area_ge, yosys.area(netlist), lookup(point)
    off = max(abs(counted - mapped), abs(counted - row.area_ge)) / mapped
    label = f"area, {point.policy}, s {point.protect}, q_scale {point.q_scale}"
    return CheckResult(label, f"cells {counted:.1f} GE, Yosys {mapped:.1f} GE", off < 0.01)


def copies_survive(datapath: Datapath, protection: PeProtection) -> CheckResult:
    """Synthesis keeps the copies apart in their modules, and merges them without."""
    netlist = protected(pe(datapath), datapath, protection).netlist
    there = sum(cell.kind == "DFF" for cell in netlist.cells)
    kept = yosys.optimised(netlist).flip_flops
    flat = yosys.optimised(netlist, flat=True).flip_flops
    found = f"{kept} of {there} flip-flops; {flat} if the modules are dissolved"
    return CheckResult("copies survive synthesis", found, kept == there > flat)


def lint() -> Iterator[CheckResult]:
    """Every emitted file, in Icarus and Verilator where they are installed."""
    texts = {
        "pe": emit.emit_pe(Datapath(), PeProtection(1, 7, "configurable")),
        "dppu": emit.emit_dppu(Datapath(), 4, 4, 13),
        "array": emit.emit_array(Datapath(), 4, 4, faults=True),
        "array without flips": emit.emit_array(Datapath(), 4, 4, faults=False),
    }
    tools = {"iverilog": ["-t", "null"], "verilator": ["--lint-only"]}
    for tool, options in tools.items():
        for name, text in texts.items():
            label = f"{tool}, {name}"
            if shutil.which(tool) is None:
                yield CheckResult(label, f"{tool} is not installed", None)
                continue
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / f"{name.split()[0]}.v"
                file.write_text(text, encoding="utf-8")
                top = ["--top-module", _top(text)] if tool == "verilator" else []
                done = subprocess.run(
                    [tool, *options, *top, str(file)], capture_output=True, text=True, check=False
                )
            said = (done.stderr or done.stdout).strip().splitlines()
            yield CheckResult(
                label, said[0] if said else "clean", done.returncode == 0 and not said
            )


def evaluated(
    netlist: Netlist, values: dict[str, NDArray[np.int64]], output: str
) -> NDArray[np.int64]:
    """A combinational circuit on many cases."""
    count = len(next(iter(values.values())))
    simulation = Simulation(netlist, -(-count // 64))
    simulation.settle({name: pack(x, len(netlist.inputs[name])) for name, x in values.items()})
    return unpack(simulation.output(output), count)


def operands(
    datapath: Datapath, rng: np.random.Generator, count: int
) -> dict[str, NDArray[np.int64]]:
    """Random operands of a core: a, w, acc."""
    bits = {"a": datapath.act_bits, "w": datapath.weight_bits, "acc": datapath.acc_bits}
    return {n: rng.integers(-(1 << (b - 1)), 1 << (b - 1), count) for n, b in bits.items()}


def wrapped(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """The low bits as a two's-complement number.

    A twin of `network.fixedpoint.wrap` on purpose: what checks the circuits shares nothing with
    what the simulator computes with.
    """
    half = 1 << (bits - 1)
    return ((values + half) & (2 * half - 1)) - half


def _proof(what: str, expected: bool, shown: bool) -> CheckResult:
    found = "proven equal" if shown else "shown different"
    return CheckResult(f"proof, {what}", found, expected == shown)


def _name(datapath: Datapath, protection: PeProtection) -> str:
    return (
        f"{datapath.multiplier}, {protection.policy}, s {protection.protect}, "
        f"q_scale {protection.q_scale}, {protection.overflow}"
    )


def _top(text: str) -> str:
    """The last module of a file."""
    return [line.split()[1] for line in text.splitlines() if line.startswith("module ")][-1]
