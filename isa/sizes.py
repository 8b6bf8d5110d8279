"""Sizes of what instructions name: buffers, descriptor tables, position tables.

Who executes, times or checks an instruction asks here, so that a buffer, table or format that is
added has its size in one place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..config import Config
from ..tables import complete
from .instructions import (
    LAYER_DESCRIPTOR_BYTES,
    WINDOW_DESCRIPTOR_BYTES,
    Buffer,
    Cells,
    Format,
    KeptMemory,
    Table,
)

#: Bytes of a descriptor, which SETCFG fetches.
DESCRIPTOR_BYTES = {Table.LAYER: LAYER_DESCRIPTOR_BYTES, Table.WINDOW: WINDOW_DESCRIPTOR_BYTES}
complete("Table in isa/instructions.py", Table, DESCRIPTOR_BYTES, "isa/sizes.py: DESCRIPTOR_BYTES")

#: Bytes of a buffer; of the first two that the machine does not have, 0.
_BUFFER_BYTES: dict[Buffer, Callable[[Config], int]] = {
    Buffer.IFMAP: lambda c: c.buffers.scratchpad_bytes or c.buffers.ifmap_bytes,
    Buffer.WEIGHT: lambda c: c.buffers.weight_bytes,
    Buffer.POSITION: lambda c: c.buffers.position_bytes,
    Buffer.OUTPUT: lambda c: c.output_words,
}
complete("Buffer in isa/instructions.py", Buffer, _BUFFER_BYTES, "isa/sizes.py: _BUFFER_BYTES")

#: Bytes of a memory that is written by address.
_KEPT_BYTES: dict[KeptMemory, Callable[[Config], int]] = {
    KeptMemory.ACTIVATION: lambda c: c.buffers.activation_bytes,
}
complete("KeptMemory in isa/instructions.py", KeptMemory, _KEPT_BYTES, "isa/sizes.py: _KEPT_BYTES")

#: Bits of a position table: of `count` entries of `bits` bits, or of a tile of `words`.
_TABLE_BITS: dict[Format, Callable[[Any, int, Any], Any]] = {
    Format.LIST: lambda count, bits, words: count * bits,
    Format.BITMAP: lambda count, bits, words: words,
}
complete("Format in isa/instructions.py", Format, _TABLE_BITS, "isa/sizes.py: _TABLE_BITS")


def buffer_bytes(config: Config) -> dict[Buffer, int]:
    """What a LOAD can fill of each buffer; of the output buffer the residual bytes."""
    return {buffer: size(config) for buffer, size in _BUFFER_BYTES.items()}


def cell_bytes(config: Config) -> dict[Cells, int]:
    """Bytes of every on-chip memory of bytes: the buffers, and what is addressed as DRAM is."""
    found: dict[Cells, int] = dict(buffer_bytes(config).items())
    return found | {memory: size(config) for memory, size in _KEPT_BYTES.items()}


def weight_buffer(config: Config) -> Buffer:
    """Where weights and biases are: the inputs' memory on a machine with a scratchpad."""
    return Buffer.SCRATCHPAD if config.buffers.scratchpad_bytes else Buffer.WEIGHT


def operand_memory(config: Config, buffer: Buffer) -> str:
    """What a memory of operands is called: of the inputs, or of the weights."""
    if config.buffers.scratchpad_bytes:
        return "scratchpad"
    return "ifmap buffer" if buffer == Buffer.IFMAP else "weight buffer"


def table_bytes(fmt: Any, count: Any, bits: int, words: Any) -> Any:
    """Bytes of position tables; all but `bits`, of a list's entry, are integers or arrays.

    fmt : `Format`. count : neurons. words : of the tile.
    """
    sizes = [size(count, bits, words) for size in _TABLE_BITS.values()]
    return (np.select([np.equal(fmt, f) for f in _TABLE_BITS], sizes) + 7) // 8
