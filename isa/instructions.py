"""The instruction table: the one place that says what an instruction is and where its bits lie.

An instruction is 128 bits, stored as two little-endian u64.  Fields follow one another from bit 0
in the order of the table, so they cannot overlap; bits beyond the last field are reserved and zero.
Encoder, decoder, assembler, disassembler and the manual (`instruction_page`) are derived from it.

Engines take their instructions in text order from a queue of their own.  `wait` and `post` have one
bit an engine: the instruction takes one token from semaphore (that engine -> own engine) for each
wait bit, and gives one token to semaphore (own engine -> that engine) for each post bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ..errors import InternalError
from ..tables import complete
from .descriptors import LAYER_DESCRIPTOR

ISA_VERSION = 3
INSTRUCTION_BITS = 128
INSTRUCTION_BYTES = INSTRUCTION_BITS // 8
#: Bytes of one row of the layer and of the window table in DRAM; SETCFG fetches them.
LAYER_DESCRIPTOR_BYTES = 128
WINDOW_DESCRIPTOR_BYTES = 64


class Engine(IntEnum):
    """Engines with a queue; the number is the bit in `wait` and `post`."""

    LOAD = 0
    ARRAY = 1
    DPPU = 2
    STORE = 3


class Buffer(IntEnum):
    """On-chip buffers a LOAD can write.

    A machine with one memory for inputs and weights has it in place of the first, and no second.
    """

    IFMAP = 0
    SCRATCHPAD = 0
    WEIGHT = 1
    POSITION = 2
    OUTPUT = 3  #: the residual slots beside the output words


class KeptMemory(IntEnum):
    """On-chip memories that a LOAD reads and a STORE writes, by address; numbered behind buffers.

    A tensor in it stays there from the layer that stores it to the last one that loads it.
    """

    ACTIVATION = 4


Cells = Buffer | KeptMemory  #: memories of bytes that can be hit


class Kind(IntEnum):
    """What a DRAM access carries; the traffic table has one column each."""

    IFMAP = 0
    WEIGHT = 1
    BIAS = 2
    OFMAP = 3
    POSITION_TABLE = 4
    DPPU_OPERAND = 5
    INSTRUCTION = 6


class Source(IntEnum):
    """Where the DPPU takes its operands from."""

    ARRAY = 0  #: register files that tap the operand streams of the 2-D array
    BUFFER = 1  #: ifmap and weight buffers, through a port of its own
    DRAM = 2  #: fetched by the DPPU itself

    @property
    def fetched(self) -> bool:
        """Whether the DPPU reads the operands itself, on its own time (the excess)."""
        return _FETCHED[self]

    @property
    def from_buffers(self) -> bool:
        """Whether it reads what the array reads, from the buffers."""
        return _FROM_BUFFERS[self]


_FETCHED = {Source.ARRAY: False, Source.BUFFER: True, Source.DRAM: True}
_FROM_BUFFERS = {Source.ARRAY: False, Source.BUFFER: True, Source.DRAM: False}
for _where, _handled in (("_FETCHED", _FETCHED), ("_FROM_BUFFERS", _FROM_BUFFERS)):
    complete("Source in isa/instructions.py", Source, _handled, f"isa/instructions.py: {_where}")


class Format(IntEnum):
    """How a position table is written; the compiler takes the shorter one."""

    LIST = 0  #: packed (row, column) pairs, column in the low bits, least significant bit first
    BITMAP = 1  #: one bit a tile element in row-major order, least significant bit first


class Table(IntEnum):
    """Descriptor tables of a program."""

    LAYER = 0
    WINDOW = 1


@dataclass(frozen=True)
class Field:
    """A bit field of an instruction: unsigned, `bits` wide."""

    name: str
    bits: int
    meaning: str
    enum: type[IntEnum] | None = None

    @property
    def limit(self) -> int:
        """Largest value that fits."""
        return (1 << self.bits) - 1


@dataclass(frozen=True)
class Instruction:
    """One row of the table. `engine` None: the queues are named by a field of the instruction."""

    name: str
    opcode: int
    engine: Engine | None
    fields: tuple[Field, ...]
    meaning: str

    def layout(self) -> dict[str, tuple[int, Field]]:
        """Field name -> (lowest bit, field), header included."""
        out, bit = {}, 0
        for f in HEADER + self.fields:
            out[f.name] = (bit, f)
            bit += f.bits
        return out


_BITS = ", ".join(f"{engine.value} {engine.name}" for engine in Engine)
HEADER = (
    Field("op", 5, "opcode"),
    Field("wait", len(Engine), f"engines whose token is taken (bit {_BITS})"),
    Field("post", len(Engine), "engines that are given a token when the instruction has ended"),
)

_TILE = (
    Field(
        "m0", 28, "first output pixel of the tile, counted over the batch in (image, y, x) order"
    ),
    Field("m", 9, "output pixels of the tile"),
    Field("n0", 16, "first output channel of the tile"),
    Field("n", 9, "output channels of the tile"),
    Field("slot", 8, "output-buffer slot: word (i, j) of the tile is slot word i*n + j"),
)

INSTRUCTIONS: tuple[Instruction, ...] = (
    Instruction(
        "LOAD",
        1,
        Engine.LOAD,
        (
            Field("kind", 3, "traffic class", Kind),
            Field("buffer", 2, "destination", Buffer),
            Field("buf_addr", 25, "first byte in the buffer"),
            Field("dram_addr", 32, "first byte in DRAM"),
            Field("row_bytes", 20, "bytes of a row"),
            Field("count", 12, "rows"),
            Field("stride", 21, "bytes from row to row in DRAM; rows are packed in the buffer"),
        ),
        "for i in range(count): buffer[buf_addr + i*row_bytes :][:row_bytes] ="
        " dram[dram_addr + i*stride :][:row_bytes]",
    ),
    Instruction(
        "STORE",
        2,
        Engine.STORE,
        _TILE,
        "for i, j in tile: dram[output + (m0+i)*channels + n0 + j] = result(slot, i, j)",
    ),
    Instruction(
        "GEMM",
        3,
        Engine.ARRAY,
        (
            Field("first", 1, "load the bias into the accumulators before the first product"),
            Field("last", 1, "drain the accumulators into the slot after the last product"),
            Field("resume", 1, "take the accumulators from the slot before the first product"),
            Field("tap", 17, "neurons that the DPPU computes from the operand taps meanwhile"),
            *_TILE,
            Field("k0", 16, "first k of a fold within the window (stationary arrays)"),
            Field("k", 9, "operands of a fold, at most the array's rows; 0: the whole window"),
        ),
        "for i, j in tile: acc[i, j] += sum over k of the window: act(m0+i, k) * wgt(n0+j, k)",
    ),
    Instruction(
        "DPPU",
        4,
        Engine.DPPU,
        (
            Field("first", 1, "start the partial sums at the bias"),
            Field("last", 1, "overwrite the slot's words with the sums"),
            Field("source", 2, "where the operands come from", Source),
            Field("format", 1, "format of the position table", Format),
            Field("pos_addr", 16, "first byte of the tile's table in the position buffer"),
            Field("count", 17, "neurons in the table"),
            *_TILE,
        ),
        "for i, j in positions: slot(i, j) = bias + sum over k of act(m0+i, k) * wgt(n0+j, k)."
        " The ARRAY token is taken before the sums are written, all others before the start",
    ),
    Instruction(
        "VEC",
        5,
        Engine.STORE,
        (
            *_TILE,
            Field("res_slot", 8, "residual slot of the tile (CONV layers with a residual)"),
        ),
        "for i, j in tile: result(slot, i, j) = vector unit's steps of the layer (LayerOp)",
    ),
    Instruction(
        "SETCFG",
        6,
        None,
        (
            Field("engine", 2, "engine whose configuration registers are written", Engine),
            Field("table", 1, "descriptor table", Table),
            Field("index", 24, "row of the table"),
        ),
        "config[engine][table] = descriptor",
    ),
    Instruction(
        "SYNC",
        7,
        None,
        (Field("engines", len(Engine), "engines that take part, a bit each"),),
        "each of the engines waits until all of them have come here; then each gives the tokens",
    ),
    Instruction("HALT", 8, None, (), "every engine stops"),
)

BY_NAME = {i.name: i for i in INSTRUCTIONS}
BY_OPCODE = {i.opcode: i for i in INSTRUCTIONS}


def _check_rows() -> None:
    """Raise InternalError where rows of the table cannot be told apart, or have no room."""
    for ins in INSTRUCTIONS:
        where = f"isa/instructions.py: {ins.name}"
        if BY_NAME[ins.name] is not ins or BY_OPCODE[ins.opcode] is not ins:
            raise InternalError(f"{where} has the name or the opcode {ins.opcode} of another row")
        if not 0 < ins.opcode <= HEADER[0].limit:
            raise InternalError(f"{where}: opcode {ins.opcode} is outside 1..{HEADER[0].limit}")
        if len(ins.layout()) < len(HEADER + ins.fields):
            raise InternalError(
                f"{where} has a field twice: {', '.join(f.name for f in ins.fields)}"
            )
        bits = sum(f.bits for f in HEADER + ins.fields)
        if bits > INSTRUCTION_BITS:
            raise InternalError(f"{where}: {bits} bits are more than {INSTRUCTION_BITS}")
        for f in ins.fields:
            if f.enum is not None and max(f.enum) > f.limit:
                last = max(f.enum)
                raise InternalError(
                    f"{where}: {f.bits} bits of {f.name} have no room for {last.name} = {last}"
                )


_check_rows()

#: The instructions that work on a tile, and name it.
OF_TILE = tuple(i.name for i in INSTRUCTIONS if set(_TILE) <= set(i.fields))

#: Columns of the window table: which part of the input an ifmap buffer holds, and which part of
#: the reduction a GEMM or DPPU instruction runs over.  Rows count over the batch: image*h + y.
#: Where a layer steps over rows or columns that no window needs, they are not in the buffer.
WINDOW_FIELDS: tuple[tuple[str, str], ...] = (
    ("a_base", "ifmap-buffer byte of the first element"),
    ("row0", "first input row in the buffer"),
    ("rows", "input rows in the buffer"),
    ("row_step", "from one of these rows to the next; 1: every row"),
    ("col0", "first input column in the buffer"),
    ("cols", "input columns in the buffer"),
    ("col_step", "from one of these columns to the next; 1: every column"),
    ("c0", "first input channel in the buffer"),
    ("cc", "input channels in the buffer"),
    ("ky0", "first kernel row of the reduction"),
    ("nky", "kernel rows of the reduction"),
    ("kc0", "first input channel of the reduction"),
    ("kcc", "input channels of the reduction"),
    ("b_base", "weight-buffer byte of channel n_base (CONV); ifmap-buffer byte of operand b (ADD)"),
    ("n_base", "first output channel whose weights and biases are in the buffer"),
    ("bias_base", "weight-buffer byte of the bias of channel n_base, 4 bytes each"),
)


def instruction_page() -> str:
    """The instruction set as a Markdown page, made from the tables."""
    lines = [
        f"# Instruction set, version {ISA_VERSION}",
        "",
        f"An instruction has {INSTRUCTION_BITS} bits, two little-endian 64-bit words. Bits that no",
        "field names are zero.",
    ]
    for ins in INSTRUCTIONS:
        queue = ins.engine.name if ins.engine is not None else "named by its fields"
        lines += ["", f"## {ins.name}", "", f"Opcode {ins.opcode}; queue: {queue}.", ""]
        lines += [f"    {ins.meaning}", "", "| bits | field | meaning |", "|---|---|---|"]
        for name, (lo, f) in ins.layout().items():
            values = f": {', '.join(f'{e.value} {e.name}' for e in f.enum)}" if f.enum else ""
            lines.append(f"| {lo + f.bits - 1}:{lo} | `{name}` | {f.meaning}{values} |")
    for title, fields in (("Layer", LAYER_DESCRIPTOR.items()), ("Window", WINDOW_FIELDS)):
        lines += ["", f"## {title} descriptor", "", "| field | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {meaning} |" for name, meaning in fields]
    lines += [
        "",
        "## One memory for inputs and weights",
        "",
        "A machine with `buffers.scratchpad_bytes` has that memory in place of the ifmap buffer,",
        "and no weight buffer. LOADs of inputs, weights and biases (`kind` says which) all name",
        f"buffer {Buffer.IFMAP.value}, which assembly calls `SCRATCHPAD`; buffer"
        f" {Buffer.WEIGHT.value} has no bytes. What the window",
        "descriptor calls bytes of the ifmap or the weight buffer are bytes of the scratchpad.",
        "",
        "## Activation memory",
        "",
        "On a machine with `buffers.activation_bytes` the last addresses of the 32 bits, from 2^32",
        "minus that number on, are bytes of that memory and not of DRAM: where LOAD, STORE and",
        "DPPU say `dram`, an address or a tensor there means them. No LOAD reads from both. The",
        "input and the output of the network stand in DRAM.",
    ]
    return "\n".join(lines) + "\n"
