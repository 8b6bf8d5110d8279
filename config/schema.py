"""The accelerator's configuration: one model per YAML section, and the contradictions between them.

This table is the truth: defaults (the paper's FlexHyCA at rate I), limits and descriptions stand
here once; ``config show --explain`` and the error messages are derived from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field, model_validator

from ..tables import complete
from .buffers import SPLIT_BUFFERS, Buffers
from .mapping_options import MappingOptions
from .section import Decimal, Section, decimal
from .section import integer as _int

#: Slots that an instruction can name (isa.instructions, field `slot`).
MAX_SLOTS = 255
#: Bytes of a memory of operands at least.
_LEAST_BUFFER = 64
#: Pixels or channels of a tile that an instruction can name (fields `m` and `n`).
MAX_STREAM = 511

#: No control characters, line ends or code points that mean nothing.
_PRINTABLE = r"^[^\p{C}\p{Zl}\p{Zp}]*$"

Name = Annotated[str, Field(min_length=1, pattern=_PRINTABLE)]
UnitInterval = Annotated[float, Field(strict=True, ge=0.0, le=1.0, allow_inf_nan=False)]

# Values that stand in a command's options, or in a table below, too.
DataflowName = Literal["os", "ws", "is"]
Overflow = Literal["slice", "saturate"]
PePolicy = Literal["none", "direct", "configurable"]
RedundancyKind = Literal["none", "space", "time", "time_refetch"]
Timing = Literal["native", "scalesim"]
Voter = Literal["feedback", "output"]


class Copies(NamedTuple):
    """How many times a redundant layer's sums are computed, and how."""

    runs: int  #: of a tile, one after the other
    parts: int  #: of the array, side by side
    loads: int  #: of a tile's operands


#: Copies by `protection.redundancy`.
LAYER_COPIES: dict[str, Copies] = {
    "none": Copies(1, 1, 1),
    "space": Copies(1, 3, 1),
    "time": Copies(3, 1, 1),
    "time_refetch": Copies(3, 1, 3),
}
#: Whether a PE has protected bits, by `protection.pe_policy`.
_PROTECTS = {"none": False, "direct": True, "configurable": True}
#: Whether a wrong copy heals at the next clock, by `protection.voter`; else copies go on apart.
HEALS = {"feedback": True, "output": False}
#: Whether a PE keeps a neuron's sum, by `array.dataflow`; else sums travel through the array.
KEEPS_SUMS = {"os": True, "ws": False, "is": False}
#: Whether time is that of engines around a memory, by `timing`; else of a count of the array alone.
RUNS_ENGINES = {"native": True, "scalesim": False}


class ContradictionError(ValueError):
    """Values that are legal one by one and impossible together: (field path, message) each."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{path} {message}" for path, message in problems))


class Array(Section):
    """The 2-D array of processing elements (PEs)."""

    rows: int = _int(32, 1, 256, "rows of PEs; each row computes one output position of a tile")
    cols: int = _int(
        32, 1, 256, "columns of PEs; each column computes one output channel of a tile"
    )
    dataflow: DataflowName = Field(
        default="os",
        description="which operand stays in a PE: os = one neuron's accumulator, ws = a weight, "
        "is = an activation; ws and is run without the DPPU",
    )
    double_buffered_accumulators: bool = Field(
        default=False,
        strict=True,
        description="a second accumulator per PE (os): the next tile follows at once",
    )
    channel_block: int = _int(
        1, 1, 256, "input channels that are fed together (os): of a window's position there are "
        "whole blocks of them, and what the last one lacks is waited for"
    )  # fmt: skip
    overlapped_preload: bool = Field(
        default=False,
        strict=True,
        description="the next fold's values go down the preload chain while this fold streams, and "
        "each PE latches its own as the stream comes by (ws, is)",
    )

    @property
    def keeps_sums(self) -> bool:
        """Whether a PE keeps a neuron's sum (os); else sums travel through the array (ws, is)."""
        return KEEPS_SUMS[self.dataflow]

    @property
    def overlaps(self) -> bool:
        """Whether the next operands come while these are at work, in either way."""
        return self.double_buffered_accumulators or self.overlapped_preload


