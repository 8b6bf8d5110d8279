"""Closed-form times of the array; the steppers define them, tests hold them equal.

Each form stands once, for plain Python, whole NumPy arrays and compiled kernels alike.  Steps count
from the tile's first operand, within a fold from its first step.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba.extending import register_jitable

from ...network.arrays import I64

#: A number, or an array with one for each of many places; the forms take them mixed.
Count: TypeAlias = Any

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
def os_leaves(k: Count, m: Count, n: Count, row: Count) -> Count:
    """Step in which a row's sums of `k` products are read for the last time, to leave.

    Rows leave one a step through the column buses.  The product and accumulator edges of the last
    PE of the m x n that have a tile fall into the drain; fewer than three rows wait for them first.
    """
    return row + (k + m + n - 2 + (PIPELINE_STEPS - m) * (m < PIPELINE_STEPS))


def os_tile_cycles(k: Count, m: Count, n: Count, last: bool = True) -> Count:
    """Cycles of an output-stationary tile of m x n sums over `k` operands, without stalls.

    K + 2m + n - 2 for m >= 3: skew and drain are those of the PEs that have a sum. A part of the
    reduction that is not the last one costs its K only: the next part's operands follow at once,
    and the skew and drain come after the last.
    """
    return os_leaves(k, m, n, m) if last else k


def restore_steps(m: Count) -> Count:
    """Steps in which sums go back into the accumulators: a row a step through the column buses.

    Sums that were parked in the output buffer come back so.  And a tile that runs three times
    (redundancy `time`) has one set of accumulators for its runs: where its reduction is cut, every
    run over a part but the first takes its sums from there, so that operands are loaded once.
    """
    return m


def idle_channels(channels: Count, block: int) -> Count:
    """Channels that the last block of a window's position lacks (`array.channel_block`)."""
    return -channels % block


# ---- weight- and input-stationary ---------------------------------------------------------------


@register_jitable
def fold_reads(used: Count, row: Count, col: Count) -> Count:
    """Step of a fold of `used` operands in which PE (row, col) reads vector 0 of what is streamed.

    The sum is read one step later, by the row below; "row `used`" is the buffer, which adds it.
    """
    return row + col + (used + 1)


@register_jitable
def fold_latches(used: Count, row: Count, col: Count, overlapped: bool) -> Count:
    """Step of a fold in which PE (row, col) latches the value that stands in its preload chain.

    All do when the chain is full; with overlapped preload each with its first operand.
    """
    return used + (row + col) * overlapped


@register_jitable
def fold_cycles(vectors: Count, used: Count, held: Count) -> Count:
    """Cycles of a fold that streams `vectors` (pixels, or filters), without stalls.

    M + 2U + H - 2 with U rows of operands and H columns that hold them: U to preload, then M to
    stream and U + H - 2 for the skew. Sums leave below the last row that has an operand.
    """
    return vectors + (2 * used + held - 2)


@register_jitable
def fold_follows(vectors: Count, used: Count, held: Count, after: Count) -> Count:
    """Steps from the first of a fold to that of the next one, with overlapped preload.

    after : operands of the next fold.  Its values go down the chain from when all columns have
    latched this one's, and so late that they are in place when its stream begins: M steps behind
    this one's and one without an operand, by which a PE knows where to latch; or U - U' steps, so
    that sums that leave above those of this fold do not come before them.
    """
    between = np.maximum(1, used - after)
    return used + np.maximum(used + held - 2, vectors + between - after)


@register_jitable
def fold_begins(vectors: int, folds: I64, held: int, overlapped: bool) -> I64:
    """Step in which each of the folds of a tile begins, and at last that in which they have ended.

    folds : operands of each. overlapped : whether the preload is (`fold_follows`).
    """
    periods = fold_cycles(vectors, folds, held)
    if overlapped:
        periods[:-1] = fold_follows(vectors, folds[:-1], held, folds[1:])
    begins = np.zeros(len(folds) + 1, np.int64)
    begins[1:] = np.cumsum(periods)
    return begins
