"""SCALE-Sim topology files: the shapes of a network's layers, for cycles and traffic alone.

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,
        Strides,  (all on one line)
    Conv1, 226, 226, 3, 3, 3, 64, 1,

The first line is a header; ifmap sizes include the padding.  A layer whose name contains DP has as
many groups as channels (SCALE-Sim runs it a channel at a time, each with all of its filters).
Under a header of Layer, M, N, K the rows are products of an M x K and a K x N matrix.  Such a file
does not say how layers are connected, so every layer reads an input of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...config import Arithmetic
from ...errors import ModelError
from ...files import read_text
from ...network.layers import Layer, LayerOp, Network, Tensor
from ..zeros import SCALE, empty_bias, empty_weight

#: Column -> (field of `TopologyRow`, largest value). The limits are those of the layer table.
_COLUMNS: dict[str, tuple[str, int]] = {
    "IFMAP Height": ("ifmap_h", 65535),
    "IFMAP Width": ("ifmap_w", 65535),
    "Filter Height": ("filter_h", 65535),
    "Filter Width": ("filter_w", 65535),
    "Channels": ("channels", 1 << 20),
    "Num Filter": ("filters", 1 << 20),
    "Strides": ("stride", 4096),
}
_HEADER = ", ".join(("Layer name", *_COLUMNS))
#: The same of a product of matrices.
_GEMM: dict[str, tuple[str, int]] = {
    "M": ("m", 65535),
    "N": ("n", 1 << 20),
    "K": ("k", (1 << 24) - 1),
}
_GEMM_HEADER = ", ".join(("Layer", *_GEMM))
_MOST_FILTER = 4096  # of the layer table
_MOST_CHANNELS = (1 << 24) - 1  # of a tensor
_MOST_BYTES = 1 << 32  # what a DRAM address reaches


@dataclass(frozen=True)
class TopologyRow:
    """One layer: a convolution without padding. A linear layer has a filter as large as its map."""

    name: str
    ifmap_h: int
    ifmap_w: int
    filter_h: int
    filter_w: int
    channels: int
    filters: int
    stride: int
    groups: int = 1  #: each with all filters

    @property
    def out_channels(self) -> int:
        """Channels of the output: all filters of all groups."""
        return self.groups * self.filters

    @property
    def output(self) -> tuple[int, int]:
        """(h, w) of the output: the positions at which the whole filter lies on the map."""
        return (
            (self.ifmap_h - self.filter_h) // self.stride + 1,
            (self.ifmap_w - self.filter_w) // self.stride + 1,
        )

    @property
    def nbytes(self) -> int:
        """Input, weights and output, a byte each."""
        h, w = self.output
        weights = self.filter_h * self.filter_w * self.channels // self.groups * self.out_channels
        return self.ifmap_h * self.ifmap_w * self.channels + weights + h * w * self.out_channels


def is_topology(name: str) -> bool:
    """Whether a model's name is the path of a topology file."""
    return name.lower().endswith(".csv")


def read_topology(path: str | Path) -> tuple[TopologyRow, ...]:
    """The layers of a topology file; ModelError names file, line, column, value and limit."""
    path = Path(path)
    try:
        lines = read_text(path, "utf-8-sig").split("\n")
    except FileNotFoundError as error:
        raise ModelError(f"topology {path}: no such file") from error
    except UnicodeDecodeError as error:
        raise ModelError(
            f"topology {path}: byte {error.start} is not UTF-8; save it as plain CSV text"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"topology {path}: cannot be read: {error}") from error
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip(" \t\r,")]
    if len(filled) < 2:
        raise ModelError(
            f"topology {path}: {len(filled)} line(s) that are not empty; "
            f"a header line ({_HEADER}) and a line for each layer are needed"
        )
    number, header = filled[0]
    if _is_number(_fields(header)[-1]):
        raise ModelError(
            f"topology {path}, line {number}: this is a layer, not a header; "
            f"begin the file with the line: {_HEADER}"
        )
    titles = [title.upper() for title in _fields(header)[1:]]
    read = _gemm_row if titles == list(_GEMM) else _row
    rows = tuple(read(f"topology {path}, line {at}", line) for at, line in filled[1:])
    total = sum(row.nbytes for row in rows)
    if total > _MOST_BYTES:
        raise ModelError(
            f"topology {path}: inputs, weights and outputs are {total} bytes, "
            f"at most {_MOST_BYTES} fit the address space; split the file"
        )
    return rows


def _fields(line: str) -> list[str]:
    """The fields of a line; the commas that SCALE-Sim's files end with are no fields."""
    fields = [field.strip() for field in line.split(",")]
    while len(fields) > 1 and not fields[-1]:
        fields.pop()
    return fields


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdigit()


