"""The layer descriptor: what SETCFG loads into an engine for a layer, and what its fields mean.

It is the layer's own row (`network.layers`), and what the compiler adds: where its constants lie in
DRAM, how its reduction is cut, and how many times its sums are computed.
"""

from __future__ import annotations

from enum import IntEnum

from ..config import choices
from ..config.schema import LAYER_COPIES, Copies
from ..tables import complete


class Redundancy(IntEnum):
    """How the machine computes the sums of a CONV layer; copies are voted bit by bit at the output.

    SPACE         by three parts of the array at once, of a third of its columns each
    TIME          three times one after the other, from the same bytes in the buffers
    TIME_REFETCH  the same, and the bytes are loaded three times
    """

    NONE = 0
    SPACE = 1
    TIME = 2
    TIME_REFETCH = 3

    @property
    def copies(self) -> Copies:
        """How many times, and how."""
        return LAYER_COPIES[self.name.lower()]


complete(
    "protection.redundancy in config/schema.py",
    choices("protection.redundancy"),
    [row.name.lower() for row in Redundancy],
    "isa/descriptors.py: Redundancy",
)

#: Columns of the `layers` tensor, which is the descriptor, and what they mean: the layer's own
#: fields, then what the compiler adds to them.
LAYER_DESCRIPTOR: dict[str, str] = {
    "op": "what the layer does: 0 CONV, 1 MAXPOOL, 2 AVGPOOL, 3 ADD, 4 COPY",
    "input": "tensor that it reads",
    "output": "tensor that it writes",
    "residual": "tensor of the second operand (CONV with an add, ADD), -1 without",
    "kernel_h": "rows of a window",
    "kernel_w": "columns of a window",
    "stride_h": "rows from window to window",
    "stride_w": "columns from window to window",
    "pad_top": "rows of the first window above the map",
    "pad_left": "columns of the first window left of the map",
    "dilation_h": "rows from one row of a window to the next",
    "dilation_w": "columns from one column of a window to the next",
    "groups": "groups of channels that do not see each other (CONV)",
    "c_offset": "output channel of input channel 0 (COPY)",
    "shift": "lowest bit that requantisation keeps (CONV, AVGPOOL)",
    "lshift_a": "left shift of the own value before the add",
    "lshift_b": "left shift of the residual before the add",
    "add_shift": "rounded right shift after the add",
    "act_lo": "least value that is stored",
    "act_hi": "largest value that is stored",
    "packed": "groups of the layer that are one group here, with zeros for weights between them",
    "weight_addr": "DRAM byte of the weights, in the order [group][chunk][channel][k]",
    "bias_addr": "DRAM byte of the biases, 4 bytes each",
    "chunk_ky": "kernel rows of a chunk of the reduction",
    "chunk_c": "input channels of a chunk of the reduction",
    "slot_words": "words of an output-buffer slot: those of the layer's largest tile",
    "redundancy": "copies of every sum, voted bit by bit at the output (CONV): 0 one, 1 three at "
    "once on a third of the columns each, 2 three one after the other, 3 the same with operands "
    "loaded three times",
}
LAYER_COLUMNS: tuple[str, ...] = tuple(LAYER_DESCRIPTOR)
