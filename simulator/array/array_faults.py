"""What faults in the registers of an output-stationary tile add to its sums, exactly.

The fast twin of running `stepper.os_tile` with and without faults.  A sum is a sum of products, so:
a wrong operand is a different operand in every PE that it still passes, a wrong product differs by
its own bits; only a PE whose accumulator is hit, or whose copies go on apart, is stepped alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...config import Arithmetic
from .fault_kernels import os_corrections
from .flips import Flip, outvoted
from .stepper import os_plan


def os_tile_faults(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    start: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip],
    protected: range = range(0),
    voter: str = "feedback",
    product: range | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and changes of the accumulators of a tile; those that change by 0 included.

    act : (m, k). wgt : (n, k). start : (m, n), what the accumulators begin with. protected, voter,
    product : as of `os_tile`. The changes are modulo 2**acc_bits. Raises FlexhycaError for a flip
    outside the array.
    """
    plan = os_plan(flips, act.shape[1], rows, cols, arithmetic, protected, product)
    if protected or product:
        dropped = outvoted(flips, protected, voter, product)
        left = [flip for flip, drop in zip(flips, dropped, strict=True) if not drop]
        plan = os_plan(left, act.shape[1], rows, cols, arithmetic, protected, product)
    return os_corrections(
        np.ascontiguousarray(act, np.int8),
        np.ascontiguousarray(wgt, np.int8),
        np.ascontiguousarray(start, np.int32),
        rows,
        cols,
        arithmetic.act_bits,
        arithmetic.weight_bits,
        arithmetic.acc_bits,
        plan,
        protected.start,
        protected.stop,
        voter == "feedback",
    )
