"""Points that no other beats in everything at once, and how much they beat together.

A study may ask for all good compromises instead of the cheapest point that keeps a goal (paper,
Fig. 15: accuracy against area).  The hypervolume, what the front dominates up to a reference,
measures such a study: it grows exactly where the front does (Zitzler and Thiele 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Floats = NDArray[np.float64]


class Sense(IntEnum):
    """Which values of an objective are better; times the value, less is always better."""

    LEAST = 1
    MOST = -1


#: Objectives of a front, by the fields of `Observation` and `Candidate` that hold them.
SENSES = {
    "accuracy": Sense.MOST,
    "area": Sense.LEAST,
    "cycles": Sense.LEAST,
    "traffic": Sense.LEAST,
}


def pareto(values: ArrayLike, senses: Sequence[Sense]) -> NDArray[np.bool_]:
    """Which rows no other row dominates: is nowhere worse than, and somewhere better.

    values : (n, objectives). Returns : (n,); of equal rows all or none.
    """
    rows = np.asarray(values, float) * np.array(senses, float)
    nowhere_worse = np.all(rows[:, None] <= rows[None], axis=2)
    somewhere_better = np.any(rows[:, None] < rows[None], axis=2)
    dominated: NDArray[np.bool_] = np.any(nowhere_worse & somewhere_better, axis=0)
    return ~dominated


def hypervolume(values: ArrayLike, reference: Sequence[float], senses: Sequence[Sense]) -> float:
    """What the rows dominate of all that is better than `reference`; 0 of no rows.

    values : (n, objectives), any number of them; exact, about n^(objectives - 1) steps.
    reference : (objectives,), in the units of the values; rows beyond it count as far as it.
    """
    sense = np.array(senses, float)
    rows = np.asarray(values, float).reshape(-1, len(sense)) * sense
    return _volume(rows, np.array(reference, float) * sense)


def running_hypervolume(
    values: ArrayLike, reference: Sequence[float], senses: Sequence[Sense]
) -> _Floats:
    """(n,): the hypervolume of the first row, the first two ... as a study went."""
    sense = np.array(senses, float)
    rows = np.asarray(values, float).reshape(-1, len(sense)) * sense
    limit = np.array(reference, float) * sense
    gains, front = np.zeros(len(rows)), rows[:0]
    for i, row in enumerate(rows):
        gains[i] = _own(row, front, limit)
        if gains[i] > 0:  # so no row before dominates it
            front = np.vstack([front[np.any(front < row, axis=1)], row])
    return np.cumsum(gains)


def slabs(
    costs: _Floats, taken: Sequence[int], heights: _Floats, limit: _Floats
) -> tuple[_Floats, _Floats]:
    """What each of n candidates of known costs adds to a front, for any height that it may reach.

    costs : (n, objectives), less is better. taken, heights : numbers of those on the front, and the
    height (more is better, from 0) of each. limit : (objectives,), the reference of costs.
    Returns : levels (m,) and volumes (n, m); at height h a candidate adds
    sum(volumes x max(h - levels, 0)) to the hypervolume.
    """
    axes = [np.unique([costs[:, d].min(), *costs[taken, d]]) for d in range(costs.shape[1])]
    front = np.zeros([len(axis) for axis in axes])  # its height over each cell of costs
    np.maximum.at(front, tuple(map(np.searchsorted, axes, costs[taken].T)), heights)
    for d in range(front.ndim):
        front = np.maximum.accumulate(front, axis=d)
    levels, which = np.unique(front, return_inverse=True)
    volumes = np.empty((len(costs), len(levels)))
    for i, cost in enumerate(costs):
        cells = np.ones(())
        for axis, least, most in zip(axes, cost, limit, strict=True):
            width = np.maximum(np.append(axis[1:], most) - np.maximum(axis, least), 0)
            cells = np.multiply.outer(cells, width)
        volumes[i] = np.bincount(which.ravel(), cells.ravel(), len(levels))
    return levels, volumes


def _own(row: _Floats, others: _Floats, limit: _Floats) -> float:
    """The volume that a row dominates and no other does; less is better."""
    box = float(np.prod(np.maximum(limit - row, 0)))
    return box - _volume(np.maximum(others, row), limit) if box else 0.0


def _volume(rows: _Floats, limit: _Floats) -> float:
    """The dominated volume, where less is better.

    In slices along the last objective (Knowles 2002; While et al. 2006): in ascending order each
    row adds, in the objectives before, what no row so far dominates, times how deep it reaches.
    """
    rows = rows[np.all(rows < limit, axis=1)]
    if not len(rows):
        return 0.0
    if len(limit) == 1:
        return float(limit[0] - rows.min())
    rows = rows[np.lexsort(rows.T)]  # by the last objective
    if len(limit) == 2:
        low = np.minimum.accumulate(rows[:, 0])
        steps = np.diff(low, prepend=limit[0])
        return float(-steps @ (limit[1] - rows[:, 1]))
    total, front = 0.0, rows[:0, :-1]
    for row in rows:
        gain = _own(row[:-1], front, limit[:-1])
        if gain > 0:
            total += gain * float(limit[-1] - row[-1])
            front = np.vstack([front[np.any(front < row[:-1], axis=1)], row[:-1]])
    return total
