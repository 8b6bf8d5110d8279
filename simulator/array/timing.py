"""Closed-form cycles of the units; the reference stepper defines them, tests hold them equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def restore_steps(rows: int) -> int:
    """Steps in which sums go back into the accumulators: a row a step through the column buses.

    A tile that runs three times (redundancy `time`) has one set of accumulators for its runs. Where
    its reduction is cut, every run over a part but the first leaves its sums in the output buffer
    and takes them from there before the next part, so that operands are loaded once.
    """
    return rows


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


def read_steps(
    dataflow: str, rows: int, m: int, k: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Steps of a GEMM in which its operands leave the buffers, for act (m, k) and wgt (n, k).

    They broadcast. All rows and columns of an output-stationary array read operand k in step k,
    before the skew. A fold of a stationary array preloads its last row first, in the steps 0 to
    R-1, and then reads what it streams, a pixel or filter a step. Biases are read in step 0.
    """
    if dataflow == "os":
        operand = np.arange(k)[None]
        return operand, operand
    held = rows - 1 - np.arange(k)[None]
    streamed = rows + np.arange(m if dataflow == "ws" else n)[:, None]
    return (streamed, held) if dataflow == "ws" else (held, streamed)
