"""ONNX file -> float graph.

The nodes are read with the handlers of `onnx_ops`, arithmetic on constants is computed by
`onnx_fold`.  ONNX's own shape inference, which knows nothing of ours, is then asked for the shape
of every value.  It has errors (ceil_mode below operator set 19), so that a difference is a warning.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ...errors import ModelError
from ..graph import Graph
from .builder import Call, UnsupportedError, read_calls
from .onnx_builder import OnnxBuilder
from .onnx_file import (
    DOMAINS,
    Constant,
    OnnxFile,
    array_of,
    read_file,
)
from .onnx_fold import FOLDS, REARRANGE, fold
from .onnx_ops import ONNX_HANDLERS

#: Larger constants are left out of shape inference, which has no use for their values.
_MOST_INFERRED = 1024
#: The operator set from which on ONNX' shape inference is right for ceil_mode.
_CEIL_IS_RIGHT = 19


#: What may stand behind a Softmax that ends a network.
_AXES_ONLY = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def from_onnx(
    path: str | Path, name: str, warn: Callable[[str], object] = lambda line: None
) -> Graph:
    """The float graph of the ONNX file `path`.

    warn : told, a line each, what a user should know: a Softmax that is left out, a shape that ONNX
    infers otherwise. Raises ModelError when the file cannot be believed (see `onnx_file`), or an
    operator or a use of one has no counterpart (all of them in one message).
    """
    file = read_file(path)
    builder = OnnxBuilder(file.path.parent, file.batch, file.opset)
    try:
        title = builder.emit("input", [], shape=file.input_shape)
        builder.env[file.input] = builder.emit("flatten", [title]) if file.flat else title
    except UnsupportedError as problem:
        raise ModelError(f"{file.path}: an input {problem}") from problem
    for tensor in file.graph.initializer:
        if tensor.name in builder.constants:
            raise ModelError(f"{file.path}: weight {tensor.name} is defined twice")
        builder.constants[tensor.name] = tensor
    last = _last_softmax(file)
    builder.softmax = last and last.output[0]
    read_calls(name, _calls(file, builder), ONNX_HANDLERS)
    if file.output not in builder.env:
        raise ModelError(f"{file.path}: output {file.output} is not computed from the input")
    if last is not None:
        warn(f"{name}: the last {last.op_type} is left out, outputs are what it reads (same order)")
    _compare_shapes(file, builder, lambda line: warn(f"{name}: {line}"))
    return builder.graph(name, builder.env[file.output])


def _last_softmax(file: OnnxFile) -> Any:
    """The Softmax or LogSoftmax behind which only axes change, None if there is none."""
    makers = {node.output[0]: node for node in file.graph.node if node.output}
    readers = Counter(value for node in file.graph.node for value in node.input)
    value = file.output
    for _ in range(len(file.graph.node)):
        node = makers.get(value)
        if node is None or not node.input or (value != file.output and readers[value] != 1):
            return None
        if node.op_type in ("Softmax", "LogSoftmax"):
            return node if readers[value] <= (value != file.output) else None
        if node.op_type not in _AXES_ONLY:
            return None
        value = node.input[0]
    return None


def _calls(file: OnnxFile, builder: OnnxBuilder) -> Iterator[Call]:
    """Every node as a call, in the file's order, which must be an order of execution."""
    known = {file.input, *builder.constants}
    read = {value for node in file.graph.node for value in node.input} | {file.output}
    for i, node in enumerate(file.graph.node):
        title = node.name or (node.output[0] if node.output else "") or f"node {i}"
        for value in filter(None, node.input):
            if value not in known:
                raise ModelError(
                    f"{file.path}: node {title} ({node.op_type}) reads {value}, which no earlier "
                    "node yields: the nodes are out of order or form a circle"
                )
        for value in filter(None, node.output):
            if value in known:
                raise ModelError(f"{file.path}: node {title}: value {value} is defined twice")
            known.add(value)
        spare = [value for value in node.output[1:] if value in read]
        own = node.domain in DOMAINS
        yield Call(
            node.op_type if own else f"{node.domain}:{node.op_type}",
            title,
            tuple(filter(None, node.input)),
            tuple(filter(None, node.output)),
            _reader(file, builder, node, spare) if own else None,
        )