def _values(
    where: str, line: str, columns: dict[str, tuple[str, int]], header: str
) -> tuple[str, dict[str, int]]:
    """The name and the numbers of a line."""
    name, *fields = _fields(line)
    if len(fields) != len(columns):
        raise ModelError(f"{where}: {1 + len(fields)} fields, wanted {1 + len(columns)}: {header}")
    if not name or not name.isprintable():
        raise ModelError(f"{where}, column Layer name: {name!r} is not a name; write one")
    values = {}
    for (title, (key, limit)), text in zip(columns.items(), fields, strict=True):
        digits = text.lstrip("0") if _is_number(text) else ""
        if not digits or len(digits) > len(str(limit)) or int(digits) > limit:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise ModelError(
                f"{where} ({name}), column {title}: {shown!r} is not an integer in 1..{limit}"
            )
        values[key] = int(digits)
    return name, values


def _gemm_row(where: str, line: str) -> TopologyRow:
    """A product of matrices: M pixels of K channels, N filters."""
    name, values = _values(where, line, _GEMM, _GEMM_HEADER)
    return TopologyRow(name, values["m"], 1, 1, 1, values["k"], values["n"], 1)


def _folded(where: str, row: TopologyRow) -> TopologyRow:
    """A filter beyond the layer table, as channels, where it is as wide as the map.

    In (h, w, c) order the bytes and the products are the same.
    """
    if row.groups == 1 and row.filter_w > _MOST_FILTER and row.filter_w == row.ifmap_w:
        row = replace(row, ifmap_w=1, filter_w=1, channels=row.channels * row.filter_w)
    whole = row.groups == 1 and row.ifmap_w == 1 and row.filter_h == row.ifmap_h
    if row.filter_h > _MOST_FILTER and whole:
        row = replace(row, ifmap_h=1, filter_h=1, channels=row.channels * row.filter_h)
    for axis, size in (("Height", row.filter_h), ("Width", row.filter_w)):
        if size > _MOST_FILTER:
            raise ModelError(
                f"{where} ({row.name}), column Filter {axis}: {size} is more than {_MOST_FILTER}, "
                "which only a filter as wide as its ifmap may be"
            )
    if max(row.channels, row.out_channels) > _MOST_CHANNELS:
        raise ModelError(
            f"{where} ({row.name}): {row.channels} channels in and {row.out_channels} out, at most "
            f"{_MOST_CHANNELS} are"
        )
    return row


def _row(where: str, line: str) -> TopologyRow:
    name, values = _values(where, line, _COLUMNS, _HEADER)
    row = TopologyRow(name, **values, groups=values["channels"] if "DP" in name else 1)
    for axis, ifmap, size in (
        ("Height", row.ifmap_h, row.filter_h),
        ("Width", row.ifmap_w, row.filter_w),
    ):
        if size > ifmap:
            raise ModelError(
                f"{where} ({name}), column Filter {axis}: {size} is larger than the ifmap's "
                f"{ifmap}; ifmap sizes include the padding"
            )
    return _folded(where, row)


def network_of(
    rows: tuple[TopologyRow, ...], name: str, arithmetic: Arithmetic, shift: int = 0
) -> Network:
    """`rows` as a quantised network of zeros: tiling, cycles and traffic are those of the shapes.

    shift : of every requantisation; with the arithmetic it is all that a shape does not say.
    Names are numbered from their second use on.
    Layers are independent of one another: tensors 2i and 2i+1 are layer i's input and output.
    """
    tensors: list[Tensor] = []
    layers, weights, biases = [], {}, {}
    names: set[str] = set()
    for i, row in enumerate(rows):
        h, w = row.output
        title, count = row.name, 1
        while title in names:  # rankings and reports go by the name
            count += 1
            title = f"{row.name}_{count}"
        names.add(title)
        tensors.append(Tensor(f"{title}.ifmap", row.ifmap_h, row.ifmap_w, row.channels, SCALE))
        tensors.append(Tensor(title, h, w, row.out_channels, SCALE))
        layers.append(
            Layer(
                title,
                LayerOp.CONV,
                2 * i,
                2 * i + 1,
                kernel_h=row.filter_h,
                kernel_w=row.filter_w,
                stride_h=row.stride,
                stride_w=row.stride,
                groups=row.groups,
                shift=shift,
            )
        )
        per_group = row.channels // row.groups
        weights[i] = empty_weight((row.out_channels, row.filter_h, row.filter_w, per_group))
        biases[i] = empty_bias(row.out_channels)
    note = "SCALE-Sim topology: shapes only, all values are zero"
    return Network(
        name,
        tuple(tensors),
        tuple(layers),
        weights,
        biases,
        arithmetic,
        0,
        len(tensors) - 1,
        (note,),
    )
