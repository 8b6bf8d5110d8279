"""What a search chooses from, and what it has seen: the types that optimisers share.

A candidate is one accuracy key (`keys`): many design points share it, as accuracy does not depend
on how large the DPPU is, say.  The cheapest of them that keeps to the limits stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidate:
    """One accuracy key, and its cheapest point within the limits.

    features : 0..1 each, for a surrogate. area : overhead over the unprotected array, 0.2 for 20 %.
    cycles : over those of base. traffic : extra bytes, as the study counts them.
    """

    number: int
    features: tuple[float, ...]
    area: float
    cycles: float
    traffic: float


@dataclass(frozen=True)
class Observation:
    """What evaluating a candidate said.

    ratio : accuracy lost over accuracy that may be lost, the worst over the goals; at most 1 is
    feasible. error : its standard error. accuracy : relative to acc0, at the first goal's rate.
    """

    number: int
    ratio: float
    error: float
    accuracy: float
    accuracy_error: float


@dataclass(frozen=True)
class CandidateField:
    """Candidates in ascending area. stronger : (n, n), [i, j]: j protects all bits that i does."""

    candidates: Sequence[Candidate]
    stronger: NDArray[np.bool_]
