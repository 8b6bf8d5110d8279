"""The accelerator's configuration: one model per YAML section, and the contradictions between them.

This table is the truth: defaults (the paper's FlexHyCA at rate I), limits and descriptions stand
here once; ``config show --explain`` and the error messages are derived from it.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import Field

from ..tables import complete
from .section import Decimal, Section, decimal
from .section import integer as _int

#: Slots that an instruction can name (isa.instructions, field `slot`).
MAX_SLOTS = 255
#: Pixels or channels of a tile that an instruction can name (fields `m` and `n`).
MAX_STREAM = 511

#: No control characters, line ends or code points that mean nothing.
PRINTABLE = r"^[^\p{C}\p{Zl}\p{Zp}]*$"

Name = Annotated[str, Field(min_length=1, pattern=PRINTABLE)]
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
PROTECTS = {"none": False, "direct": True, "configurable": True}
#: Whether a wrong copy heals at the next clock, by `protection.voter`; else copies go on apart.
HEALS = {"feedback": True, "output": False}
#: Whether a PE keeps a neuron's sum, by `array.dataflow`; else sums travel through the array.
KEEPS_SUMS = {"os": True, "ws": False, "is": False}
#: Whether time is that of engines around a memory, by `timing`; else of a count of the array alone.
RUNS_ENGINES = {"native": True, "scalesim": False}


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
    hardened_cols: int = _int(
        0, 0, 256, "first columns of the array whose PEs have ib_th protected bits, not nb_th; the "
        "compiler puts channels with many important neurons there (os, without a DPPU)"
    )  # fmt: skip
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


for _field, _values, _where, _handled in (
    ("array.dataflow", DataflowName, "KEEPS_SUMS", KEEPS_SUMS),
    ("protection.pe_policy", PePolicy, "PROTECTS", PROTECTS),
    ("protection.redundancy", RedundancyKind, "LAYER_COPIES", LAYER_COPIES),
    ("protection.voter", Voter, "HEALS", HEALS),
    ("timing", Timing, "RUNS_ENGINES", RUNS_ENGINES),
):
    _table = f"{_field} in config/schema.py"
    complete(_table, get_args(_values), _handled, f"config/schema.py: {_where}")
