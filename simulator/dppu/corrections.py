"""The sums of the DPPU in one tile with faults, exactly: the fast twin of `stepper`.

Nothing in the DPPU feeds back but a partial sum, so what a slice of operands becomes follows from
the faults at the few steps that `schedule` records for it.  Neurons that no fault can reach
are one product of their operands; of the others, slices that meet no fault are; partial sums are
followed in time only where they are hit themselves, or where their copies go on apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...config import Arithmetic
from ...config.schema import HEALS
from ...isa.protection import COPIES
from ...kernels import kernel
from ...network.arrays import I8, I64
from ...network.fixedpoint_kernels import signed
from ..array.flips import (
    COL,
    COPY,
    FROM,
    REGISTER,
    ROW,
    TO,
    UNCOPIED,
    Flip,
    outvoted,
    stored,
    stored_copies,
)
from ..array.voters import (
    add_apart,
    vote,
    widen,
)
from .schedule import DppuShape
from .stepper import dppu_codes, dppu_operands, dppu_plan, rows_and_columns

_FILE_ACT, _FILE_WGT, _ACT, _WGT, _PROD, _PSUM, _POSITION, _TREE = dppu_codes(
    ("file_act", "file_wgt", "act", "wgt", "prod", "psum", "position"),
    "simulator/dppu/corrections.py: dppu_sums",
)


def dppu_faults(
    act: I8,
    wgt: I8,
    start: I64,
    positions: I64,
    *,
    dppu: DppuShape,
    arithmetic: Arithmetic,
    flips: Sequence[Flip],
    protected: range = range(0),
    voter: str = "feedback",
    parts: Sequence[int] = (),
) -> tuple[I64, I64]:
    """Sums and positions; arguments, result and errors are those of `dppu_tile`."""
    tile, schedule = dppu_operands(act, wgt, start, positions, dppu, arithmetic, parts)
    plan = dppu_plan(flips, schedule, arithmetic, protected)
    if len(protected):
        dropped = outvoted(flips, protected, voter)
        left = [flip for flip, drop in zip(flips, dropped, strict=True) if not drop]
        plan = dppu_plan(left, schedule, arithmetic, protected)
    columns = protected.start, protected.stop
    sums, held = dppu_sums(*tile, plan, *columns, HEALS[voter])
    return sums, rows_and_columns(held, tile, dppu)


@kernel
def _reaches(f: I64, i: int, group: int, positions: I64, column_bits: int) -> bool:
    """Whether a fault is in a register that a neuron uses."""
    register = f[REGISTER]
    if register in (_PSUM, _POSITION):
        return bool(f[ROW] == i)
    if register in (_ACT, _WGT, _PROD) or register > _TREE:
        return bool(f[ROW] == group)
    for part in range(len(positions)):
        word = positions[part, i]
        if register == _FILE_ACT and word >> column_bits == f[ROW]:
            return True
        if register == _FILE_WGT and word & ((1 << column_bits) - 1) == f[COL]:
            return True
    return False


@kernel
def _from_file(
    plan: I64, code: int, r: int, c: int, first: int, step: int, value: int, bits: int
) -> int:
    """What a place of a register file holds in `step`, that was filled before step `first`."""
    hit = False
    for i in range(len(plan)):
        same = plan[i, REGISTER] == code and plan[i, ROW] == r and plan[i, COL] == c
        hit |= same and plan[i, TO] > first
    if hit:
        for t in range(first, step + 1):
            value = stored(plan, code, r, c, t, value, bits)
    return value


@kernel
def _is_hit(plan: I64, group: int, step: int, stages: int) -> bool:
    """Whether a slice that is read in `step` can meet a fault: in a file, or in its group."""
    for i in range(len(plan)):
        register = plan[i, REGISTER]
        if register in (_FILE_ACT, _FILE_WGT):
            return True
        if register in (_PSUM, _POSITION) or plan[i, ROW] != group:
            continue
        if plan[i, FROM] <= step + 2 + stages and plan[i, TO] > step + 1:
            return True
    return False


@kernel
def _through_tree(
    terms: I64, plan: I64, group: int, step: int, bits: int, low: int, high: int, feedback: bool
) -> None:
    """Add up the products of a slice, (width, COPIES), in place: the root is terms[0], wide enough.

    step : in which the products are read. bits : of a product; a stage is read a step later, and a
    bit wider.
    """
    count, register = len(terms), _PROD
    while True:
        for node in range(count):
            stored_copies(plan, register, group, node, step, terms[node], bits)
            if feedback:
                terms[node, :] = vote(terms[node])
            else:
                widen(terms[node], bits, low, high)
        if count == 1:
            return
        bits += 1
        for node in range(count // 2):
            add_apart(terms[2 * node], terms[2 * node + 1], terms[node], bits, high)
        if count % 2:
            for copy in range(COPIES):
                terms[count // 2, copy] = signed(terms[count - 1, copy], bits)
        count = (count + 1) // 2
        register = register + 1 if register > _TREE else _TREE + 1
        step += 1


@kernel
def _product(act: I8, wgt: I8, positions: I64, windows: I64, column_bits: int) -> int:
    """The products of a neuron that no fault reaches. positions : of each part."""
    total = 0
    for w in range(len(windows)):
        first, end = windows[w, 0], windows[w, 0] + windows[w, 1]
        word = positions[windows[w, 3]]
        r, c = word >> column_bits, word & ((1 << column_bits) - 1)
        if 0 <= r < len(act) and c < len(wgt):
            for y in range(first, end):
                total += int(act[r, y]) * int(wgt[c, y])
    return total


@kernel
def dppu_sums(
    act: I8,
    wgt: I8,
    start: I64,
    positions: I64,
    windows: I64,
    filled: I64,
    slot: I64,
    loads: I64,
    sizes: tuple[int, int, int, int, int, int, int],
    bits: tuple[int, int, int],
    plan: I64,
    low: int,
    high: int,
    feedback: bool,
) -> tuple[I64, I64]:
    """Sums and position registers; arguments as of `step_dppu_tile`."""
    groups, width, _, stages, column_bits, position_bits, steps = sizes
    act_bits, weight_bits, acc_bits = bits
    (rows, _), cols, neurons = act.shape, len(wgt), len(start)
    sums, final = np.zeros(neurons, np.int64), np.zeros(neurons, np.int64)
    reads = np.sum(windows[:, 4])  # of a neuron
    roots, arrives = np.zeros((reads, COPIES), np.int64), np.zeros(reads, np.int64)
    terms, total = np.zeros((width, COPIES), np.int64), np.zeros(COPIES, np.int64)
    for i in range(neurons):
        group, turn = i % groups, i // groups
        own = moves = follow = False
        for j in range(len(plan)):
            if _reaches(plan[j], i, group, positions, column_bits):
                own = True
                moves |= plan[j, REGISTER] == _POSITION
                follow |= plan[j, REGISTER] == _PSUM
                follow |= not feedback and plan[j, COPY] != UNCOPIED
        many, part, position, known = 0, -1, 0, 0
        sums[i] = start[i]
        if not own:
            sums[i] = signed(
                sums[i] + _product(act, wgt, positions[:, i], windows, column_bits), acc_bits
            )
            final[i] = max(0, positions[-1, i])
            continue
        for w in range(len(windows)):
            first, size, begin, own_part, slices = windows[w]
            if own_part != part:
                part, position, known = (
                    own_part,
                    max(0, positions[own_part, i]),
                    loads[own_part] - 1,
                )
            if positions[part, i] < 0:
                continue
            for x in range(slices):
                step = begin + turn * slices + x
                while moves and known < step:
                    known += 1
                    position = stored(plan, _POSITION, i, 0, known, position, position_bits + 1)
                r, c = position >> column_bits, position & ((1 << column_bits) - 1)
                k0, count = first + x * width, min(width, size - x * width)
                if _is_hit(plan, group, step, stages):
                    for lane in range(width):
                        a = b = 0
                        y, place = k0 + lane, slot[min(k0 + lane, len(slot) - 1)]
                        if lane < count and r < rows:
                            a = _from_file(
                                plan, _FILE_ACT, r, place, filled[y], step, int(act[r, y]), act_bits
                            )
                        if lane < count and c < cols:
                            b = _from_file(
                                plan,
                                _FILE_WGT,
                                place,
                                c,
                                filled[y],
                                step,
                                int(wgt[c, y]),
                                weight_bits,
                            )
                        a = stored(plan, _ACT, group, lane, step + 1, a, act_bits)
                        b = stored(plan, _WGT, group, lane, step + 1, b, weight_bits)
                        terms[lane, :] = a * b
                    _through_tree(
                        terms, plan, group, step + 2, act_bits + weight_bits, low, high, feedback
                    )
                    roots[many] = terms[0]
                else:
                    product = 0
                    if r < rows and c < cols:
                        for y in range(k0, k0 + count):
                            product += int(act[r, y]) * int(wgt[c, y])
                    roots[many, 0] = roots[many, 1] = roots[many, 2] = product
                arrives[many] = step + 2 + stages
                sums[i] += vote(roots[many])
                many += 1
        while moves and known < steps - 1:
            known += 1
            position = stored(plan, _POSITION, i, 0, known, position, position_bits + 1)
        final[i] = position
        if follow:
            total[:] = start[i]
            at = 0
            for t in range(loads[0], steps):
                stored_copies(plan, _PSUM, i, 0, t, total, acc_bits)
                if t == steps - 1:
                    break
                comes = at < many and arrives[at] == t
                if feedback:
                    total[:] = signed(vote(total) + (vote(roots[at]) if comes else 0), acc_bits)
                elif comes:
                    add_apart(total, roots[at], total, acc_bits, high)
                at += comes
            sums[i] = vote(total)
        sums[i] = signed(sums[i], acc_bits)
    return sums, final