class Arithmetic(Section):
    """Word lengths and rounding rules of the integer arithmetic."""

    act_bits: int = _int(8, 2, 8, "bits of an activation, two's complement")
    weight_bits: int = _int(8, 2, 8, "bits of a weight, two's complement")
    acc_bits: int = _int(24, 16, 32, "bits of an accumulator, which wraps")
    rounding: Literal["half_up", "floor"] = Field(
        default="half_up",
        description="rounding of requantisation: half_up adds 2^(n-1) before the shift",
    )
    overflow: Overflow = Field(
        default="slice",
        description="what requantisation does with accumulator bits above the kept ones: "
        "slice drops them (the paper's reading), saturate clamps to the largest activation",
    )


class Dppu(Section):
    """The dot-product unit (DPPU) that recomputes important neurons."""

    size: int = _int(52, 0, 4096, "multipliers (the paper's Dot_size); 0 = no DPPU")
    width: int = _int(4, 1, 4096, "multipliers of one group; must divide size")
    window: int = _int(32, 1, 1024, "consecutive k that the operand register files hold")
    data_reuse: Literal["array", "hybrid", "hybrid_sram", "dram"] = Field(
        default="hybrid",
        description="source of important neurons' operands (the paper's Data_reuse): "
        "array = HyCA, all from the array's operand streams, which wait; "
        "hybrid = FlexHyCA, the excess from DRAM; "
        "hybrid_sram = the excess from the buffers through a port of its own; dram = all from DRAM",
    )
    sram_bytes_per_cycle: int = _int(
        32, 1, 4096, "bandwidth of the DPPU's own buffer port (hybrid_sram)"
    )


class Protection(Section):
    """Which neurons and which bits are protected (the paper's cross-layer parameters)."""

    s_th: UnitInterval = Field(
        default=0.05, description="share of important neurons (the paper's S_TH)"
    )
    s_policy: Literal["global", "uniform", "tile"] = Field(
        default="uniform",
        description="where the share holds (the paper's S_policy): global = over the model, "
        "uniform = in every layer, tile = in every tile",
    )
    ib_th: int = _int(2, 0, 8, "protected top bits of important neurons (the paper's IB_TH)")
    nb_th: int = _int(1, 0, 8, "protected top bits of ordinary neurons (the paper's NB_TH)")
    q_scale: int = _int(
        7, 0, 30, "lowest legal truncation bit of a layer (the paper's Q_scale); limits the shift n"
    )
    pe_policy: PePolicy = Field(
        default="configurable",
        description="how a PE protects nb_th bits (the paper's PE_policy): none, direct = every "
        "column a layer may select, configurable = nb_th columns routed by the layer's shift",
    )
    voter: Voter = Field(
        default="feedback",
        description="where the voter of a protected bit stands: feedback = behind the register, a "
        "wrong copy heals at the next clock; output = behind the last sum, copies go on apart",
    )
    redundancy: RedundancyKind = Field(
        default="none",
        description="what redundant_layers get: space = the array as three parts of a third of its "
        "columns, voted (the paper's TMR-ARCH); time = every tile three times, voted (TMR-ALG); "
        "time_refetch = that, and operands and weights come from DRAM three times",
    )
    redundant_layers: tuple[Name, ...] = Field(
        default=(),
        description="names of the sensitive layers that redundancy protects; layer1.* is allowed",
    )

    @property
    def repeats(self) -> bool:
        """Whether some tiles run three times one after the other."""
        return LAYER_COPIES[self.redundancy].runs > 1 and bool(self.redundant_layers)