def _reader(
    file: OnnxFile, builder: OnnxBuilder, node: Any, spare: list[str]
) -> Callable[[], None] | None:
    """What adds `node`, or its constant value; spare : outputs but the first that are read."""
    op = node.op_type
    folded = op in FOLDS and all(value in builder.constants for value in node.input if value)
    if op not in ONNX_HANDLERS and op not in ("Constant", "Shape") and not folded:
        return None

    def read() -> None:
        attributes = _attributes(node, file.opset)
        if spare:
            raise UnsupportedError(f"with a second result that is read ({spare[0]})")
        builder.node = node
        if op == "Constant":
            builder.constants[node.output[0]] = _constant(attributes)
        elif op == "Shape" and (node.input[0] in builder.env or node.input[0] in builder.constants):
            if node.input[0] in builder.env:
                shape = (builder.batch, *builder.viewed(node.input[0])[1])
            else:  # in pads that an exporter has not folded
                shape = np.asarray(builder.constant(node.input[0], "operand")).shape
            part = slice(attributes.get("start", 0), attributes.get("end"))
            builder.constants[node.output[0]] = np.array(shape[part], np.int64)
        elif folded:
            builder.constants[node.output[0]] = _compute(builder, node, attributes)
        else:
            inputs = [value or None for value in node.input]
            builder.env[node.output[0]] = _call(ONNX_HANDLERS.get(op), builder, inputs, attributes)

    return read


def _call(
    handler: Callable[..., str] | None,
    builder: OnnxBuilder,
    inputs: list[str | None],
    attributes: dict[str, Any],
) -> str:
    if handler is None:
        raise UnsupportedError("of computed values")
    try:
        inspect.signature(handler).bind(builder, *inputs, **attributes)
    except TypeError as error:
        raise UnsupportedError(f"used in an unknown way: {error}") from error
    return handler(builder, *inputs, **attributes)


def _attributes(node: Any, opset: int) -> dict[str, Any]:
    """The attributes of a node that fits its operator's definition in this operator set."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError as error:
        raise UnsupportedError(f"that operator set {opset} does not have") from error
    if not schema.min_input <= len(node.input) <= schema.max_input or not node.output:
        raise UnsupportedError(f"with {len(node.input)} inputs and {len(node.output)} outputs")
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        defined = schema.attributes.get(attribute.name)
        if defined is None or defined.type.value != attribute.type:
            raise UnsupportedError(f"with an attribute {attribute.name} that it does not have")
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
            if not value.isprintable():
                raise UnsupportedError(f"with {attribute.name} {value!r}")
        attributes[attribute.name] = value
    for title, defined in schema.attributes.items():
        if defined.required and title not in attributes:
            raise UnsupportedError(f"without its attribute {title}")
    return attributes


def _constant(attributes: dict[str, Any]) -> Any:
    """The array, or TensorProto, of a Constant node."""
    key, value = next(iter(attributes.items()), ("no attribute", None))
    known = key in ("value", "value_float", "value_floats", "value_int", "value_ints")
    if len(attributes) != 1 or not known:
        raise UnsupportedError(f"with {key} or several attributes")
    if key == "value":
        return value
    return np.array(value, np.float32 if "float" in key else np.int64)


def _compute(builder: OnnxBuilder, node: Any, attributes: dict[str, Any]) -> Constant:
    """The value of a node whose inputs are all constant."""
    inputs = [builder.constant(value or None, "input") for value in node.input]
    given = {
        title: array_of(value, builder.folder) if isinstance(value, TensorProto) else value
        for title, value in attributes.items()
    }
    result = fold(node.op_type, inputs, given, builder.opset, builder.room)
    if node.op_type in REARRANGE:
        first = node.input[0]
        builder.origins[node.output[0]] = builder.origins.get(first, first)
    else:  # what is only rearranged is no larger than the file
        builder.room -= result.size
    return result


def _compare_shapes(file: OnnxFile, builder: OnnxBuilder, warn: Callable[[str], object]) -> None:
    """Warn of the first value for which ONNX infers another shape than it has here."""
    graph = onnx.GraphProto(name="graph", node=file.graph.node, input=file.graph.input)
    for tensor in file.graph.initializer:
        small = np.prod([float(d) for d in tensor.dims]) <= _MOST_INFERRED
        bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        graph.initializer.append(tensor if small and not external else bare)
    graph.output.add(name=file.output).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model = onnx.ModelProto(
        ir_version=file.model.ir_version, opset_import=file.model.opset_import, graph=graph
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError, ValueError, RuntimeError
        lines = str(error).split("\n")
        reason = next((line for line in lines if line.strip()), type(error).__name__)
        reason = "".join(c if c.isprintable() else " " for c in reason)
        warn(f"ONNX's own shape inference refuses the file: {reason[:300]}")
        return
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        if value.name not in builder.env or not value.type.tensor_type.HasField("shape"):
            continue
        dims = [
            d.dim_value if d.HasField("dim_value") else None
            for d in value.type.tensor_type.shape.dim
        ]
        own = builder.viewed(value.name)[1]
        same = len(dims) == len(own) + 1 and all(
            d is None or d == size for d, size in zip(dims[1:], own, strict=True)
        )
        if not same:
            known = file.opset < _CEIL_IS_RIGHT and "which it has wrong for ceil_mode below "
            advice = f"{known}operator set {_CEIL_IS_RIGHT}" if known else "please report the file"
            warn(
                f"value {value.name} has shape {own} here, ONNX's own shape inference finds "
                f"{dims[1:]}, {advice}"
            )
            return
