"""Runs whose instructions are damaged: values move at the times of the event-driven cycle model.

A word that cannot be decoded, an address, tile or descriptor that does not exist, a neuron that the
DPPU never began: the machine stops with an error (a `ProgramError`), and that is a crash.  Tokens
that never come are a hang (`DeadlockError`).  Everything else computes something.  No instruction
moves more than a buffer holds or multiplies more than a tile, and there are no jumps, so that every
run ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import DeadlockError, InternalError, ProgramError
from ...isa.encoding import InstructionWords, encode
from ...isa.instructions import BY_NAME, BY_OPCODE, INSTRUCTIONS, OF_TILE, Buffer, Table
from ...isa.program import Program
from ...isa.rules import RULES, BrokenRule, OnMachine, Rule
from ...isa.validate_text import check_operands, configured, missing_descriptors, takers
from ...network.layers import NO_TENSOR, Layer, LayerOp
from ...tables import complete
from ..cycles.engines import CycleModel
from ..text.spans import Spans
from .fault_plan import Plan
from .faulty_memory import FaultyMemory
from .sites import FLIP

_WORD = (1 << 64) - 1


class MachineCheckError(ProgramError):
    """The machine finds that it cannot execute an instruction, and stops."""


def damaged(program: Program, faults: Mapping[int, Sequence[tuple[int, int]]]) -> Program:
    """The program with wrong bits, (bit, stuck) by pc, up to its first HALT.

    Raises MachineCheckError for a word that means nothing.
    """
    text: InstructionWords = program.text.copy()
    for pc, bits in faults.items():
        text[pc] = words(text[pc].tolist(), bits)
    found = replace(program, text=text)
    try:
        ops = found.columns["op"]
    except ProgramError as error:
        raise MachineCheckError(error.what) from None
    halts = np.flatnonzero(ops == BY_NAME["HALT"].opcode)
    if not len(halts):
        raise MachineCheckError(f"{program.name}: the engines run past the last instruction")
    end = int(halts[0]) + 1
    return replace(
        found,
        text=text[:end],
        debug_layer=program.debug_layer[:end],
        debug_tile=program.debug_tile[:end],
    )


def words(instruction: Sequence[int], bits: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """An instruction, (low, high), with wrong bits: (bit, stuck) each; flips come first."""
    word = instruction[0] | instruction[1] << 64
    for bit, stuck in sorted(bits, key=lambda fault: fault[1]):
        mask = 1 << bit
        word = word ^ mask if stuck == FLIP else word & ~mask | mask * stuck
    return word & _WORD, word >> 64


def meaningless(program: Program, broken: Program) -> bool:
    """Whether the damage provably changes no value: only fields that nothing reads differ."""
    if len(program.text) != len(broken.text) or refused(broken)[1]:
        return False
    old, new = program.columns, broken.columns
    rows = np.flatnonzero((program.text != broken.text).any(1))
    for pc in rows.tolist():
        changed = {f for f in old if old[f][pc] != new[f][pc]}
        if not changed <= _unread(broken, pc):
            return False
    return True


def _unread(program: Program, pc: int) -> set[str]:
    """Fields of an instruction that no value depends on."""
    c = {name: int(column[pc]) for name, column in program.columns.items()}
    layer = program.network.layers[int(program.debug_layer[pc])]
    return _UNREAD[BY_OPCODE[c["op"]].name](c, layer)


def _unread_by_vec(c: Mapping[str, int], layer: Layer) -> set[str]:
    unread = {"m0", "n0"} if layer.op == LayerOp.CONV else {"res_slot"}
    return unread | (set() if layer.residual != NO_TENSOR else {"res_slot"})


#: Fields that no value depends on, of an instruction for a layer.
_UNREAD: dict[str, Callable[[Mapping[str, int], Layer], set[str]]] = {
    "LOAD": lambda c, layer: {"kind"} | ({"stride"} if c["count"] == 1 else set()),
    "STORE": lambda c, layer: set(),
    "GEMM": lambda c, layer: set() if c["first"] or c["resume"] or c["last"] else {"slot"},
    "DPPU": lambda c, layer: set() if c["last"] else {"slot"},
    "VEC": _unread_by_vec,
    "SETCFG": lambda c, layer: set(),
    "SYNC": lambda c, layer: set(),
    "HALT": lambda c, layer: set(),
}
complete(
    "INSTRUCTIONS in isa/instructions.py",
    [i.name for i in INSTRUCTIONS],
    _UNREAD,
    "simulator/inject/control.py: _UNREAD",
)


def refused(program: Program) -> tuple[Program, dict[int, BrokenRule]]:
    """What the cycle model can time of a damaged program, and why the machine refuses the rest.

    The program names the layer that each instruction's engine is configured for.  In it a refused
    instruction, whose time does not matter any more, is a SYNC of its engine alone; one that the
    machine executes though no program file may have it is timed as `_TIMED` says.
    """
    wrong: dict[int, BrokenRule] = {}
    executed: dict[Rule, list[int]] = {rule: [] for rule in _TIMED}

    def check(bad: NDArray[np.bool_], rule: Rule, **values: object) -> None:
        pcs = np.flatnonzero(bad).tolist()
        match RULES[rule].on_machine:
            case OnMachine.REFUSED:
                for pc in pcs:
                    wrong.setdefault(pc, BrokenRule(rule, values))
            case OnMachine.EXECUTED:
                executed[rule].extend(pcs)
            case OnMachine.UNSEEN:
                raise InternalError(f"a machine does not know {rule}")

    check(missing_descriptors(program, program.columns), Rule.SETCFG)
    program = _without(program, wrong)
    c = program.columns
    layer = program.debug_layer.copy()
    for name in OF_TILE:
        mine = c["op"] == BY_NAME[name].opcode
        engine = BY_NAME[name].engine
        assert engine is not None
        found = configured(program, engine)[Table.LAYER]
        layer[mine] = np.maximum(found[mine], 0)
        check(mine & (found < 0), Rule.NO_LAYER)
    program = replace(program, debug_layer=layer)
    check_operands(program, program.columns, check)
    text = program.text.copy()
    for rule, pcs in executed.items():
        for pc in pcs:
            _TIMED[rule](text, pc)
    return _without(replace(program, text=text), wrong), wrong


def _as_operands(text: InstructionWords, pc: int) -> None:
    """A position table from somewhere else takes the time of operands."""
    at, field = BY_NAME["LOAD"].layout()["buffer"]
    text[pc, 0] = int(text[pc, 0]) & ~(field.limit << at) | int(Buffer.IFMAP) << at


#: How an instruction is timed that breaks a rule and is executed all the same.
_TIMED: dict[Rule, Callable[[InstructionWords, int], None]] = {Rule.LOAD_POSITIONS: _as_operands}
complete(
    "RULES in isa/rules.py, of those that a machine executes",
    [rule for rule, row in RULES.items() if row.on_machine is OnMachine.EXECUTED],
    _TIMED,
    "simulator/inject/control.py: _TIMED",
)


def _without(program: Program, wrong: Mapping[int, BrokenRule]) -> Program:
    """The program with SYNCs of one engine in place of some instructions."""
    if not wrong:
        return program
    text, taken = program.text.copy(), takers(program.columns)
    c = program.columns
    for pc in wrong:
        fields = {name: int(c[name][pc]) for name in ("wait", "post")}
        text[pc] = encode("SYNC", {**fields, "engines": int(taken[pc])})
    return replace(program, text=text)


class DamagedMemory(FaultyMemory):
    """`FaultyMemory` that refuses what a machine refuses."""

    refusals: Mapping[int, BrokenRule]

    def begin(self, pc: int) -> None:
        """See `Memory.begin`."""
        if pc in self.refusals:
            text = self.refusals[pc].text
            raise MachineCheckError(f"{self.program.name}: instruction {pc}: {text}")
        super().begin(pc)


def run_damaged(
    program: Program,
    image: NDArray[np.int8],
    plan: Plan,
    spans: Spans,
    registers_true: bool,
) -> FaultyMemory:
    """Run a program under a plan with faults of instructions; the memory afterwards.

    image : int8 (h, w, c). Raises ProgramError for a crash, DeadlockError for a hang.
    """
    broken = damaged(program, plan.instructions)
    waits = (broken.columns["wait"] & takers(broken.columns)) != 0
    timed, refusals = refused(broken)
    if waits.any():
        pc = int(np.flatnonzero(waits)[0])
        raise DeadlockError(f"{program.name}: instruction {pc} waits for its own engine's token")
    broken = replace(broken, debug_layer=timed.debug_layer)
    memory = DamagedMemory(broken, image[None], plan, spans, registers_true)
    memory.refusals = refusals
    CycleModel(timed, memory).run()
    return memory
