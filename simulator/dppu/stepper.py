"""The register-true reference of the DPPU in one tile: slow, literal, obviously right.

What is where, edge by edge (docs/machine.md, "The DPPU's registers"): operands stand in the
register files; in the step that `dppu_schedule` names, a group reads `width` operands of the row
and the column that the neuron's position register holds into its registers `act` and `wgt`; at the
next edges follow `prod`, the stages of the adder tree, each a bit wider, and the sum with `psum`.
Which neuron a value belongs to, and whether it is one at all, travels with it.  Lanes without an
operand hold 0.  In the last step the partial sums are written to the positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...config import Arithmetic
from ...config.schema import HEALS
from ...errors import InternalError
from ...isa.protection import COPIES
from ...isa.registers import DPPU_UNITS, TREE_STAGES, Register
from ...kernels import kernel
from ...network.arrays import I8, I64
from ...network.fixedpoint_kernels import signed
from ..array.flips import (
    BIT,
    COL,
    FROM,
    REGISTER,
    ROW,
    TO,
    Flip,
    codes,
    strike,
    strike_copies,
    tile_plan,
)
from ..array.voters import (
    add_apart,
    vote,
    widen,
)
from .schedule import DppuSchedule, DppuShape, dppu_schedule


def dppu_codes(names: Sequence[str], where: str) -> tuple[int, ...]:
    """Codes in a plan of the registers that a kernel handles, whatever feeds the DPPU.

    names : all but the stages of the tree, of which stage s has the last code, plus s. where : the
    kernel.
    """
    stages = [f"tree{stage}" for stage in range(1, TREE_STAGES + 1)]
    found = {codes(unit, (*names, *stages), where) for unit in DPPU_UNITS}
    own = found.pop()
    tree = own[len(names)] - 1
    if found or own[len(names) :] != tuple(tree + stage for stage in range(1, TREE_STAGES + 1)):
        raise InternalError(f"{where}: codes of {', '.join(DPPU_UNITS)} are {own} and {found}")
    return (*own[: len(names)], tree)


_FILE_ACT, _FILE_WGT, _ACT, _WGT, _PROD, _PSUM, _POSITION, _TREE = dppu_codes(
    ("file_act", "file_wgt", "act", "wgt", "prod", "psum", "position"),
    "simulator/dppu/stepper.py: step_dppu_tile",
)


class DppuTile(NamedTuple):
    """A tile as the kernels take it.

    act : (rows, k), wgt : (cols, k), 0 where nothing is fetched. start : (neurons,).
    positions : (parts, neurons), what the position registers are loaded with, -1 : no neuron.
    windows : rows (first, size, begin, part, slices). filled, slot : (k,). loads : (parts,).
    sizes : groups, width, window, stages, column bits, position bits, steps.
    bits : of an activation, a weight, a sum.
    """

    act: I8
    wgt: I8
    start: I64
    positions: I64
    windows: I64
    filled: I64
    slot: I64
    loads: I64
    sizes: tuple[int, int, int, int, int, int, int]
    bits: tuple[int, int, int]


def dppu_tile(
    act: I8,
    wgt: I8,
    start: I64,
    positions: I64,
    *,
    dppu: DppuShape,
    arithmetic: Arithmetic,
    flips: Sequence[Flip] = (),
    protected: range = range(0),
    voter: str = "feedback",
    parts: Sequence[int] = (),
) -> tuple[I64, I64]:
    """Compute the neurons of one position table over a tile, or over the parts of its reduction.

    act : (m, k), m <= rows. wgt : (n, k), n <= cols. start : (neurons,), biases, fits acc_bits.
    positions : (neurons, 2), rows and columns as the tables are decoded, or (parts, neurons, 2);
    a negative row is no neuron. parts : operands of each part; without them, one of k.
    protected : columns of products, tree and partial sums that have three copies, voted behind each
    register (`feedback`) or when the sums are written (`output`).
    Returns (sums (neurons,), positions (neurons, 2) that they are written to, which need not lie in
    the tile). Raises FlexhycaError for a flip outside the DPPU.
    """
    tile, schedule = dppu_operands(act, wgt, start, positions, dppu, arithmetic, parts)
    plan = dppu_plan(flips, schedule, arithmetic, protected)
    columns = protected.start, protected.stop
    sums, held = step_dppu_tile(*tile, plan, *columns, HEALS[voter])
    return sums, rows_and_columns(held, tile, dppu)


def dppu_operands(
    act: I8,
    wgt: I8,
    start: I64,
    positions: I64,
    dppu: DppuShape,
    arithmetic: Arithmetic,
    parts: Sequence[int],
) -> tuple[DppuTile, DppuSchedule]:
    """A tile as `dppu_tile` and its twin take it, and its schedule."""
    (m, k), n, parts = act.shape, len(wgt), parts or (act.shape[1],)
    if positions.ndim == 2:
        positions = np.broadcast_to(positions, (len(parts), *positions.shape))
    neurons = len(start)
    if (
        m > dppu.rows
        or n > dppu.cols
        or wgt.shape[1] != k
        or sum(parts) != k
        or min(parts) < 1
        or positions.shape != (len(parts), neurons, 2)
        or not neurons
    ):
        raise InternalError(
            f"DPPU of a {dppu.rows}x{dppu.cols} array: operands {act.shape}, {wgt.shape}, parts "
            f"{list(parts)}, positions {positions.shape}, {neurons} sums"
        )
    held_act, held_wgt = np.zeros((dppu.rows, k), np.int8), np.zeros((dppu.cols, k), np.int8)
    rows, cols = np.arange(m), np.arange(n)
    if dppu.excess:  # only what a neuron names is fetched
        named = positions[positions[..., 0] >= 0]
        rows, cols = np.intersect1d(rows, named[:, 0]), np.intersect1d(cols, named[:, 1])
    held_act[rows], held_wgt[cols] = act[rows], wgt[cols]
    words = (positions[..., 0] << dppu.column_bits) | positions[..., 1]
    words = np.where(positions[..., 0] < 0, -1, words)
    schedule = dppu_schedule(parts, neurons, dppu)
    tile = DppuTile(
        held_act,
        held_wgt,
        np.ascontiguousarray(start, np.int64),
        np.ascontiguousarray(words, np.int64),
        np.array(schedule.windows, np.int64),
        schedule.filled,
        schedule.slot,
        np.array(schedule.loads, np.int64),
        (
            dppu.groups,
            dppu.width,
            dppu.window,
            dppu.stages,
            dppu.column_bits,
            dppu.position_bits,
            schedule.cycles,
        ),
        (arithmetic.act_bits, arithmetic.weight_bits, arithmetic.acc_bits),
    )
    return tile, schedule


def dppu_plan(
    flips: Sequence[Flip], schedule: DppuSchedule, arithmetic: Arithmetic, protected: range
) -> I64:
    """The faults of a tile as the kernels read them; a bit of a position is its BIT there."""
    shape = schedule.shape

    def places(register: Register) -> tuple[int, int]:
        return shape.places(register.name, schedule.neurons)

    plan = tile_plan((shape.unit,), flips, schedule.cycles, places, arithmetic, protected)
    entries = plan[:, REGISTER] == _POSITION
    plan[entries, BIT], plan[entries, COL] = plan[entries, COL], 0
    return plan


def rows_and_columns(words: I64, tile: DppuTile, dppu: DppuShape) -> I64:
    """Position registers as (neurons, 2), -1 where an entry is no neuron."""
    pairs = np.stack([words >> dppu.column_bits, words & ((1 << dppu.column_bits) - 1)], 1)
    return np.where(tile.positions[-1][:, None] < 0, -1, pairs)


@kernel
def step_dppu_tile(
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
    """Step every flip-flop of the DPPU through a tile (see `DppuTile`): sums, position registers.

    Columns [low, high) of products, tree and partial sums have three copies.
    """
    groups, width, window, stages, column_bits, position_bits, steps = sizes
    act_bits, weight_bits, acc_bits = bits
    prod_bits = act_bits + weight_bits
    (rows, k), cols, neurons = act.shape, len(wgt), len(start)
    file_act = np.zeros((rows, 2 * window), np.int64)
    file_wgt = np.zeros((2 * window, cols), np.int64)
    group_act, group_wgt = np.zeros((groups, width), np.int64), np.zeros((groups, width), np.int64)
    prod = np.zeros((groups, width, COPIES), np.int64)
    tree = np.zeros((stages + 1, groups, width, COPIES), np.int64)  # stage 0 is not used
    psum, position = np.zeros((neurons, COPIES), np.int64), np.zeros(neurons, np.int64)
    # Whose value it is, -1: of none; [0] goes with act and wgt, [1] with prod, then the stages.
    owner = np.full((stages + 2, groups), -1, np.int64)
    one, other = np.empty(COPIES, np.int64), np.empty(COPIES, np.int64)
    k_filled = part = at_window = 0
    sums = np.zeros(neurons, np.int64)
    for t in range(-1, steps):  # the edge before step 0 loads what is there from the start
        for i in range(len(plan)):
            if not plan[i, FROM] <= t < plan[i, TO]:
                continue
            register, r, c = plan[i, REGISTER], plan[i, ROW], plan[i, COL]
            if register == _FILE_ACT:
                file_act[r, c] = strike(plan, i, file_act[r, c], act_bits)
            elif register == _FILE_WGT:
                file_wgt[r, c] = strike(plan, i, file_wgt[r, c], weight_bits)
            elif register == _ACT:
                group_act[r, c] = strike(plan, i, group_act[r, c], act_bits)
            elif register == _WGT:
                group_wgt[r, c] = strike(plan, i, group_wgt[r, c], weight_bits)
            elif register == _PROD:
                strike_copies(plan, i, prod[r, c], prod_bits)
            elif register == _PSUM:
                strike_copies(plan, i, psum[r], acc_bits)
            elif register == _POSITION:
                position[r] = strike(plan, i, position[r], position_bits + 1)
            elif register > _TREE:
                stage = register - _TREE
                strike_copies(plan, i, tree[stage, r, c], prod_bits + stage)
            else:
                raise InternalError("dppu/stepper.py: step_dppu_tile has no branch for a register")
        if t == steps - 1:  # written
            for i in range(neurons):
                sums[i] = vote(psum[i])
            break
        # The partial sums: those of neurons whose value leaves the tree.
        if feedback:
            for i in range(neurons):
                psum[i, :] = vote(psum[i])
        for g in range(groups):
            i = owner[stages + 1, g]
            if i < 0:
                continue
            one[:] = tree[stages, g, 0] if stages else prod[g, 0]
            if feedback:
                psum[i, :] = signed(psum[i, 0] + vote(one), acc_bits)
            else:
                widen(one, prod_bits + stages, low, high)
                add_apart(psum[i], one, psum[i], acc_bits, high)
        # The stages of the tree, the last one first.
        for stage in range(stages, 0, -1):
            before, now = prod_bits + stage - 1, prod_bits + stage
            inputs = -(-width >> (stage - 1))
            for g in range(groups):
                for node in range(-(-width >> stage)):
                    one[:] = tree[stage - 1, g, 2 * node] if stage > 1 else prod[g, 2 * node]
                    other[:] = 0
                    if 2 * node + 1 < inputs:
                        right = 2 * node + 1
                        other[:] = tree[stage - 1, g, right] if stage > 1 else prod[g, right]
                    if feedback:
                        tree[stage, g, node, :] = vote(one) + vote(other)
                    else:
                        widen(one, before, low, high)
                        widen(other, before, low, high)
                        add_apart(one, other, tree[stage, g, node], now, high)
        for g in range(groups):
            for lane in range(width):
                prod[g, lane, :] = group_act[g, lane] * group_wgt[g, lane]
            for stage in range(stages + 1, 0, -1):
                owner[stage, g] = owner[stage - 1, g]
            owner[0, g] = -1
        # The groups read their operands from the files.
        group_act[:], group_wgt[:] = 0, 0
        turns = -(-neurons // groups)
        while (
            at_window < len(windows) and t >= windows[at_window, 2] + turns * windows[at_window, 4]
        ):
            at_window += 1
        if at_window < len(windows) and t >= windows[at_window, 2]:
            first, size, begin, own_part, slices = windows[at_window]
            turn, x = divmod(t - begin, slices)
            for g in range(groups):
                i = turn * groups + g
                if i >= neurons or positions[own_part, i] < 0:
                    continue
                owner[0, g] = i
                r, c = position[i] >> column_bits, position[i] & ((1 << column_bits) - 1)
                for lane in range(min(width, size - x * width)):
                    place = slot[first + x * width + lane]
                    group_act[g, lane] = file_act[r, place] if r < rows else 0
                    group_wgt[g, lane] = file_wgt[place, c] if c < cols else 0
        # The files are filled, position registers and partial sums are loaded.
        while k_filled < k and filled[k_filled] == t + 1:
            for r in range(rows):
                file_act[r, slot[k_filled]] = act[r, k_filled]
            for c in range(cols):
                file_wgt[slot[k_filled], c] = wgt[c, k_filled]
            k_filled += 1
        if part < len(loads) and loads[part] == t + 1:
            for i in range(neurons):
                position[i] = max(0, positions[part, i])
                if part == 0:
                    psum[i, :] = start[i]
            part += 1
    return sums, position
