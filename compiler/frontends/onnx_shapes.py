"""ONNX operators that change axes alone, and the Softmax at a network's end.

Elements keep their order, so nothing is computed: what they yield is a `view` of a node, of any
shape until something reads it that needs a map or a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from .builder import MOST_AXIS, UnsupportedError
from .onnx_builder import OnnxBuilder, shown


def axes_of(axes: list[int] | None, rank: int) -> list[int]:
    """Axes as 0..rank-1, each once; all if none are given."""
    axes = list(range(rank)) if axes is None else axes
    if not all(-rank <= a < rank for a in axes) or len({a % rank for a in axes}) < len(axes):
        raise UnsupportedError(f"along axes {axes} of {rank}")
    return [a % rank for a in axes]


def _flatten(b: OnnxBuilder, x: Any, *, axis: int = 1) -> str:
    name, shape = b.viewed(x)
    rank = len(shape) + 1
    at = axis + rank if axis < 0 else axis
    if not 1 <= at <= rank or prod(shape[: at - 1]) != 1:
        raise UnsupportedError(f"at axis {axis} of {rank}")
    return b.view(name, (prod(shape),))


def _reshape(
    b: OnnxBuilder, x: Any, shape_input: Any = None, *, shape: Any = None, allowzero: int = 0
) -> str:
    name, own = b.viewed(x)
    wanted = b.integers(shape if shape is not None else shape_input, "shape") or []
    have = (b.batch, *own)
    if not allowzero:
        if any(w == 0 and i >= len(have) for i, w in enumerate(wanted)):
            raise UnsupportedError(f"to {wanted}")
        wanted = [w or have[i] for i, w in enumerate(wanted)]
    total, rest = prod(have), prod(size for size in wanted if size != -1)
    filled = wanted
    if wanted.count(-1) == 1 and rest > 0 and total % rest == 0:
        filled = [total // rest if size == -1 else size for size in wanted]
    fits = min(filled, default=0) > 0 and prod(filled) == total and len(filled) < 16
    if not fits or filled[0] != b.batch or max(filled[1:], default=0) > MOST_AXIS**2:
        raise UnsupportedError(f"from {shown(have)} to {shown(filled)} (the batch must stay)")
    return b.view(name, tuple(filled[1:]))


def _squeeze(b: OnnxBuilder, x: Any, axes_input: Any = None, *, axes: Any = None) -> str:
    name, shape = b.viewed(x)
    given = b.integers(axes if axes is not None else axes_input, "axes")
    if given is None:
        if b.batch == 1:
            raise UnsupportedError("without axes, which takes the batch of 1 away")
        given = [i for i, size in enumerate(shape, 1) if size == 1]
    along = axes_of(given, len(shape) + 1)
    if any(a == 0 or shape[a - 1] != 1 for a in along):
        raise UnsupportedError(f"along axes {given} of {shown((b.batch, *shape))}")
    return b.view(name, tuple(s for i, s in enumerate(shape, 1) if i not in along))


def _unsqueeze(b: OnnxBuilder, x: Any, axes_input: Any = None, *, axes: Any = None) -> str:
    name, shape = b.viewed(x)
    given = b.integers(axes if axes is not None else axes_input, "axes") or []
    rank = len(shape) + 1 + len(given)
    along = axes_of(given, rank)
    if 0 in along:
        raise UnsupportedError(f"along axes {given} of {rank}, before the batch")
    sizes = iter(shape)
    return b.view(name, tuple(1 if i in along else next(sizes) for i in range(1, rank)))


def _softmax(b: OnnxBuilder, x: Any, *, axis: int | None = None) -> str:
    """At the end of a network it keeps the order of what it reads, and is left out."""
    shape = b.viewed(x)[1]
    if b.node.output[0] != b.softmax:
        raise UnsupportedError("that is not the network's end")
    rank = len(shape) + 1
    given = axis if axis is not None else 1 if b.opset < 13 else -1
    at = axes_of([given], rank)[0]
    # Below 13 it goes over all axes from `axis` on.  A map may have it over its channels.
    covered = shape[at - 1 :] if b.opset < 13 else shape[at - 1 : at]
    if at == 0 or (prod(covered) != prod(shape) and at != 1):
        raise UnsupportedError(f"along axis {given} of {shown((b.batch, *shape))}")
    return b.elementwise("identity", x)


#: Operator -> handler.
SHAPES: dict[str, Callable[..., str]] = {
    "Flatten": _flatten,
    "LogSoftmax": _softmax,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}
