"""Closed-form cycles of the units; the reference stepper defines them, tests hold them equal."""

from __future__ import annotations

#: Edges from latching an operand to reading the finished accumulator: product, sum, read.
PIPELINE_STEPS = 3


def drain_steps(rows: int) -> int:
    """Steps after the last operand latch: one row a step leaves through the column buses.

    The product and accumulator edges of the last PE fall into the drain; an array of fewer than
    three rows waits for them first.
    """
    return max(rows, PIPELINE_STEPS)


def os_tile_cycles(k: int, rows: int, cols: int, last: bool = True) -> int:
    """Cycles of an output-stationary tile over `k` operands, without stalls.

    K + 2R + C - 2 for R >= 3. A part of the reduction that is not the last one costs its K only:
    the next part's operands follow at once, and the skew and drain come after the last.
    """
    return k + (rows + cols - 2 + drain_steps(rows) if last else 0)


#: Edges after the last fold of a stationary array until its last sum is in the buffer: sum, write.
#: Between folds they fall into the first two preload steps of the next fold.
STATIONARY_PIPELINE_STEPS = 2


def ws_fold_cycles(pixels: int, rows: int, cols: int) -> int:
    """Cycles of a weight-stationary fold that streams `pixels`: M + 2R + C - 2, without stalls.

    R to preload, then M to stream and R + C - 2 for the skew. A fold that fills only part of the
    array costs a full one.
    """
    return pixels + 2 * rows + cols - 2


def is_fold_cycles(filters: int, rows: int, cols: int) -> int:
    """Cycles of an input-stationary fold that streams `filters`: N + 2R + C - 2, without stalls."""
    return filters + 2 * rows + cols - 2
