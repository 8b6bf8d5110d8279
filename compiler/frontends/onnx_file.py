"""Reading .onnx files: what is checked before anything in one is believed.

A file may come from anywhere.  Sizes that it claims are compared with the bytes that are there
before anything is allocated, and data beside it is read from its own folder only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from ...errors import ModelError
from ...files import is_file, reading
from .builder import UnsupportedError

#: Versions of the operator set that `onnx_ops` was written for.
OPSETS = range(6, 29)
#: The domains of ONNX's own operators.
DOMAINS = ("", "ai.onnx")

Constant = np.ndarray[Any, np.dtype[Any]]

#: Element types that are read: float32 weights, and the integers that describe shapes.
_TYPES: dict[int, tuple[np.dtype[Any], str]] = {
    TensorProto.FLOAT: (np.dtype("<f4"), "float_data"),
    TensorProto.INT64: (np.dtype("<i8"), "int64_data"),
    TensorProto.INT32: (np.dtype("<i4"), "int32_data"),
    TensorProto.BOOL: (np.dtype("?"), "int32_data"),
}
#: Prefixes and names of operators on integers: such a file holds a network that is quantised.
_QUANTISED = (
    "Quantize",
    "Dequantize",
    "QLinear",
    "DynamicQuantize",
    "ConvInteger",
    "MatMulInteger",
)


@dataclass(frozen=True)
class OnnxFile:
    """A parsed file: `graph` is the protobuf, `opset` its operator set, `batch` None if dynamic."""

    path: Path
    model: Any
    opset: int
    input: str
    input_shape: tuple[int, ...]  #: (c, h, w)
    flat: bool  #: the input is (n, c), of which images have 1 x 1 pixels
    batch: int | None
    output: str

    @property
    def graph(self) -> Any:
        """The GraphProto."""
        return self.model.graph


def type_name(element: int) -> str:
    """An element type as a word: float16."""
    try:
        return str(TensorProto.DataType.Name(element)).lower()
    except ValueError:
        return f"type {element}"


def read_file(path: str | Path) -> OnnxFile:
    """Parse `path` and check its frame: version, one input (n, c, h, w) or (n, c), one output.

    Raises ModelError that names the file, what is wrong with it and what to do.
    """
    path = Path(path)
    if not is_file(path):
        raise ModelError(f"{path}: no such file")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(reading(path).read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except (DecodeError, ValueError) as error:
        raise ModelError(
            f"{path}: not an ONNX file, or cut short (it is no such protobuf message)"
        ) from error
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError(f"{path}: not an ONNX file: it holds no graph or no operator set")
    versions = [o.version for o in model.opset_import if o.domain in DOMAINS]
    if len(versions) != 1 or versions[0] not in OPSETS:
        found = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
        raise ModelError(
            f"{path}: operator set {found}; known is ai.onnx {OPSETS[0]} to {OPSETS[-1]}; "
            "export it with opset_version=20"
        )
    graph = model.graph
    for text in _texts(model):
        # protobuf gives bytes where a text is not UTF-8
        if not isinstance(text, str) or not text.isprintable():
            raise ModelError(f"{path}: damaged: {text!r} is no name")
    if graph.sparse_initializer:
        raise ModelError(f"{path}: sparse weights are not supported; store them densely")
    operators = sorted({n.op_type for n in graph.node if n.op_type.startswith(_QUANTISED)})
    if operators:
        raise ModelError(
            f"{path}: already quantised ({', '.join(operators)}); export the float network"
        )
    weights = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in weights]
    for kind, ends in (("input", inputs), ("output", graph.output)):
        if len(ends) != 1:
            names = ", ".join(v.name for v in ends[:5]) or "none"
            raise ModelError(f"{path}: {len(ends)} {kind}s ({names}), wanted 1")
    batch, *sizes = _dimensions(path, inputs[0])
    shape: list[int] = []
    for i, size in enumerate(sizes, 1):
        if isinstance(size, int):
            shape.append(size)
        else:
            raise ModelError(
                f"{path}: dimension {i} of input {inputs[0].name} is dynamic ({size}); export it "
                "with a fixed size (only the batch, dimension 0, may vary)"
            )
    first = batch if isinstance(batch, int) else None
    flat = len(shape) == 1
    return OnnxFile(
        path,
        model,
        versions[0],
        inputs[0].name,
        (*shape, 1, 1) if flat else tuple(shape),
        flat,
        first,
        graph.output[0].name,
    )


def _texts(model: Any) -> Iterator[object]:
    """Every text of the file that is looked up or shown."""
    graph = model.graph
    yield from (o.domain for o in model.opset_import)
    yield from (tensor.name for tensor in graph.initializer)
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _dimensions(path: Path, value: Any) -> list[int | str]:
    """Four or two dimensions of the input, numbers or the names of dynamic ones."""
    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or kind.elem_type != TensorProto.FLOAT:
        found = type_name(kind.elem_type) if value.type.HasField("tensor_type") else "no tensor"
        raise ModelError(f"{path}: input {value.name} is {found}, wanted float32")
    dims: list[int | str] = [
        d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim
    ]
    if len(dims) not in (2, 4):
        shown = f"({', '.join(map(str, dims))})" if kind.HasField("shape") else "unknown"
        raise ModelError(
            f"{path}: the shape of input {value.name} is {shown}, wanted (n, c, h, w) or (n, c)"
        )
    if any(isinstance(d, int) and d < 1 for d in dims):
        raise ModelError(f"{path}: input {value.name} has shape {dims}; sizes must be positive")
    return dims


def array_of(tensor: Any, folder: Path) -> Constant:
    """The values of a TensorProto, a copy; UnsupportedError on types that are not read.

    folder : where data that lies beside the file is.  Raises ModelError where a tensor's size and
    its bytes differ, and on data outside `folder`.
    """
    if tensor.data_type not in _TYPES:
        raise UnsupportedError(f"with {type_name(tensor.data_type)} values; only float32 is read")
    dtype, field = _TYPES[tensor.data_type]
    dims = tuple(tensor.dims)
    where = f"{folder}: tensor {tensor.name!r} of shape {dims}"
    if any(d < 0 for d in dims) or tensor.HasField("segment"):
        raise ModelError(f"{where}: its size is negative or it is stored in segments")
    count = prod(dims)
    if tensor.data_location == TensorProto.EXTERNAL:
        values = _external(where, tensor, folder, dtype, count)
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != count * dtype.itemsize:
            raise ModelError(
                f"{where}: holds {len(tensor.raw_data)} bytes, wanted {count * dtype.itemsize}"
            )
        values = np.frombuffer(tensor.raw_data, dtype)
    else:
        numbers = getattr(tensor, field)
        if len(numbers) != count:
            raise ModelError(f"{where}: holds {len(numbers)} numbers, wanted {count}")
        values = np.array(numbers, np.int64 if dtype.kind in "ib" else np.float32)
    return np.array(values, dtype.newbyteorder("=")).reshape(dims)


def _external(where: str, tensor: Any, folder: Path, dtype: np.dtype[Any], count: int) -> Constant:
    entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    try:
        offset = int(entries.get("offset", 0))
        nbytes = int(entries.get("length", count * dtype.itemsize))
        file = (folder / location).resolve()
        inside = bool(location) and file.is_relative_to(folder.resolve())
        found = inside and is_file(file)
    except (ValueError, OSError) as error:
        raise ModelError(f"{where}: cannot read where its data is: {error}") from error
    if not inside:
        raise ModelError(f"{where}: its data {location!r} lies outside the file's folder")
    if not found:
        raise ModelError(f"{where}: its data file {location!r} is missing; keep it beside the file")
    size = file.stat().st_size
    if nbytes != count * dtype.itemsize or offset < 0 or offset + nbytes > size:
        raise ModelError(
            f"{where}: needs {count * dtype.itemsize} bytes, has {nbytes} at {offset} of the "
            f"{size} in {location!r}"
        )
    return np.fromfile(reading(file), dtype, count, offset=offset)
