"""Checks of a loaded program's instructions: addresses, tiles, and what they find configured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..config.accelerator import ADDRESSES
from ..config.schema import MAX_SLOTS
from ..errors import ProgramError
from ..network.layers import LayerOp
from ..tables import complete
from .descriptors import Redundancy
from .instructions import (
    BY_NAME,
    INSTRUCTIONS,
    OF_TILE,
    WINDOW_FIELDS,
    Buffer,
    Engine,
    Source,
    Table,
)
from .rules import ADVICE, BrokenRule, InvalidProgramError, Rule
from .sizes import buffer_bytes, operand_memory, table_bytes

if TYPE_CHECKING:
    from .program import Program

Columns = dict[str, NDArray[np.int64]]


class TextCheck(Protocol):
    """How a rule of the text is checked."""

    def __call__(self, bad: NDArray[np.bool_], rule: Rule, **values: object) -> None:
        """Take the instructions that break a rule, by pc; values : those that its text names."""


#: The instructions of a tile, by the engine that takes them.
_TILE_ENGINES = {
    Engine.ARRAY: ("GEMM",),
    Engine.DPPU: ("DPPU",),
    Engine.STORE: ("VEC", "STORE"),
}
#: Of the instructions whose engine a field names, the engines of a text's columns, as a mask.
_NAMED_ENGINES: dict[str, Callable[[Columns], Any]] = {
    "SETCFG": lambda c: 1 << c["engine"],
    "SYNC": lambda c: c["engines"],
    "HALT": lambda c: (1 << len(Engine)) - 1,
}
#: The rows of a descriptor table.
_DESCRIPTORS: dict[Table, Callable[[Program], NDArray[Any]]] = {
    Table.LAYER: lambda p: p.layers,
    Table.WINDOW: lambda p: p.windows,
}
_HERE = "isa/validate_text.py"
complete("Table in isa/instructions.py", Table, _DESCRIPTORS, f"{_HERE}: _DESCRIPTORS")
complete(
    "INSTRUCTIONS in isa/instructions.py",
    [i.name for i in INSTRUCTIONS],
    [*OF_TILE, "LOAD", *_NAMED_ENGINES],
    f"{_HERE}: validate_text",
)
complete(
    "OF_TILE in isa/instructions.py",
    OF_TILE,
    [name for names in _TILE_ENGINES.values() for name in names],
    f"{_HERE}: _TILE_ENGINES",
)
complete(
    "INSTRUCTIONS in isa/instructions.py, of those without an engine",
    [i.name for i in INSTRUCTIONS if i.engine is None],
    _NAMED_ENGINES,
    f"{_HERE}: _NAMED_ENGINES",
)
#: Pieces that all DPPU instructions read in DRAM; they are listed before a run, 32 bytes each.
_MOST_READS = 1 << 26
#: Cycles of a DPPU group's work on one tile: the compiled cycle model multiplies two of them.
_MOST_WORK = 1 << 31


def configured(program: Program, engine: Engine) -> dict[Table, NDArray[np.int64]]:
    """Descriptor that each instruction finds configured in `engine`, by pc; -1 before the first."""
    c = program.columns
    mine = (c["op"] == BY_NAME["SETCFG"].opcode) & (c["engine"] == engine)
    out = {}
    for table in Table:
        pcs = np.flatnonzero(mine & (c["table"] == table))
        values = np.concatenate([[-1], c["index"][pcs]])
        out[table] = values[np.searchsorted(pcs, np.arange(len(c["op"])), side="right")]
    return out


def validate_text(p: Program, where: str) -> None:
    """Check every instruction of a program whose tables are right.

    Raises InvalidProgramError, and ProgramError for a word that means nothing.
    """
    try:
        c = p.columns
    except ProgramError as error:
        raise ProgramError(f"{where}: {error.what}", error.advice) from None

    def broken(place: str, rule: Rule, **values: object) -> InvalidProgramError:
        text = BrokenRule(rule, values).text
        return InvalidProgramError(f"{where}: {place}{text}", ADVICE, rule)

    def check(bad: NDArray[np.bool_], rule: Rule, **values: object) -> None:
        at = np.flatnonzero(bad)
        if at.size:
            raise broken(f"instruction {at[0]}: ", rule, **values)

    if not len(p.text):
        raise broken("", Rule.EMPTY_TEXT)
    last = np.arange(len(p.text)) == len(p.text) - 1
    check(_is(c, "HALT") != last, Rule.HALT)
    check(_is(c, "SYNC") & (c["engines"] == 0), Rule.SYNC)
    check((c["wait"] & takers(c)) != 0, Rule.OWN_TOKEN)
    check_operands(p, c, check)
    for engine, names in _TILE_ENGINES.items():
        wrong = configured(p, engine)[Table.LAYER] != p.debug_layer
        check(_is(c, *names) & wrong, Rule.TILE_LAYER)
    _parts(p, c, check)
    _taps(p, c, check)
    stored = np.zeros(len(p.layers), np.int64)
    np.add.at(stored, p.debug_layer, np.where(_is(c, "STORE"), c["m"] * c["n"], 0))
    for name, done, row in zip(p.layer_names, stored, p.tensors[p.column("output")], strict=True):
        wanted = p.batch * int(row[:3].prod())
        if done != wanted:
            raise broken("", Rule.OUTPUTS, layer=name, done=done, wanted=wanted)


def missing_descriptors(p: Program, c: Columns) -> NDArray[np.bool_]:
    """The SETCFG instructions that name a row which its table does not have, by pc."""
    setcfg = _is(c, "SETCFG")
    rows = np.array([len(_DESCRIPTORS[table](p)) for table in Table])
    return setcfg & (c["index"] >= rows[np.where(setcfg, c["table"], 0)])


def check_operands(p: Program, c: Columns, check: TextCheck) -> None:
    """Check what a machine can find out about an instruction before it executes it.

    Addresses, tiles, slots and descriptors exist, and fit the layer that the engine is configured
    for, which `p.debug_layer` has to name.
    """
    _loads(p, c, check)
    _tiles(p, c, check)
    check(missing_descriptors(p, c), Rule.SETCFG)
    layer = p.debug_layer
    out = p.tensors[p.column("output")[layer]]
    tile = _is(c, *OF_TILE)
    check(tile & (c["m0"] + c["m"] > p.batch * out[:, 0] * out[:, 1]), Rule.TILE_PIXELS)
    check(tile & (c["n0"] + c["n"] > out[:, 2]), Rule.TILE_CHANNELS)
    vector = p.column("op")[layer] != LayerOp.CONV
    for engine, names in _TILE_ENGINES.items():
        mine = _is(c, *names)
        tables = configured(p, engine)
        needs_window = mine & ((engine != Engine.STORE) | vector)
        check(needs_window & (tables[Table.WINDOW] < 0), Rule.NO_WINDOW)
        if engine == Engine.STORE:
            _vector_windows(p, mine & vector, tables[Table.WINDOW], check)
        else:
            check(mine & vector, Rule.NO_WEIGHTS)
            _products(p, c, mine, tables[Table.WINDOW], check)


def takers(c: Columns) -> NDArray[np.int64]:
    """The engines that take each instruction, as a mask, from the decoded text."""
    taken = np.zeros(len(c["op"]), np.int64)
    for instruction in BY_NAME.values():
        if instruction.engine is not None:
            taken[c["op"] == instruction.opcode] = 1 << instruction.engine
    for name, engines in _NAMED_ENGINES.items():
        taken = np.where(_is(c, name), engines(c), taken)
    return taken


def _is(c: Columns, *names: str) -> NDArray[np.bool_]:
    return np.isin(c["op"], [BY_NAME[name].opcode for name in names])


def _fetched(c: Columns) -> NDArray[np.bool_]:
    return np.isin(c["source"], [source for source in Source if source.fetched])


def _loads(p: Program, c: Columns, check: TextCheck) -> None:
    by_buffer = buffer_bytes(p.config)
    sizes = np.array([by_buffer[buffer] for buffer in Buffer], np.int64)
    load = _is(c, "LOAD")
    check(
        load & (c["buf_addr"] + c["row_bytes"] * c["count"] > sizes[c["buffer"]]),
        Rule.LOAD_BUFFER,
    )
    last = c["dram_addr"] + c["stride"] * np.maximum(c["count"] - 1, 0) + c["row_bytes"]
    limit = np.where(
        c["dram_addr"] >= p.config.activation_base, ADDRESSES, sum(p.memory_map["activations"])
    )
    check(load & (last > limit), Rule.LOAD_MEMORY)
    check(load & ((c["count"] == 0) | (c["row_bytes"] == 0)), Rule.LOAD_NOTHING)
    base, size = p.memory_map["positions"]
    inside = (c["count"] == 1) & (c["dram_addr"] >= base) & (last <= base + size)
    check(load & (c["buffer"] == Buffer.POSITION) & ~inside, Rule.LOAD_POSITIONS)


def _tiles(p: Program, c: Columns, check: TextCheck) -> None:
    cfg = p.config
    tile = _is(c, *OF_TILE)
    check(tile & ((c["m"] == 0) | (c["n"] == 0)), Rule.TILE_EMPTY)
    words = np.maximum(1, p.column("slot_words"))[p.debug_layer]
    slots = cfg.output_slots(words)
    check(tile & (c["m"] * c["n"] > words), Rule.TILE_WORDS)
    check(tile & (c["slot"] >= slots), Rule.SLOT, slots=slots.min(initial=MAX_SLOTS))
    gemm = _is(c, "GEMM")
    columns = [
        cfg.array.cols // r.copies.parts if r.copies.parts > 1 else cfg.tile_cols
        for r in Redundancy
    ]
    cols = np.array(columns)[p.column("redundancy")[p.debug_layer]]
    check(gemm & ((c["m"] > cfg.tile_rows) | (c["n"] > cols)), Rule.TILE_ARRAY)
    folded = not cfg.array.keeps_sums
    check(
        gemm & ((c["k"] > cfg.array.rows) | ((c["k"] > 0) != folded)),
        Rule.FOLD,
        operands=c["k"][gemm].max(initial=0),
        dataflow=cfg.array.dataflow,
        rows=cfg.array.rows,
    )
    check(gemm & (c["first"] & c["resume"] != 0), Rule.TWO_STARTS)
    check(_is(c, "VEC") & (c["res_slot"] >= slots), Rule.RESIDUAL_SLOT)
    dppu = _is(c, "DPPU")
    check(dppu & (c["count"] > c["m"] * c["n"]), Rule.TABLE_SIZE)
    nbytes = table_bytes(c["format"], c["count"], cfg.position_bits, c["m"] * c["n"])
    check(dppu & (c["pos_addr"] + nbytes > cfg.buffers.position_bytes), Rule.TABLE_PLACE)
    check(gemm & (c["tap"] > c["m"] * c["n"]), Rule.TAPS)
    if not cfg.dppu.size:
        check(dppu | (c["tap"] > 0), Rule.NO_DPPU)


def _products(
    p: Program, c: Columns, mine: NDArray[np.bool_], windows: NDArray[np.int64], check: TextCheck
) -> None:
    """The window's part of the reduction exists in the layer; taps and sums stay countable."""
    w = _windows(p, mine, windows, "ky0", "nky", "kc0", "kcc")
    own = {f: p.column(f)[p.debug_layer] for f in ("kernel_h", "kernel_w", "groups", "dilation_w")}
    cin, cout = (p.tensors[p.column(t), 2][p.debug_layer] for t in ("input", "output"))
    groups = np.where(mine, own["groups"], 1)
    depth, width = cin // groups, cout // groups
    group = c["n0"] // width
    check(mine & ((c["n0"] + c["n"] - 1) // width != group), Rule.TWO_GROUPS)
    check(mine & (w["ky0"] + w["nky"] > own["kernel_h"]), Rule.KERNEL_ROWS)
    check(
        mine & ((w["kc0"] < group * depth) | (w["kc0"] + w["kcc"] > (group + 1) * depth)),
        Rule.WINDOW_CHANNELS,
    )
    k = w["nky"] * w["kcc"] * own["kernel_w"]
    check(mine & (c["k0"] + c["k"] > k), Rule.FOLD_OPERANDS)
    d = p.config.dppu
    if d.size:
        neurons = np.maximum(c["tap"], c["count"])
        cycles = -(-neurons // (d.size // d.width)) * (-(-k // d.width) + -(-k // d.window))
        check(
            mine & (neurons > 0) & ((cycles + k) * (d.size // d.width) > _MOST_WORK),
            Rule.DPPU_WORK,
            most=_MOST_WORK,
        )
    excess = mine & _is(c, "DPPU") & _fetched(c)
    whole = (w["kcc"] == cin) & (own["dilation_w"] == 1)
    reads = np.where(excess, np.minimum(c["m"], c["count"]) * np.where(whole, 1, w["nky"]), 0)
    check(
        excess & (np.cumsum(reads + c["n"] * excess) > _MOST_READS),
        Rule.DPPU_READS,
        most=_MOST_READS,
    )


def _windows(
    p: Program, mine: NDArray[np.bool_], windows: NDArray[np.int64], *names: str
) -> Columns:
    """Fields of the windows of `mine`, by pc; 0 elsewhere."""
    fields = [name for name, _ in WINDOW_FIELDS]
    out = {name: np.zeros(len(mine), np.int64) for name in names}
    for name in names:
        out[name][mine] = p.windows[windows[mine], fields.index(name)]
    return out


def _vector_windows(
    p: Program, mine: NDArray[np.bool_], windows: NDArray[np.int64], check: TextCheck
) -> None:
    """The second operand of an ADD lies in the memory of inputs."""
    w = _windows(p, mine, windows, "rows", "cols", "cc", "b_base")
    add = mine & (p.column("op")[p.debug_layer] == LayerOp.ADD)
    check(
        add
        & (w["b_base"] + w["rows"] * w["cols"] * w["cc"] > buffer_bytes(p.config)[Buffer.IFMAP]),
        Rule.ADD_OPERAND,
        memory=operand_memory(p.config, Buffer.IFMAP),
    )


def _parts(p: Program, c: Columns, check: TextCheck) -> None:
    """The GEMMs of a tile follow one another, but where its sums are parked in its slot."""
    pcs = np.flatnonzero(_is(c, "GEMM"))
    if not len(pcs):
        return
    own = np.stack([p.debug_layer, *(c[f] for f in ("m0", "m", "n0", "n", "slot"))])[:, pcs]
    begins, resumes, last = (c[f][pcs] != 0 for f in ("first", "resume", "last"))

    def follows(order: NDArray[np.int64], drained: bool) -> NDArray[np.bool_]:
        """Whether the GEMM before each, in an order, is of its tile, and drained or not."""
        same = np.zeros(len(order), np.bool_)
        before, after = order[:-1], order[1:]
        same[after] = (own[:, before] == own[:, after]).all(0) & (last[before] == drained)
        return same

    wrong = np.zeros(len(p.text), np.bool_)
    wrong[pcs] = ~begins & ~resumes & ~follows(np.arange(len(pcs)), False)
    check(wrong, Rule.TILE_PARTS)
    wrong[pcs] = resumes & ~follows(np.argsort(own[-1], kind="stable"), True)
    check(wrong, Rule.PARKED)


def _taps(p: Program, c: Columns, check: TextCheck) -> None:
    """Each DPPU instruction from the taps collects the tile of its GEMM, one after the other."""
    given = np.flatnonzero(_is(c, "GEMM") & (c["tap"] > 0))
    taken = np.flatnonzero(_is(c, "DPPU") & ~_fetched(c))
    both = min(len(given), len(taken))
    own = np.stack([p.debug_layer, *(c[f] for f in ("m0", "m", "n0", "n"))])
    wrong = np.zeros(len(p.text), np.bool_)
    pairs = given[:both], taken[:both]
    wrong[pairs[1]] = (own[:, pairs[0]] != own[:, pairs[1]]).any(0) | (pairs[0] > pairs[1])
    wrong[taken[both:]] = True
    check(wrong, Rule.TAPS_MISSING)
    wrong[given[both:]] = True
    check(wrong, Rule.TAPS_LEFT)
