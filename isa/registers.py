"""The register table: the state that exists, and so what a bit flip can hit.

One row a register: unit, name, width in bits as a function of the arithmetic, where it stands, and
what a wrong value reaches.  Fault sites, sampling weights, the stepper's hooks and the manual page
are derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ..config import Arithmetic, Config, choices
from ..errors import InternalError
from ..tables import complete, unique
from .instructions import INSTRUCTION_BITS, Buffer, Cells, KeptMemory

#: Stages that the widest adder tree of a DPPU group has (`dppu.width` is at most 4096).
TREE_STAGES = 12

#: The fault model that draws from a unit: flip-flops, words of buffers, or what controls the run.
StateKind = Literal["register", "memory", "control"]
#: The coordinate that numbers a delay line; "" of what is none.
LineAxis = Literal["", "row", "col"]


@dataclass(frozen=True)
class Register:
    """A register: `rows` x `cols` places, each of `bits` bits.

    row, col : what the two coordinates of a site count; "" where there is one place only.
    exists : which places there are, where it is not all of them (the triangles of skew lines).
    timed : whether the cycle of a tile matters; else a tile has one moment at which it can be hit.
    protected : whether the columns that protection selects have copies (isa.protection); registers
    that hold sums of products. line : of delay lines, the coordinate that numbers them; the other
    one is the stage. buffer : whose byte a word is. shared : whether the other unit of the DPPU
    uses the same flip-flops, at other times.
    """

    unit: str
    name: str
    code: int  #: number that the numba kernels use, counted from 0 in each unit
    bits: Callable[[Arithmetic], int]
    reach: str
    rows: Callable[[Config], int] = lambda c: c.array.rows
    cols: Callable[[Config], int] = lambda c: c.array.cols
    row: str = "row of the array"
    col: str = "column of the array"
    exists: Callable[[int, int], bool] = lambda row, col: True
    model: StateKind = "register"
    timed: bool = True
    protected: bool = False
    line: LineAxis = ""
    buffer: Cells | None = None
    shared: bool = False

    @property
    def feeds_rows(self) -> bool:
        """Whether it stands before the rows, and so feeds all thirds of an array (`space`)."""
        return self.line == "row"


def _word(
    name: str,
    code: int,
    bits: Callable[[Arithmetic], int],
    words: Callable[[Config], int],
    row: str,
    reach: str,
    model: StateKind = "memory",
    timed: bool = True,
    buffer: Cells | None = None,
) -> Register:
    """A word of a buffer: one coordinate."""
    return Register(
        "buffer",
        name,
        code,
        bits,
        reach,
        words,
        lambda c: 1,
        row=row,
        col="",
        model=model,
        timed=timed,
        buffer=buffer,
    )


def _delay_of_row(
    unit: str, name: str, code: int, bits: Callable[[Arithmetic], int], reach: str
) -> Register:
    """The delay lines of an operand that enters by rows: row r has r stages."""
    return Register(
        unit,
        name,
        code,
        bits,
        reach,
        cols=lambda c: c.array.rows - 1,
        col="delay stage before the first column",
        exists=lambda row, col: col < row,
        line="row",
    )


def _delay_of_col(
    unit: str, name: str, code: int, bits: Callable[[Arithmetic], int], reach: str
) -> Register:
    """The same of an operand that enters by columns."""
    return Register(
        unit,
        name,
        code,
        bits,
        reach,
        rows=lambda c: c.array.cols - 1,
        row="delay stage before the first row",
        exists=lambda row, col: row < col,
        line="col",
    )


def _byte(a: Arithmetic) -> int:
    return 8


def _tapped(c: Config) -> int:
    """Neurons of a tile that the DPPU computes from the operand taps."""
    return min(_REUSE[c.dppu.data_reuse][0](c), c.tile_words) if c.dppu.size else 0


def _excess(c: Config) -> int:
    """Neurons of a tile that it may compute from operands that it fetches."""
    return c.tile_words if c.dppu.size and _REUSE[c.dppu.data_reuse][1] else 0


#: Neurons of a tile that the taps keep up with, and whether the others are fetched.
_REUSE: dict[str, tuple[Callable[[Config], int], bool]] = {
    "array": (lambda c: c.tile_words, False),
    "hybrid": (lambda c: c.tap_capacity, True),
    "hybrid_sram": (lambda c: c.tap_capacity, True),
    "dram": (lambda c: 0, True),
}
complete(
    "dppu.data_reuse in config/schema.py",
    choices("dppu.data_reuse"),
    _REUSE,
    "isa/registers.py: _REUSE",
)


def _dppu_registers(unit: str, neurons: Callable[[Config], int]) -> tuple[Register, ...]:
    """The DPPU's registers while it computes `neurons` of a tile (docs/machine.md).

    The register files, partial sums and positions are the unit's own, the groups' registers are one
    set that both units use, at different times.
    """

    def exists(c: Config) -> bool:
        return neurons(c) > 0

    def groups(c: Config) -> int:
        return c.dppu.size // c.dppu.width if exists(c) else 0

    def nodes(stage: int) -> Callable[[Config], int]:
        # Registers of a stage of the tree: one stands there for two before, or for an odd last one.
        def count(c: Config) -> int:
            there = c.dppu.width > 1 << (stage - 1)
            return -(-c.dppu.width >> stage) if there and exists(c) else 0

        return count

    def grows(stage: int) -> Callable[[Arithmetic], int]:
        return lambda a: a.act_bits + a.weight_bits + stage

    def own(
        name: str, code: int, bits: Callable[[Arithmetic], int], reach: str, protected: bool = False
    ) -> Register:
        return Register(
            unit,
            name,
            code,
            bits,
            reach,
            groups,
            lambda c: c.dppu.width,
            "group",
            "lane",
            protected=protected,
            shared=True,
        )

    return (
        Register(
            unit,
            "file_act",
            0,
            lambda a: a.act_bits,
            "one operand of row r, for the neurons that have yet to read it",
            lambda c: c.array.rows if exists(c) else 0,
            lambda c: 2 * c.dppu.window,
            col="place in the two files, W each",
        ),
        Register(
            unit,
            "file_wgt",
            1,
            lambda a: a.weight_bits,
            "one operand of column c, for the neurons that have yet to read it",
            lambda c: 2 * c.dppu.window if exists(c) else 0,
            row="place in the two files, W each",
        ),
        own("act", 2, lambda a: a.act_bits, "one product of the neuron at work"),
        own("wgt", 3, lambda a: a.weight_bits, "one product of the neuron at work"),
        own("prod", 4, grows(0), "the partial sum of the neuron at work", protected=True),
        Register(
            unit,
            "psum",
            5,
            lambda a: a.acc_bits,
            "the neuron's sum",
            neurons,
            lambda c: 1,
            "entry of the position table",
            "",
            protected=True,
        ),
        Register(
            unit,
            "position",
            6,
            lambda a: 1,
            "which operands the neuron reads from then on, and which sum it overwrites",
            neurons,
            lambda c: c.position_bits,
            "entry of the position table",
            "bit of the entry, row above column",
        ),
        *(
            Register(
                unit,
                f"tree{stage}",
                6 + stage,
                grows(stage),
                "the partial sum of the neuron at work",
                groups,
                nodes(stage),
                "group",
                "node of the stage",
                protected=True,
                shared=True,
            )
            for stage in range(1, TREE_STAGES + 1)
        ),
    )


REGISTERS: tuple[Register, ...] = (
    Register("array", "act", 0, lambda a: a.act_bits, "row r, columns >= c (it moves right)"),
    Register("array", "wgt", 1, lambda a: a.weight_bits, "column c, rows >= r (it moves down)"),
    Register(
        "array",
        "prod",
        2,
        lambda a: a.act_bits + a.weight_bits,
        "PE (r, c) only",
        protected=True,
    ),
    Register("array", "acc", 3, lambda a: a.acc_bits, "PE (r, c) only", protected=True),
    _delay_of_row("skew", "act", 0, lambda a: a.act_bits, "one operand of row r, all columns"),
    _delay_of_col("skew", "wgt", 1, lambda a: a.weight_bits, "one operand of column c, all rows"),
    Register(
        "array_ws",
        "preload",
        0,
        lambda a: a.weight_bits,
        "the one weight in it, so one wgt latch of column c, rows >= r, for a whole fold",
    ),
    Register("array_ws", "wgt", 1, lambda a: a.weight_bits, "column c, pixels up to the reload"),
    Register(
        "array_ws", "act", 2, lambda a: a.act_bits, "one pixel, columns >= c (it moves right)"
    ),
    Register("array_ws", "psum", 3, lambda a: a.acc_bits, "one output of column c"),
    _delay_of_row("skew_ws", "act", 0, lambda a: a.act_bits, "one pixel of operand r, all columns"),
    Register(
        "array_is",
        "preload",
        0,
        lambda a: a.act_bits,
        "the one activation in it, so one act latch of column c, rows >= r, for a whole fold",
    ),
    Register("array_is", "act", 1, lambda a: a.act_bits, "column c, filters up to the reload"),
    Register(
        "array_is", "wgt", 2, lambda a: a.weight_bits, "one filter, columns >= c (it moves right)"
    ),
    Register("array_is", "psum", 3, lambda a: a.acc_bits, "one output of column c"),
    _delay_of_row(
        "skew_is", "wgt", 0, lambda a: a.weight_bits, "one filter of operand r, all columns"
    ),
    *_dppu_registers("dppu", _tapped),
    *_dppu_registers("dppu_excess", _excess),
    _word(
        "ifmap",
        0,
        _byte,
        lambda c: c.buffers.ifmap_bytes,
        "byte of the buffer",
        "every operand read from it, by both units, until it is loaded again",
        buffer=Buffer.IFMAP,
    ),
    _word(
        "weight",
        1,
        _byte,
        lambda c: c.buffers.weight_bytes,
        "byte of the buffer",
        "every weight or bias read from it, by both units, until it is loaded again",
        buffer=Buffer.WEIGHT,
    ),
    _word(
        "scratchpad",
        7,
        _byte,
        lambda c: c.buffers.scratchpad_bytes,
        "byte of the memory",
        "every operand, weight or bias read from it, by both units, until it is loaded again",
        buffer=Buffer.SCRATCHPAD,
    ),
    _word(
        "activation",
        8,
        _byte,
        lambda c: c.buffers.activation_bytes,
        "byte of the memory",
        "every operand loaded from it, and what the DPPU fetches, until it is stored again",
        buffer=KeptMemory.ACTIVATION,
    ),
    _word(
        "residual",
        2,
        _byte,
        lambda c: c.output_words,
        "byte of the residual slots",
        "one element of the residual operand",
        buffer=Buffer.OUTPUT,
    ),
    _word(
        "output",
        3,
        lambda a: a.acc_bits,
        lambda c: c.tile_words,
        "word of the tile's slot",
        "one sum, before requantisation",
    ),
    _word(
        "result",
        4,
        lambda a: a.act_bits,
        lambda c: c.tile_words,
        "word of the tile's slot",
        "one element that VEC has finished, before it is stored",
        timed=False,
    ),
    _word(
        "position",
        5,
        _byte,
        lambda c: c.buffers.position_bytes,
        "byte of the buffer",
        "which neurons of the tile the DPPU computes and overwrites",
        "control",
        timed=False,
        buffer=Buffer.POSITION,
    ),
    _word(
        "instruction",
        6,
        lambda a: INSTRUCTION_BITS,
        lambda c: 1,
        "instruction of the tile, counted in program order",
        "what an engine does; hangs and crashes are outcomes",
        "control",
        timed=False,
    ),
)

#: unit -> name -> register
BY_UNIT: dict[str, dict[str, Register]] = {}
for _register in REGISTERS:
    BY_UNIT.setdefault(_register.unit, {})[_register.name] = _register
unique("isa/registers.py: REGISTERS", "unit and name", ((r.unit, r.name) for r in REGISTERS))
unique("isa/registers.py: REGISTERS", "unit and code", ((r.unit, r.code) for r in REGISTERS))
for _register in REGISTERS:
    if _register.code < 0:
        raise InternalError(
            f"isa/registers.py: REGISTERS: {_register.unit} {_register.name} has the code "
            f"{_register.code}; count from 0 in each unit"
        )
for _values, _column, _of in (
    (StateKind, "model", {r.model for r in REGISTERS}),
    (LineAxis, "line", {r.line for r in REGISTERS}),
):
    complete(
        f"the type of `{_column}` in isa/registers.py",
        get_args(_values),
        sorted(_of),
        f"isa/registers.py: REGISTERS, `{_column}`",
    )

#: Registers that are the bytes of a buffer.
BUFFER_BYTES = {r.name: r.buffer for r in REGISTERS if r.buffer is not None}
#: The unit that the 2-D array is with each `array.dataflow`.
UNIT_OF_DATAFLOW = {"os": "array", "ws": "array_ws", "is": "array_is"}
#: The delay lines before it.
SKEW_OF_DATAFLOW = {"os": "skew", "ws": "skew_ws", "is": "skew_is"}
#: The DPPU with operands from the taps, and with those that it fetches.
DPPU_UNITS = ("dppu", "dppu_excess")


def users(register: Register, config: Config) -> tuple[str, ...]:
    """Units of a machine that use a register's flip-flops, which belong to the first of them.

    Empty where the machine has no such register.
    """
    own = DPPU_UNITS if register.shared else (register.unit,)
    each = {unit: BY_UNIT[unit][register.name] for unit in own}
    return tuple(unit for unit, one in each.items() if one.rows(config) and one.cols(config))


for _where, _units in (
    ("UNIT_OF_DATAFLOW", UNIT_OF_DATAFLOW),
    ("SKEW_OF_DATAFLOW", SKEW_OF_DATAFLOW),
):
    complete(
        "array.dataflow in config/schema.py",
        choices("array.dataflow"),
        _units,
        f"isa/registers.py: {_where}",
    )


def all_handled(unit: str, names: Iterable[str], where: str) -> None:
    """Raise InternalError unless `names` are the registers of a unit. where : as of `complete`."""
    complete(f"unit {unit} in isa/registers.py", BY_UNIT[unit], names, where)
