"""Numba kernels for single sums of a tile."""

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ...network.arrays import I8, I32, I64
from ...network.fixedpoint_kernels import finish_row, requantise, wrap


@kernel
def sums_at(act: I8, wgt: I8, start: I64, rows: I64, cols: I64) -> I64:
    """Sums start[c] + act[r] . wgt[c], not wrapped. act : (m, k). wgt : (n, k). start : (n,)."""
    out = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        a, w = act[rows[i]], wgt[cols[i]]
        total = np.int64(0)
        for k in range(len(a)):
            total += np.int32(a[k]) * np.int32(w[k])
        out[i] = start[cols[i]] + total
    return out


@kernel
def stored_at(sums: I64, finish: I32) -> tuple[I64, I64]:
    """Wrapped sums, and what they are after requantisation. finish : row of the layer's table."""
    f = finish_row(finish)
    wrapped, stored = np.empty_like(sums), np.empty_like(sums)
    for i in range(len(sums)):
        wrapped[i] = wrap(np.int32(sums[i]), f.unused)
        stored[i] = requantise(np.int32(wrapped[i]), f)
    return wrapped, stored
