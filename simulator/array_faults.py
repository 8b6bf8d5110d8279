"""What transient faults in the registers of an output-stationary tile add to its sums, exactly.

The fast twin of running `stepper.os_tile` with and without faults.  A sum is a sum of products, so:
a flipped operand is a different operand in every PE that it still passes, a flipped product differs
by its own bit, and a flipped accumulator by the bit of what has been added up to that step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..isa.layers import Arithmetic
from .fault_kernels import os_corrections
from .stepper import Flip, flip_plan
from .timing import os_tile_cycles


def os_tile_faults(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    start: NDArray[np.int32],
    *,
    rows: int,
    cols: int,
    arithmetic: Arithmetic,
    flips: Sequence[Flip],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and changes of the accumulators of a tile; those that change by 0 included.

    act : (m, k). wgt : (n, k). start : (m, n), what the accumulators begin with.
    The changes are modulo 2**acc_bits. Raises FlexhycaError for a flip outside the array.
    """
    cycles = os_tile_cycles(act.shape[1], rows, cols)
    return os_corrections(
        np.ascontiguousarray(act, np.int8),
        np.ascontiguousarray(wgt, np.int8),
        np.ascontiguousarray(start, np.int32),
        rows,
        cols,
        arithmetic.act_bits,
        arithmetic.weight_bits,
        arithmetic.acc_bits,
        flip_plan("array", flips, cycles, rows, cols, arithmetic),
    )
