"""One accelerator: the sections of `schema`, what follows from them, and their contradictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import Field, model_validator

from ..tables import complete
from .buffers import SPLIT_BUFFERS, Buffers
from .mappings import MappingOptions
from .schema import (
    KEEPS_SUMS,
    LAYER_COPIES,
    MAX_SLOTS,
    MAX_STREAM,
    PRINTABLE,
    PROTECTS,
    RUNS_ENGINES,
    Arithmetic,
    Array,
    DataflowName,
    Dppu,
    Dram,
    Protection,
    Timing,
    Vec,
)
from .section import Decimal, Section, decimal

#: Bytes of a memory of operands at least.
_LEAST_BUFFER = 64
#: Bytes that an address can name: those of DRAM, and behind them those of the activation memory.
ADDRESSES = 1 << 32


class ContradictionError(ValueError):
    """Values that are legal one by one and impossible together: (field path, message) each."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{path} {message}" for path, message in problems))


class Config(Section):
    """One accelerator; every field has a default, and all together are ``flexhyca-32x32``."""

    name: Annotated[str, Field(strict=True, min_length=1, max_length=64, pattern=PRINTABLE)] = (
        Field(default="flexhyca-32x32", description="name in reports; not part of the hash")
    )
    array: Array = Array()
    arithmetic: Arithmetic = Arithmetic()
    dppu: Dppu = Dppu()
    protection: Protection = Protection()
    buffers: Buffers = Buffers()
    dram: Dram = Dram()
    vec: Vec = Vec()
    mapping: MappingOptions = MappingOptions()
    timing: Timing = Field(
        default="native",
        description="native = the register-true reference array and the engines around it; "
        "scalesim = SCALE-Sim's published count, folds one after the other without stalls",
    )
    clock_mhz: Decimal = decimal(
        0, 0.0, 1e5, "clock in MHz: reports give seconds beside cycles; 0 = unknown"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        problems = contradictions(self)
        if problems:
            raise ContradictionError(problems)
        return self

    @property
    def tile_rows(self) -> int:
        """Most output pixels of a tile: the array's rows (os), columns (is), or a stream (ws)."""
        return _TILE[self.array.dataflow][0](self)

    @property
    def tile_cols(self) -> int:
        """Most output channels of a tile: the array's columns (os, ws), or a stream (is)."""
        return _TILE[self.array.dataflow][1](self)

    @property
    def runs_engines(self) -> bool:
        """Whether time is that of engines, DPPU and memory; else a count of the array alone."""
        return RUNS_ENGINES[self.timing]

    @property
    def longest_stream(self) -> int:
        """Longest stream over all columns whose sums fit half of the output buffer, beside one byte
        each (ws, is)."""
        word_bits = self.arithmetic.acc_bits + 8
        words = self.buffers.output_bytes * 8 // 2 // word_bits
        return max(1, min(words // self.array.cols, MAX_STREAM))

    @property
    def activation_base(self) -> int:
        """Address of the activation memory's first byte: it has the last ones that there are."""
        return ADDRESSES - self.buffers.activation_bytes

    @property
    def dram_end(self) -> int:
        """End of the DRAM that can be addressed."""
        return min(self.dram.size_bytes, self.activation_base)

    @property
    def tile_words(self) -> int:
        """Words of the largest tile. A stream may be longer over fewer columns."""
        side = self.array.rows if self.array.keeps_sums else self.longest_stream
        return side * self.array.cols

    @property
    def tile_accumulator_bytes(self) -> int:
        """Bytes of one tile's accumulators in the output buffer (words of acc_bits, packed)."""
        return -(-self.tile_words * self.arithmetic.acc_bits // 8)

    @property
    def tile_bitmap_bytes(self) -> int:
        """Bytes of a one-bit-per-neuron map: the largest position table of a tile."""
        return -(-self.tile_words // 8)

    @property
    def table_bytes(self) -> int:
        """What the position buffer needs: two tables of a tile in each half, aligned."""
        return 4 * (self.tile_bitmap_bytes + 4)

    @property
    def output_words(self) -> int:
        """Words of the output buffer: an accumulator and a residual byte each."""
        free = self.buffers.output_bytes - self.copies_bytes
        return free * 8 // (self.arithmetic.acc_bits + 8)

    def output_slots(self, words: Any) -> Any:
        """Slots of so many words, a number or an array, that the output buffer holds."""
        slots = self.output_words // words
        return slots - (slots > MAX_SLOTS) * (slots - MAX_SLOTS)

    @property
    def copies_bytes(self) -> int:
        """Bytes of the output buffer that hold a tile's first two copies until the third comes."""
        repeats = self.protection.repeats and self.array.keeps_sums
        return 2 * self.tile_accumulator_bytes if repeats else 0

    @property
    def position_column_bits(self) -> int:
        """Bits of the column in an entry of a position list."""
        return (self.array.cols - 1).bit_length()

    @property
    def position_bits(self) -> int:
        """Bits of an entry of a position list: row above column."""
        return max(1, (self.array.rows - 1).bit_length() + self.position_column_bits)

    @property
    def tap_capacity(self) -> int:
        """Neurons of a tile that the DPPU keeps up with from the operand taps.

        In the cycles of one window a group finishes floor(W / ceil(W / width)) partial products.
        """
        d = self.dppu
        return d.size // d.width * (d.window // -(-d.window // d.width))

    def canonical_json(self) -> str:
        """All fields but `name` as JSON with sorted keys: equal text means equal machine."""
        return _canonical(self.model_dump(mode="json"))

    @property
    def config_hash(self) -> str:
        """SHA-256 (hex) of `canonical_json`; programs and studies carry it."""
        return hash_of(self.model_dump(mode="json"))


def _canonical(fields: Mapping[str, Any]) -> str:
    own = {name: value for name, value in fields.items() if name != "name"}
    return json.dumps(own, sort_keys=True, separators=(",", ":"))


def hash_of(fields: Mapping[str, Any]) -> str:
    """`config_hash` of a configuration as a file has it, which may be of fewer fields."""
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()


#: Most output pixels and channels of a tile, by `array.dataflow`.
_TILE: dict[str, tuple[Callable[[Config], int], Callable[[Config], int]]] = {
    "os": (lambda c: c.array.rows, lambda c: c.array.cols),
    "ws": (lambda c: min(c.tile_words, MAX_STREAM), lambda c: c.array.cols),
    "is": (lambda c: c.array.cols, lambda c: min(c.tile_words, MAX_STREAM)),
}
complete(
    "array.dataflow in config/schema.py",
    get_args(DataflowName),
    _TILE,
    "config/accelerator.py: _TILE",
)


def contradictions(config: Config) -> list[tuple[str, str]]:
    """Values that cannot stand together: (field path, what is wrong and what to do) each."""
    a, d, p, b = config.arithmetic, config.dppu, config.protection, config.buffers
    found: list[tuple[str, str]] = []

    if d.size and d.size % d.width:
        near = [w for w in range(1, min(d.size, 16) + 1) if d.size % w == 0]
        found.append(
            (
                "dppu.width",
                f"does not divide dppu.size = {d.size}; use {_alternatives(near)}, "
                f"or a size of {d.size // d.width * d.width or d.width}",
            )
        )
    if p.s_th > 0 and d.size == 0 and not p.hardened_cols:
        found.append(
            (
                "protection.s_th",
                "needs a DPPU, and dppu.size is 0; set protection.s_th to 0 or give dppu.size",
            )
        )
    found += _hardened_problems(config)
    if d.size and not config.array.keeps_sums and config.runs_engines:
        found.append(
            (
                "array.dataflow",
                f"{config.array.dataflow} runs without the DPPU, and dppu.size is {d.size}; set "
                "dppu.size to 0 and protection.s_th to 0, or use dataflow os",
            )
        )
    for field, keeps, what in (
        ("channel_block", True, "accumulators in the PEs"),
        ("double_buffered_accumulators", True, "accumulators in the PEs"),
        ("overlapped_preload", False, "operands that stay in the PEs"),
    ):
        asked = getattr(config.array, field) != Array.model_fields[field].default
        if asked and config.array.keeps_sums != keeps:
            others = [flow for flow, kept in KEEPS_SUMS.items() if kept == keeps]
            found.append(
                (
                    f"array.{field}",
                    f"needs {what}, and dataflow {config.array.dataflow} has none; "
                    f"use dataflow {_alternatives(others)}",
                )
            )
    if (d.size or p.hardened_cols) and p.ib_th < p.nb_th:
        found.append(
            (
                "protection.ib_th",
                f"is below protection.nb_th = {p.nb_th}; important neurons need at least as many "
                f"protected bits as ordinary ones: set ib_th to {p.nb_th} or more",
            )
        )
    for name, bits in (("ib_th", p.ib_th), ("nb_th", p.nb_th)):
        if bits > a.act_bits:
            found.append(
                (
                    f"protection.{name}",
                    f"exceeds arithmetic.act_bits = {a.act_bits}; use at most {a.act_bits}",
                )
            )
    if p.nb_th and not PROTECTS[p.pe_policy]:
        use = _alternatives([policy for policy, protects in PROTECTS.items() if protects])
        found.append(
            (
                "protection.nb_th",
                f"needs protected PEs, and protection.pe_policy is {p.pe_policy}; "
                f"set nb_th to 0, or pe_policy to {use}",
            )
        )
    if a.acc_bits < a.act_bits + a.weight_bits:
        product = a.act_bits + a.weight_bits
        found.append(
            (
                "arithmetic.acc_bits",
                f"cannot hold one product of act_bits + weight_bits = {product} bits; "
                f"use at least {product}",
            )
        )
    if p.q_scale > a.acc_bits - a.act_bits:
        found.append(
            (
                "protection.q_scale",
                f"exceeds acc_bits - act_bits = {a.acc_bits - a.act_bits}, the highest truncation "
                f"bit; use at most {a.acc_bits - a.act_bits}",
            )
        )
    found += _operand_memory_problems(b)
    if d.size and p.s_th > 0 and b.position_bytes < config.table_bytes:  # else none is there
        found.append(
            (
                "buffers.position_bytes",
                f"cannot hold four bitmaps of a {config.array.rows}x{config.array.cols} tile "
                f"(two tables, double-buffered); use at least {config.table_bytes}",
            )
        )
    outputs = -(-2 * config.tile_words * (a.acc_bits + 8) // 8) + config.copies_bytes
    if b.output_bytes < outputs:
        copies = ", and two more copies of the accumulators" if config.copies_bytes else ""
        found.append(
            (
                "buffers.output_bytes",
                f"cannot hold two {config.array.rows}x{config.array.cols} tiles of "
                f"{a.acc_bits}-bit accumulators and {a.act_bits}-bit results{copies}; "
                f"use at least {outputs}",
            )
        )
    if config.dram.grant_bytes % config.dram.burst_bytes:
        found.append(
            (
                "dram.burst_bytes",
                f"does not divide dram.grant_bytes = {config.dram.grant_bytes}, and a grant would "
                "not be whole bursts; use a power of two up to 64, or another grant",
            )
        )
    if p.redundancy != "none":
        found += [("protection.redundancy", what) for what in _redundancy_problems(config)]
    return found


def _hardened_problems(config: Config) -> list[tuple[str, str]]:
    """What hardened columns cannot stand beside."""
    if not config.protection.hardened_cols:
        return []
    field, rivals = "protection.hardened_cols", []
    if config.dppu.size:
        rivals.append(
            f"is the rival of the DPPU, and dppu.size is {config.dppu.size}; set one of them to 0"
        )
    if not config.array.keeps_sums:
        rivals.append(
            f"needs protected sums in the PEs, and dataflow {config.array.dataflow} has none; "
            "use dataflow os"
        )
    if not PROTECTS[config.protection.pe_policy]:
        rivals.append(
            f"needs protected PEs, and pe_policy is {config.protection.pe_policy}; use "
            + _alternatives([policy for policy, protects in PROTECTS.items() if protects])
        )
    if LAYER_COPIES[config.protection.redundancy].parts > 1:
        rivals.append(
            f"needs a whole array, and redundancy {config.protection.redundancy} cuts it into "
            "three; use redundancy time, or hardened_cols 0"
        )
    return [(field, what) for what in rivals]


def _operand_memory_problems(b: Buffers) -> list[tuple[str, str]]:
    """Operands have two memories, or one for both."""
    found = []
    for name in SPLIT_BUFFERS:
        own = getattr(b, name)
        if b.scratchpad_bytes and own:
            found.append(
                (
                    f"buffers.{name}",
                    f"is a memory beside buffers.scratchpad_bytes = {b.scratchpad_bytes}, which "
                    "holds inputs and weights both; leave it out, or set scratchpad_bytes to 0",
                )
            )
        if not b.scratchpad_bytes and own < _LEAST_BUFFER:
            found.append(
                (
                    f"buffers.{name}",
                    f"is too little; use at least {_LEAST_BUFFER}, or one memory for inputs and "
                    "weights (buffers.scratchpad_bytes)",
                )
            )
    least = 2 * _LEAST_BUFFER
    if 0 < b.scratchpad_bytes < least:
        found.append(
            (
                "buffers.scratchpad_bytes",
                f"is too little for inputs and weights; use at least {least}, or 0 for two "
                "memories (buffers.ifmap_bytes, buffers.weight_bytes)",
            )
        )
    return found


def _redundancy_problems(config: Config) -> list[str]:
    """Why the layers cannot be computed three times over by this machine."""
    found = []
    if config.dppu.size:
        found.append(
            f"is another scheme than recomputing, and dppu.size is {config.dppu.size}; set "
            "dppu.size to 0 and protection.s_th to 0"
        )
    if not config.array.keeps_sums:
        found.append(
            f"needs accumulators in the PEs, and dataflow {config.array.dataflow} has none; "
            "use dataflow os"
        )
    if not config.runs_engines:
        found.append(f"is unknown to timing {config.timing}; use timing native")
    if config.array.cols < (parts := LAYER_COPIES[config.protection.redundancy].parts):
        found.append(
            f"needs a third of the columns, and array.cols is {config.array.cols}; "
            f"use at least {parts}"
        )
    return found


def _alternatives(values: Sequence[object]) -> str:
    words = [str(v) for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
