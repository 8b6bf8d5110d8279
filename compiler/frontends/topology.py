"""SCALE-Sim topology files: the shapes of a network's layers, for cycles and traffic alone.

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,
        Strides,  (all on one line)
    Conv1, 226, 226, 3, 3, 3, 64, 1,

The first line is a header; ifmap sizes include the padding.  Such a file does not say how layers
are connected, so every layer reads an input of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    "Filter Height": ("filter_h", 4096),
    "Filter Width": ("filter_w", 4096),
    "Channels": ("channels", 1 << 20),
    "Num Filter": ("filters", 1 << 20),
    "Strides": ("stride", 4096),
}
_HEADER = ", ".join(("Layer name", *_COLUMNS))
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
        weights = self.filter_h * self.filter_w * self.channels * self.filters
        return self.ifmap_h * self.ifmap_w * self.channels + weights + h * w * self.filters


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
    rows = tuple(_row(f"topology {path}, line {at}", line) for at, line in filled[1:])
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


def _row(where: str, line: str) -> TopologyRow:
    name, *fields = _fields(line)
    if len(fields) != len(_COLUMNS):
        raise ModelError(
            f"{where}: {1 + len(fields)} fields, wanted {1 + len(_COLUMNS)}: {_HEADER}"
        )
    if not name or not name.isprintable():
        raise ModelError(f"{where}, column Layer name: {name!r} is not a name; write one")
    values = {}
    for (title, (key, limit)), text in zip(_COLUMNS.items(), fields, strict=True):
        digits = text.lstrip("0") if _is_number(text) else ""
        if not digits or len(digits) > len(str(limit)) or int(digits) > limit:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise ModelError(
                f"{where} ({name}), column {title}: {shown!r} is not an integer in 1..{limit}"
            )
        values[key] = int(digits)
    row = TopologyRow(name, **values)
    for axis, ifmap, size in (
        ("Height", row.ifmap_h, row.filter_h),
        ("Width", row.ifmap_w, row.filter_w),
    ):
        if size > ifmap:
            raise ModelError(
                f"{where} ({name}), column Filter {axis}: {size} is larger than the ifmap's "
                f"{ifmap}; ifmap sizes include the padding"
            )
    return row


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
        tensors.append(Tensor(title, h, w, row.filters, SCALE))
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
                shift=shift,
            )
        )
        weights[i] = empty_weight((row.filters, row.filter_h, row.filter_w, row.channels))
        biases[i] = empty_bias(row.filters)
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
