"""A compiled program, as every execution reads it; `program_file` writes and reads the file.

Tensors: `text` u64 (n, 2); `layers` i64 (layers, columns); `windows` i32 (windows, columns);
`tensors` i64 (tensors, 4: h, w, c, DRAM address); `weights` i8, `bias` i32, `positions` u8 with
`positions_indptr` i64; `credits` i64 (4, 4: from, to); `debug.layer`, `debug.tile` i32 (n).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..config import Config
from ..network.layers import LAYER_FIELDS, Layer, LayerOp, Network, Tensor
from .descriptors import LAYER_COLUMNS
from .encoding import InstructionWords, decode_text
from .pe_map import PeMap


@dataclass(frozen=True)
class Program:
    """A compiled program. Arrays are read-only by convention; see the module's docstring."""

    name: str
    config: Config
    batch: int
    text: InstructionWords
    layers: NDArray[np.int64]
    windows: NDArray[np.int32]
    tensors: NDArray[np.int64]
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    positions: NDArray[np.uint8]
    positions_indptr: NDArray[np.int64]
    credits: NDArray[np.int64]
    debug_layer: NDArray[np.int32]
    debug_tile: NDArray[np.int32]
    layer_names: tuple[str, ...]
    tensor_names: tuple[str, ...]
    scales: tuple[float, ...]
    memory_map: Mapping[str, tuple[int, int]]  #: region -> (base, bytes)
    input: int
    output: int
    orders: tuple[tuple[int, ...], ...] = ()  #: `Tensor.order` of each tensor; (): none is moved
    #: Of the chip that the program is for: what is stuck, and whether the DPPU makes up for it.
    pe_map: PeMap = ()
    repaired: bool = False

    @cached_property
    def columns(self) -> dict[str, NDArray[np.int64]]:
        """The decoded text: one int64 column per field name."""
        return decode_text(self.text)

    def column(self, name: str) -> NDArray[np.int64]:
        """A column of the layer table."""
        return self.layers[:, LAYER_COLUMNS.index(name)]

    @property
    def kept(self) -> list[int]:
        """Tensors that stay on chip between layers (`buffers.activation_bytes`)."""
        found: list[int] = np.flatnonzero(
            self.tensors[:, 3] >= self.config.activation_base
        ).tolist()
        return found

    @property
    def kept_bytes(self) -> int:
        """Bytes of the activation memory up to the last that a tensor has."""
        base = self.config.activation_base
        sizes = self.batch * self.tensors[:, :3].prod(1)
        ends = [int(self.tensors[i, 3] + sizes[i]) - base for i in self.kept]
        return max(ends, default=0)

    @cached_property
    def network(self) -> Network:
        """The quantised network that the program computes, rebuilt from its tables and weights."""
        tensors = tuple(
            Tensor(name, int(h), int(w), int(c), scale, order)
            for name, (h, w, c, _), scale, order in zip(
                self.tensor_names,
                self.tensors,
                self.scales,
                self.orders or ((),) * len(self.tensors),
                strict=True,
            )
        )
        layers, weights, biases = [], {}, {}
        for i, (name, row) in enumerate(zip(self.layer_names, self.layers, strict=True)):
            values = dict(zip(LAYER_COLUMNS, row.tolist(), strict=True))
            own = {f: values[f] for f in LAYER_FIELDS}
            own["op"] = LayerOp(own["op"])
            layer = Layer(name=name, **own)
            layers.append(layer)
            if layer.op == LayerOp.CONV:
                c_in, c_out = tensors[layer.input].c // layer.groups, tensors[layer.output].c
                weights[i] = (
                    values["weight_addr"] - self.memory_map["weights"][0],
                    (c_out, layer.kernel_h, layer.kernel_w, c_in),
                    layer.groups,
                    chunks(layer.kernel_h, c_in, values["chunk_ky"], values["chunk_c"]),
                )
                first = (values["bias_addr"] - self.memory_map["bias"][0]) // 4
                biases[i] = self.bias[first : first + c_out]
        return Network(
            self.name,
            tensors,
            tuple(layers),
            _Weights(self.weights, weights),
            biases,
            self.config.arithmetic,
            self.input,
            self.output,
        )


@dataclass(frozen=True)
class _Weights(Mapping[int, NDArray[np.int8]]):
    """Weights by layer, put in order when they are read, so that no network is held twice.

    constants : all weights, as in DRAM; at : layer -> where its weights begin, their shape (out_c,
    kernel_h, kernel_w, in_c / groups), the number of groups, and the chunks of each.
    """

    constants: NDArray[np.int8]
    at: Mapping[int, tuple[int, tuple[int, int, int, int], int, list[tuple[int, int, int, int]]]]

    def __iter__(self) -> Iterator[int]:
        return iter(self.at)

    def __len__(self) -> int:
        return len(self.at)

    def __contains__(self, index: object) -> bool:
        return index in self.at

    def __getitem__(self, index: int) -> NDArray[np.int8]:
        first, shape, groups, pieces = self.at[index]
        if len(pieces) == 1:  # the order is the same
            return self.constants[first : first + math.prod(shape)].reshape(shape)
        out = np.empty(shape, np.int8)
        channels = shape[0] // groups
        for n in range(0, shape[0], channels):
            for ky, nky, c, cc in pieces:
                part = out[n : n + channels, ky : ky + nky, :, c : c + cc]
                part[:] = self.constants[first : first + part.size].reshape(part.shape)
                first += part.size
        return out


def chunks(
    kernel_h: int, channels: int, step_ky: int, step_c: int
) -> list[tuple[int, int, int, int]]:
    """Cut a reduction into (first kernel row, rows, first channel, channels), in memory order."""
    return [
        (ky, min(step_ky, kernel_h - ky), c, min(step_c, channels - c))
        for ky in range(0, kernel_h, step_ky)
        for c in range(0, channels, step_c)
    ]
