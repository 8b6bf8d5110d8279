"""The section `buffers` of a configuration."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from .section import Section
from .section import integer as _int

#: Bytes of a buffer that an instruction can name (field `buf_addr`).
MAX_BUFFER = 1 << 25
#: The fields that `scratchpad_bytes` stands in place of.
SPLIT_BUFFERS = ("ifmap_bytes", "weight_bytes")


class Buffers(Section):
    """On-chip SRAM, in bytes; operands are double-buffered: one block is loaded, one read."""

    ifmap_bytes: int = _int(
        256 * 1024, 0, MAX_BUFFER, "input activations; 0 with scratchpad_bytes, else at least 64"
    )
    weight_bytes: int = _int(
        512 * 1024, 0, MAX_BUFFER, "weights and biases; 0 with scratchpad_bytes, else at least 64"
    )
    scratchpad_bytes: int = _int(
        0,
        0,
        MAX_BUFFER,
        "one memory for inputs, weights and biases, shared out layer by layer, in place of "
        "ifmap_bytes and weight_bytes; 0 = two memories",
    )
    output_bytes: int = _int(
        64 * 1024, 64, MAX_BUFFER, "accumulators before VEC, activations after"
    )
    position_bytes: int = _int(16 * 1024, 0, 1 << 16, "position tables of important neurons")
    instruction_bytes: int = _int(16 * 1024, 64, 1 << 30, "instructions")
    activation_bytes: int = _int(
        0,
        0,
        1 << 28,
        "whole activation tensors that stay on chip between layers, as in a TPU's unified buffer; "
        "0 = all go through DRAM",
        multiple_of=64,
    )
    # A row of operands in and a row of results out a cycle, of 32 x 32 PEs.
    activation_bytes_per_cycle: int = _int(
        64, 1, 4096, "bandwidth of the activation memory's one port, for loads and stores together"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_memory(cls, values: Any) -> Any:
        """With a scratchpad there are no memories beside it, unless they are given."""
        if isinstance(values, dict) and values.get("scratchpad_bytes"):
            return {**dict.fromkeys(SPLIT_BUFFERS, 0), **values}
        return values
