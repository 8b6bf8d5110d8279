"""SCALE-Sim's compute cycles (`timing: scalesim`), to the cycle: version 3, CALC mode, no stalls.

A GEMM of M output pixels, N filters and K operands is cut into folds, each of which costs the same
P cycles; folds follow one another, and a partial one costs a full one:

    os   F = ceil(M/R) ceil(N/C)   P = K + R + C - 2      (without our R steps of drain)
    ws   F = ceil(K/R) ceil(N/C)   P = M + 2R + C - 2
    is   F = ceil(K/R) ceil(M/C)   P = N + 2R + C - 2

    total = F P - 1        of groups, which are layers of their own there, each

Published figures are compared in it; it is no model of this machine (that is `timing`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...config import choices
from ...errors import InternalError
from ...network.layers import Layer, LayerOp, Tensor
from ...tables import complete


@dataclass(frozen=True)
class ScaleSim:
    """What SCALE-Sim reports of a layer.

    macs counts its own output pixels, so those beyond the map as well (see `output_size`).
    """

    folds: int
    fold_cycles: int
    macs: int
    pes: int
    groups: int = 1

    @property
    def cycles(self) -> int:
        """Total cycles: of each group its last cycle's number, one less than their count."""
        return self.folds * self.fold_cycles - self.groups

    @property
    def utilization(self) -> float:
        """Multiply-accumulates a PE and cycle, in per cent ("overall utilization")."""
        return 100.0 * self.macs / (self.pes * self.cycles)


def output_size(ifmap: int, window: int, stride: int) -> int:
    """ceil((H - R + s) / s): one too many where the stride does not divide H - R."""
    return -(-(ifmap - window + stride) // stride)


#: Of an M x K by K x N product: what lies along the rows and along the columns, what streams
#: through, and the steps beside it.
_FOLDS: dict[str, Callable[[int, int, int, int, int], tuple[int, int, int, int]]] = {
    "os": lambda m, k, n, rows, cols: (m, n, k, rows + cols - 2),
    "ws": lambda m, k, n, rows, cols: (k, n, m, 2 * rows + cols - 2),
    "is": lambda m, k, n, rows, cols: (k, m, n, 2 * rows + cols - 2),
}
complete(
    "array.dataflow in config/schema.py",
    choices("array.dataflow"),
    _FOLDS,
    "simulator/cycles/scalesim.py: _FOLDS",
)


def gemm(dataflow: str, m: int, k: int, n: int, rows: int, cols: int, groups: int = 1) -> ScaleSim:
    """M x K by K x N on a rows x cols array; groups : GEMMs of this size, one after another."""
    down, across, streamed, steps = _FOLDS[dataflow](m, k, n, rows, cols)
    folds = groups * -(-down // rows) * -(-across // cols)
    return ScaleSim(folds, streamed + steps, groups * m * k * n, rows * cols, groups)


def conv(
    dataflow: str,
    *,
    ifmap_h: int,
    ifmap_w: int,
    filter_h: int,
    filter_w: int,
    channels: int,
    filters: int,
    stride_h: int,
    stride_w: int,
    rows: int,
    cols: int,
) -> ScaleSim:
    """One row of a topology file: a convolution of one image.

    ifmap_h, ifmap_w : with the padding. channels, filters : of one GEMM (no groups).
    """
    m = output_size(ifmap_h, filter_h, stride_h) * output_size(ifmap_w, filter_w, stride_w)
    return gemm(dataflow, m, filter_h * filter_w * channels, filters, rows, cols)


def layer(dataflow: str, row: Layer, tensors: Sequence[Tensor], rows: int, cols: int) -> ScaleSim:
    """A CONV layer of the table as its topology row: padding the same on both sides.

    Where that does not reach the layer's last window (padding at the end only), the ifmap counts up
    to that window's end.  Dilation, which SCALE-Sim has not, widens the window and adds no
    operands; groups are GEMMs in sequence.
    """
    if row.op is not LayerOp.CONV:
        raise InternalError(f"layer {row.name}: {row.op.name} has no place on the array")
    source, result = tensors[row.input], tensors[row.output]
    m = 1
    for size, kernel, dilation, stride, pad, out in (
        (source.h, row.kernel_h, row.dilation_h, row.stride_h, row.pad_top, result.h),
        (source.w, row.kernel_w, row.dilation_w, row.stride_w, row.pad_left, result.w),
    ):
        window = (kernel - 1) * dilation + 1
        padded = max(size + 2 * pad, (out - 1) * stride + window)
        m *= output_size(padded, window, stride)
    k = row.kernel_h * row.kernel_w * source.c // row.groups
    return gemm(dataflow, m, k, result.c // row.groups, rows, cols, row.groups)
