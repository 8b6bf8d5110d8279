"""Numba kernels: arrays and integers in, arrays and integers out.

Numba types int32*int32 as int64; where 32-bit wrap matters, the value is stored in an int32 array.
"""

from __future__ import annotations

import numpy as np

from ...kernels import kernel
from ...network.arrays import I8, I32
from ...network.fixedpoint_kernels import signed


@kernel
def dot(act: I8, wgt: I8, start: I32, acc_bits: int) -> I32:
    """start (n,) or (m, n) + act (m, k) . wgt (n, k), wrapped to acc_bits; order is irrelevant."""
    m, k = act.shape
    n = wgt.shape[0]
    out = np.empty((m, n), np.int32)
    for i in range(m):
        for j in range(n):
            total = np.int64(start[i, j])
            for x in range(k):
                total += np.int64(act[i, x]) * np.int64(wgt[j, x])
            out[i, j] = signed(total, acc_bits)
    return out
