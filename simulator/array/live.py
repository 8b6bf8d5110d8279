"""When what a register of the array holds is still used, place by place; else a flip is idle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InternalError
from ...isa.registers import Register
from ..text.spans import Span, Spans
from .timing import PIPELINE_STEPS

Int = NDArray[np.int64]


def windows(register: Register, span: Span, spans: Spans, places: Int) -> tuple[Int, Int]:
    """First step and number of steps in which each place is live: (runs, places) both.

    places : (p, 2), rows and columns. A place may be live several times, once in each fold.
    """
    config, r, c = spans.array(span), places[:, 0], places[:, 1]
    if register.unit in ("array", "skew"):
        depth = sum(spans.depth[pc] for pc in span.gemms)
        return _os(register, span, depth, config.array.rows, config.array.cols, r, c)
    if register.unit in ("array_ws", "skew_ws", "array_is", "skew_is"):
        is_ws = register.unit.endswith("ws")
        streamed, held = (span.m, span.n) if is_ws else (span.n, span.m)
        used = np.array([spans.depth[pc] for pc in span.gemms])[:, None]
        first, count = _stationary(
            register, streamed, held, used, config.array.rows, r[None], c[None]
        )
        return first + np.array(span.starts)[:, None], count
    raise InternalError(f"{register.unit}: its live steps are those of `simulator.dppu.live`")


def _os(
    register: Register, span: Span, depth: int, rows: int, cols: int, r: Int, c: Int
) -> tuple[Int, Int]:
    """In step t PE (r, c) reads operand t-1-r-c; a stage of a skew line holds one earlier."""
    m, n = span.m, span.n
    if register.unit == "skew":
        stage, there = (c, r < m) if register.name == "act" else (r, c < n)
        first, length = stage + 1, np.full(len(r), depth)
    else:
        there = (r < m) & (c < n)
        first, length = r + c + 1, np.full(len(r), depth)
        if register.name == "prod":
            first = first + 1
        elif register.name == "acc":  # until its row leaves
            first = np.zeros(len(r), np.int64)
            length = depth + rows + cols - 2 + max(0, PIPELINE_STEPS - rows) + r + 1
    return first[None], np.where(there, length, 0)[None]


def _stationary(
    register: Register, streamed: int, held: int, used: Int, rows: int, r: Int, c: Int
) -> tuple[Int, Int]:
    """Within a fold of `used` rows; columns beyond what is held compute nothing."""
    shape = np.broadcast_shapes(used.shape, r.shape)
    count = np.full(shape, streamed)
    if register.unit.startswith("skew"):
        first, there = rows + 1 + c, r < used
    elif register.name == "preload":  # the weight in it is for row R - t + r, and comes in step r+1
        first, there = np.maximum(r + 1, rows - used + r + 1), c < held
        count = rows + 1 - first
    elif register.name == "psum":
        first, there = rows + 2 + r + c, c < held
    elif register.name == ("wgt" if register.unit == "array_ws" else "act"):  # the one that is held
        first, there = np.full(shape, rows + 1), (c < held) & (r < used)
        count = streamed + r + c
    else:
        first, there = rows + 1 + r + c, (c < held) & (r < used)
    live: Int = np.where(there, np.maximum(0, count), 0)
    return np.broadcast_to(first, shape), np.broadcast_to(live, shape)
