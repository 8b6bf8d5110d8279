"""One tile as the array's ports see it, step by step: the same for MyHDL, Icarus and Verilator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..netlist.pe import Datapath
from .blocks import FlipBits

#: Steps before step 0 in which the rows take their starting sums: one a row.
PortValues = dict[str, int]


def port_values(
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    start: NDArray[np.int32],
    flips: Sequence[tuple[int, str, int, int, int, int]],
    rows: int,
    cols: int,
    datapath: Datapath,
    cycles: int,
    protect: tuple[int, int] = (0, 0),
) -> Iterator[PortValues]:
    """Values of the input ports in each step: `rows` steps that load, then those of the tile.

    act : (m, k). wgt : (n, k). start : (m, n). flips : (step, register, row, column, bit, copy).
    cycles : of the tile; in the last m of them a row leaves in each. protect : masks of the
    product's and the sum's columns.
    """
    (m, k), n = act.shape, len(wgt)
    d = datapath
    layout = FlipBits(d)
    idle = {"protect_prod": protect[0], "protect_acc": protect[1]}
    for r in range(rows):
        sums = start[r] if r < m else np.zeros(n, np.int32)
        yield {**idle, "load": 1 << r, "bias": joined(sums, d.acc_bits)}
    at: dict[int, int] = {}
    for step, register, row, col, bit, copy in flips:
        place = (row * cols + col) * layout.width + layout.at(register, copy) + bit
        at[step] = at.get(step, 0) ^ 1 << place
    for t in range(cycles):
        first = [t - r for r in range(m)]
        acts = [int(act[r, i]) if 0 <= i < k else 0 for r, i in enumerate(first)]
        wgts = [int(wgt[c, t - c]) if 0 <= t - c < k else 0 for c in range(n)]
        leaves = t - (cycles - m)
        yield {
            **idle,
            "act_in": joined(acts, d.act_bits),
            "wgt_in": joined(wgts, d.weight_bits),
            "valid_in": sum(1 << r for r, i in enumerate(first) if 0 <= i < k),
            "out": 1 << leaves if leaves >= 0 else 0,
            "flips": at.get(t, 0),
        }


def joined(values: Sequence[int] | NDArray[np.int32], bits: int) -> int:
    """Two's-complement words side by side, the first one lowest."""
    mask = (1 << bits) - 1
    return sum((int(v) & mask) << i * bits for i, v in enumerate(values))


def split(value: int, count: int, bits: int) -> list[int]:
    """The inverse of `joined`, signed."""
    half = 1 << (bits - 1)
    return [((value >> i * bits & 2 * half - 1) ^ half) - half for i in range(count)]