class Dram(Section):
    """The DRAM channel."""

    model: Literal["fixed", "openrow"] = Field(
        default="fixed",
        description="timing model: fixed = latency + bytes per cycle; openrow = banks that keep a "
        "row open, and pay row_miss_cycles for another one",
    )
    bytes_per_cycle: Decimal = decimal(32, 0.001, 4096.0, "bandwidth of the channel")
    request_cycles: Decimal = decimal(
        0, 0.0, 1000.0, "cycles of a contiguous run of bytes, at most a grant, beside its transfer"
    )
    burst_bytes: int = _int(
        1, 1, 4096, "bytes that are moved at least: a run takes whole bursts; divides grant_bytes"
    )
    outstanding: int = _int(
        0, 0, 4096, "runs in flight: so many at most in each latency_cycles; 0 = any number"
    )
    duplex: bool = Field(
        default=False,
        strict=True,
        description="stores have a channel of their own, as wide as that of loads",
    )
    latency_cycles: int = _int(100, 0, 1_000_000, "cycles from a request to its first byte")
    grant_bytes: int = _int(4096, 64, 4096, "bytes of one grant of the channel", multiple_of=64)
    banks: int = _int(8, 1, 1024, "banks (openrow)")
    row_bytes: int = _int(2048, 64, 65536, "bytes of a row of one bank (openrow)", multiple_of=64)
    row_miss_cycles: int = _int(30, 0, 1000, "cycles to close a row and open another (openrow)")
    size_bytes: int = _int(1 << 32, 1 << 16, 1 << 32, "capacity; programs must fit")


class Vec(Section):
    """The vector unit: requantisation, activation, pooling, add."""

    lanes: int = _int(32, 1, 4096, "elements per cycle")


class Config(Section):
    """One accelerator; every field has a default, and all together are ``flexhyca-32x32``."""

    name: Annotated[str, Field(strict=True, min_length=1, max_length=64, pattern=_PRINTABLE)] = (
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
        """Longest stream whose sums fit half of the output buffer beside one byte each (ws, is)."""
        word_bits = self.arithmetic.acc_bits + 8
        words = self.buffers.output_bytes * 8 // 2 // word_bits
        return max(1, min(words // self.array.cols, MAX_STREAM))

    @property
    def tile_words(self) -> int:
        """Words of the largest tile."""
        return self.tile_rows * self.tile_cols

    @property
    def tile_accumulator_bytes(self) -> int:
        """Bytes of one tile's accumulators in the output buffer (words of acc_bits, packed)."""
        return -(-self.tile_words * self.arithmetic.acc_bits // 8)

    @property
    def tile_bitmap_bytes(self) -> int:
        """Bytes of a one-bit-per-neuron map: the largest position table of a tile."""
        return -(-self.tile_words // 8)

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
    "ws": (lambda c: c.longest_stream, lambda c: c.array.cols),
    "is": (lambda c: c.array.cols, lambda c: c.longest_stream),
}
for _field, _values, _where, _handled in (
    ("array.dataflow", DataflowName, "KEEPS_SUMS", KEEPS_SUMS),
    ("array.dataflow", DataflowName, "_TILE", _TILE),
    ("protection.pe_policy", PePolicy, "_PROTECTS", _PROTECTS),
    ("protection.redundancy", RedundancyKind, "LAYER_COPIES", LAYER_COPIES),
    ("protection.voter", Voter, "HEALS", HEALS),
    ("timing", Timing, "RUNS_ENGINES", RUNS_ENGINES),
):
    _table = f"{_field} in config/schema.py"
    complete(_table, get_args(_values), _handled, f"config/schema.py: {_where}")


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
    if p.s_th > 0 and d.size == 0:
        found.append(
            (
                "protection.s_th",
                "needs a DPPU, and dppu.size is 0; set protection.s_th to 0 or give dppu.size",
            )
        )
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
    if d.size and p.ib_th < p.nb_th:
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
    if p.nb_th and not _PROTECTS[p.pe_policy]:
        use = _alternatives([policy for policy, protects in _PROTECTS.items() if protects])
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
    tables = 4 * (config.tile_bitmap_bytes + 4)  # two tables a tile, two halves, aligned
    if d.size and p.s_th > 0 and b.position_bytes < tables:  # else no table is there to fit
        found.append(
            (
                "buffers.position_bytes",
                f"cannot hold four bitmaps of a {config.array.rows}x{config.array.cols} tile "
                f"(two tables, double-buffered); use at least {tables}",
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
