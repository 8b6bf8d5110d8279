"""Numba kernels of `difference`: what a change of some elements changes in the layers after it.

Elements are numbered flat within their tensor, (h, w, c).  `values` and `accs` hold the fault-free
run, `faulty` the other one; `where[base : base + count]` lists the elements that differ.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels import kernel
from ..tables import complete
from .arrays import I8, I32, I64
from .fixedpoint_kernels import finish_row, vector_unit
from .layers import LAYER_FIELDS, LayerOp

_OP, _INPUT, _OUTPUT, _RESIDUAL, _KH, _KW, _SH, _SW, _PT, _PL, _DH, _DW = (
    LAYER_FIELDS.index(name)
    for name in (
        "op", "input", "output", "residual", "kernel_h", "kernel_w", "stride_h", "stride_w",
        "pad_top", "pad_left", "dilation_h", "dilation_w",
    )
)  # fmt: skip
_GROUPS, _C_OFFSET = LAYER_FIELDS.index("groups"), LAYER_FIELDS.index("c_offset")
_HANDLED = (LayerOp.CONV, LayerOp.MAXPOOL, LayerOp.AVGPOOL, LayerOp.ADD, LayerOp.COPY)
_CONV, _MAXPOOL, _AVGPOOL, _ADD, _COPY = (int(op) for op in _HANDLED)
complete(
    "LayerOp in network/layers.py", LayerOp, _HANDLED, "network/difference_kernels.py: propagate"
)


class Tables(NamedTuple):
    """A network as the kernels read it."""

    layers: Any  #: int64 (layers, LAYER_FIELDS)
    tensors: Any  #: int64 (tensors, 4): h, w, c, first element in `values`
    acc_base: Any  #: int64 (layers,): first accumulator of a CONV in `accs`
    weight_base: Any  #: int64 (layers,)
    weights: Any  #: int8, a layer as (kernel_h, in_c, kernel_w reversed, out_c / groups)
    finish: Any  #: int32 (layers, ...), rows of `fixedpoint_kernels.Finish`


class Run(NamedTuple):
    """Two runs of one image, fault-free and faulty, and scratch memory."""

    values: Any  #: int8, all tensors
    accs: Any  #: int32, accumulators of all CONV layers, wrapped
    faulty: Any  #: int8, as `values`
    where: Any  #: int32, as `values`: elements that differ, in any order
    count: Any  #: int64 (tensors,): how many
    delta: Any  #: int32, zero between layers: change of the accumulators of a layer
    mark: Any  #: uint8, zero between layers: output elements (CONV: pixels) to be computed again
    marked: Any  #: int32: a list of them
    fresh: Any  #: int8: the channels of one pixel


# In all kernels below the arrays of a tuple get names of their own before a loop: its members would
# be counted as references with each use, which took four fifths of the time.


@kernel
def _mark(mark: NDArray[np.uint8], marked: I32, at: int, count: int) -> int:
    """Remember that `at` is to be computed again; returns the new number of these."""
    if mark[at]:
        return count
    mark[at] = 1
    marked[count] = at
    return count + 1


@kernel
def _settle(faulty: I8, where: I32, base: int, count: int, at: int, value: int) -> int:
    """Element `at` of the output is `value` in the faulty run; the new number of those listed."""
    if faulty[base + at] == value:
        return count
    faulty[base + at] = value
    where[base + count] = at
    return count + 1


@kernel
def _conv(index: int, t: Tables, r: Run, fault_at: I64, fault_by: I64) -> None:
    """A CONV layer: spread changed inputs over the accumulators, then compute their pixels."""
    layer = t.layers[index]
    _, in_w, in_c, in_base = t.tensors[layer[_INPUT]]
    out_h, out_w, out_c, out_base = t.tensors[layer[_OUTPUT]]
    width, per_in = out_c // layer[_GROUPS], in_c // layer[_GROUPS]
    kernel_h, kernel_w, height, across = layer[_KH], layer[_KW], layer[_DH], layer[_DW]
    down, right, weight_base = layer[_SH], layer[_SW], t.weight_base[index]
    values, faulty, where, delta, weights = r.values, r.faulty, r.where, r.delta, t.weights
    mark, marked = r.mark, r.marked
    dense = right == 1 and across == 1 and width == out_c
    count = 0
    for i in range(r.count[layer[_INPUT]]):
        at = where[in_base + i]
        change = np.int16(np.int16(faulty[in_base + at]) - np.int16(values[in_base + at]))
        pixel, c = at // in_c, at % in_c
        y, x = pixel // in_w + layer[_PT], pixel % in_w + layer[_PL]
        group = c // per_in * width
        for ky in range(kernel_h):
            top = y - ky * height
            if top < 0 or (down > 1 and top % down):  # most steps are 1, and divisions are slow
                continue
            oy = top // down if down > 1 else top
            if oy >= out_h:
                continue
            row = weight_base + (ky * in_c + c) * kernel_w * width
            if dense:  # all taps of a row at once: neighbours in the weights and in the map
                first, end = max(0, x - kernel_w + 1), min(out_w, x + 1)
                if end <= first:
                    continue
                for out in range(oy * out_w + first, oy * out_w + end):
                    count = _mark(mark, marked, out, count)
                size = (end - first) * width
                start = (oy * out_w + first) * width
                row += (first - (x - kernel_w + 1)) * width
                into, by = delta[start : start + size], weights[row : row + size]
                for j in range(size):  # 9 bits times 8 fit 16
                    into[j] += np.int32(np.int16(change * np.int16(by[j])))
                continue
            for kx in range(kernel_w):
                left = x - kx * across
                if left < 0 or (right > 1 and left % right):
                    continue
                ox = left // right if right > 1 else left
                if ox >= out_w:
                    continue
                out = oy * out_w + ox
                count = _mark(mark, marked, out, count)
                start, tap = out * out_c + group, row + (kernel_w - 1 - kx) * width
                into, by = delta[start : start + width], weights[tap : tap + width]
                for j in range(width):
                    into[j] += np.int32(np.int16(change * np.int16(by[j])))
    for i in range(len(fault_at)):
        delta[fault_at[i]] += np.int32(fault_by[i])
        count = _mark(mark, marked, fault_at[i] // out_c, count)
    residual = layer[_RESIDUAL]
    res_base = t.tensors[residual, 3] if residual >= 0 else 0
    if residual >= 0:
        for i in range(r.count[residual]):
            count = _mark(mark, marked, where[res_base + i] // out_c, count)
    f, base, fresh = finish_row(t.finish[index]), t.acc_base[index], r.fresh
    accs, found = r.accs, r.count[layer[_OUTPUT]]
    for i in range(count):
        mark[marked[i]] = 0
        first = marked[i] * out_c
        sums, changes = accs[base + first :][:out_c], delta[first : first + out_c]
        now, other = faulty[out_base + first :][:out_c], faulty[res_base + first :][:out_c]
        differs = np.int8(0)
        if residual >= 0:
            for j in range(out_c):
                acc = np.int32(sums[j] + changes[j])
                fresh[j] = vector_unit(acc, np.int32(other[j]), f, None)
                differs |= fresh[j] ^ now[j]
                changes[j] = 0
        else:
            for j in range(out_c):
                fresh[j] = vector_unit(np.int32(sums[j] + changes[j]), None, f, None)
                differs |= fresh[j] ^ now[j]
                changes[j] = 0
        if differs:
            for j in range(out_c):
                found = _settle(faulty, where, out_base, found, first + j, fresh[j])
    r.count[layer[_OUTPUT]] = found


@kernel
def _pool(index: int, t: Tables, r: Run) -> None:
    """A MAXPOOL or AVGPOOL layer: compute every window again that holds a changed element."""
    layer = t.layers[index]
    in_h, in_w, c, in_base = t.tensors[layer[_INPUT]]
    out_h, out_w, _, out_base = t.tensors[layer[_OUTPUT]]
    faulty, where, mark, marked = r.faulty, r.where, r.mark, r.marked
    f, found = finish_row(t.finish[index]), r.count[layer[_OUTPUT]]
    count = 0
    for i in range(r.count[layer[_INPUT]]):
        at = where[in_base + i]
        y, x = at // c // in_w + layer[_PT], at // c % in_w + layer[_PL]
        for ky in range(layer[_KH]):
            top = y - ky * layer[_DH]
            oy = top // layer[_SH]
            if top < 0 or top % layer[_SH] or oy >= out_h:
                continue
            for kx in range(layer[_KW]):
                left = x - kx * layer[_DW]
                ox = left // layer[_SW]
                if left >= 0 and left % layer[_SW] == 0 and ox < out_w:
                    count = _mark(mark, marked, (oy * out_w + ox) * c + at % c, count)
    for i in range(count):
        at = marked[i]
        mark[at] = 0
        oy, ox = at // c // out_w, at // c % out_w
        most, total = np.int64(f.lowest), np.int64(0)
        for ky in range(layer[_KH]):
            y = oy * layer[_SH] + ky * layer[_DH] - layer[_PT]
            if y < 0 or y >= in_h:
                continue
            for kx in range(layer[_KW]):
                x = ox * layer[_SW] + kx * layer[_DW] - layer[_PL]
                if 0 <= x < in_w:
                    value = np.int64(faulty[in_base + (y * in_w + x) * c + at % c])
                    most = max(most, value)
                    total += value
        value = np.int32(total if layer[_OP] == _AVGPOOL else most)
        found = _settle(faulty, where, out_base, found, at, vector_unit(value, None, f, None))
    r.count[layer[_OUTPUT]] = found


@kernel
def _copy(index: int, t: Tables, r: Run) -> None:
    """A COPY layer: copy what differs again."""
    layer = t.layers[index]
    _, in_w, in_c, in_base = t.tensors[layer[_INPUT]]
    out_h, out_w, out_c, out_base = t.tensors[layer[_OUTPUT]]
    faulty, where = r.faulty, r.where
    f, found = finish_row(t.finish[index]), r.count[layer[_OUTPUT]]
    for i in range(r.count[layer[_INPUT]]):
        at = where[in_base + i]
        y, x = at // in_c // in_w + layer[_PT], at // in_c % in_w + layer[_PL]
        c, oy, ox = at % in_c + layer[_C_OFFSET], y // layer[_SH], x // layer[_SW]
        if y < 0 or x < 0 or y % layer[_SH] or x % layer[_SW]:
            continue
        if oy < out_h and ox < out_w and 0 <= c < out_c:
            value = vector_unit(np.int32(faulty[in_base + at]), None, f, None)
            to = (oy * out_w + ox) * out_c + c
            found = _settle(faulty, where, out_base, found, to, value)
    r.count[layer[_OUTPUT]] = found


@kernel
def _add(index: int, t: Tables, r: Run) -> None:
    """An ADD layer: add again where one of the operands differs."""
    layer = t.layers[index]
    in_base, other = t.tensors[layer[_INPUT], 3], t.tensors[layer[_RESIDUAL], 3]
    out_base = t.tensors[layer[_OUTPUT], 3]
    faulty, where, mark, marked = r.faulty, r.where, r.mark, r.marked
    f, found = finish_row(t.finish[index]), r.count[layer[_OUTPUT]]
    count = 0
    for i in range(r.count[layer[_INPUT]]):
        count = _mark(mark, marked, where[in_base + i], count)
    for i in range(r.count[layer[_RESIDUAL]]):
        count = _mark(mark, marked, where[other + i], count)
    for i in range(count):
        at = marked[i]
        mark[at] = 0
        value, residual = np.int32(faulty[in_base + at]), np.int32(faulty[other + at])
        value = vector_unit(value, residual, f, None)
        found = _settle(faulty, where, out_base, found, at, value)
    r.count[layer[_OUTPUT]] = found


@kernel
def propagate(
    first: int,
    last: int,
    t: Tables,
    r: Run,
    fault_at: I64,
    fault_by: I64,
) -> None:
    """Carry what differs through layers first..last-1.

    fault_at, fault_by : accumulators of layer `first` (a CONV) that are wrong, each once, and by
    how much, against what they would be on the faulty run's operands.
    """
    for index in range(first, last):
        layer = t.layers[index]
        faults = index == first and len(fault_at) > 0
        same = r.count[layer[_INPUT]] == 0
        if same and layer[_RESIDUAL] >= 0:
            same = r.count[layer[_RESIDUAL]] == 0
        if same and not faults:
            continue
        if layer[_OP] == _CONV:
            _conv(index, t, r, fault_at if faults else fault_at[:0], fault_by)
        elif layer[_OP] == _MAXPOOL or layer[_OP] == _AVGPOOL:
            _pool(index, t, r)
        elif layer[_OP] == _ADD:
            _add(index, t, r)
        elif layer[_OP] == _COPY:
            _copy(index, t, r)


@kernel
def reset(t: Tables, r: Run) -> None:
    """Make the faulty run the fault-free one again."""
    values, faulty, where, counts = r.values, r.faulty, r.where, r.count
    for tensor in range(len(counts)):
        base = t.tensors[tensor, 3]
        for i in range(counts[tensor]):
            at = base + where[base + i]
            faulty[at] = values[at]
        counts[tensor] = 0


@kernel
def differing(t: Tables, r: Run) -> I64:
    """How many elements of each tensor differ: (tensors,)."""
    values, faulty, where, counts = r.values, r.faulty, r.where, r.count
    found = np.zeros(len(counts), np.int64)
    for tensor in range(len(found)):
        base = t.tensors[tensor, 3]
        for i in range(counts[tensor]):
            at = base + where[base + i]
            found[tensor] += faulty[at] != values[at]
    return found
