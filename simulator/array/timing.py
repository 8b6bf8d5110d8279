"""Closed-form times of the array; the steppers define them, tests hold them equal.

Each form stands once, for plain Python, whole NumPy arrays and compiled kernels alike.  Steps count
from the tile's first operand, within a fold from its first step.
"""

from __future__ import annotations

from typing import TypeVar

from numba.extending import register_jitable

from ...network.arrays import I64

#: A number, or one for each of many places.
Count = TypeVar("Count", int, I64)

#: Edges from latching an operand to reading the finished accumulator: product, sum, read.
PIPELINE_STEPS = 3
#: Edges after the last fold of a stationary array until its last sum is in the buffer: sum, write.
#: Between folds they fall into the first two preload steps of the next fold.
STATIONARY_PIPELINE_STEPS = 2


# ---- output-stationary --------------------------------------------------------------------------


@register_jitable
def os_reads(row: Count, col: Count) -> Count:
    """Step in which PE (row, col) reads operand 0; one more for each next one.

    Its product is read in the step after.  A stage of a skew line reads operand 0 in step stage+1.
    """
    return row + col + 1


@register_jitable
def os_leaves(k: int, rows: int, cols: int, row: Count) -> Count:
    """Step in which a row's sums of `k` products are read for the last time, to leave.

    Rows leave one a step through the column buses.  The product and accumulator edges of the last
    PE fall into the drain; an array of fewer than three rows waits for them first.
    """
    return row + (k + rows + cols - 2 + max(0, PIPELINE_STEPS - rows))


def os_tile_cycles(k: int, rows: int, cols: int, last: bool = True) -> int:
    """Cycles of an output-stationary tile over `k` operands, without stalls.

    K + 2R + C - 2 for R >= 3. A part of the reduction that is not the last one costs its K only:
    the next part's operands follow at once, and the skew and drain come after the last.
    """
    return os_leaves(k, rows, cols, rows) if last else k


def restore_steps(rows: int) -> int:
    """Steps in which sums go back into the accumulators: a row a step through the column buses.

    A tile that runs three times (redundancy `time`) has one set of accumulators for its runs. Where
    its reduction is cut, every run over a part but the first leaves its sums in the output buffer
    and takes them from there before the next part, so that operands are loaded once.
    """
    return rows


# ---- weight- and input-stationary ---------------------------------------------------------------


@register_jitable
def fold_reads(rows: int, row: Count, col: Count) -> Count:
    """Step of a fold in which PE (row, col) reads vector 0 of what is streamed.

    The chain of `rows` values to be held is full then, and latched in step `rows`.  The sum is read
    one step later, by the row below; "row `rows`" is the buffer, which adds it.
    """
    return row + col + (rows + 1)


@register_jitable
def fold_cycles(vectors: Count, rows: int, cols: int) -> Count:
    """Cycles of a fold that streams `vectors` (pixels, or filters), without stalls: M + 2R + C - 2.

    R to preload, then M to stream and R + C - 2 for the skew. A fold that fills only part of the
    array costs a full one.
    """
    return vectors + (2 * rows + cols - 2)
