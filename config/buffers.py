"""The section `buffers` of a configuration."""

from __future__ import annotations

from .section import Section
from .section import integer as _int

#: Bytes of a buffer that an instruction can name (field `buf_addr`).
MAX_BUFFER = 1 << 25


class Buffers(Section):
    """On-chip SRAM, in bytes; each buffer is used in two halves (double buffering)."""

    ifmap_bytes: int = _int(256 * 1024, 64, MAX_BUFFER, "input activations")
    weight_bytes: int = _int(512 * 1024, 64, MAX_BUFFER, "weights and biases")
    output_bytes: int = _int(
        64 * 1024, 64, MAX_BUFFER, "accumulators before VEC, activations after"
    )
    position_bytes: int = _int(16 * 1024, 0, 1 << 16, "position tables of important neurons")
    instruction_bytes: int = _int(16 * 1024, 64, 1 << 30, "instructions")
