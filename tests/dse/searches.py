"""A small search problem with a known answer."""

from __future__ import annotations

import itertools

import numpy as np

from flexhyca.dse.search.candidates import Candidate, CandidateField, Observation


def field_of(strengths: np.ndarray, area: np.ndarray, levels: int = 4) -> CandidateField:
    """Candidates of given strengths (n, parameters), brought into ascending area."""
    order = np.lexsort((*strengths.T, area))
    strengths, area = strengths[order], area[order]
    stronger = np.all(strengths[:, None] <= strengths[None], axis=2)
    scaled = strengths / (levels - 1)
    return CandidateField(
        [
            Candidate(i, tuple(scaled[i].tolist()), float(area[i]), 1 + scaled[i, 0] / 10, 0.0)
            for i in range(len(area))
        ],
        stronger,
    )


def small_field() -> CandidateField:
    """48 candidates: bits of important neurons, of ordinary ones, and their share."""
    strengths = np.array(list(itertools.product(range(4), range(4), range(3))), float)
    important, ordinary, share = strengths.T
    return field_of(strengths, 0.05 * important + 0.16 * ordinary + 0.03 * share + 0.02)


def ratios(field: CandidateField) -> np.ndarray:
    """The truth: falls with each parameter; the cheapest feasible one is in the middle."""
    important, ordinary, share = 3 * np.array([c.features for c in field.candidates]).T
    caught = 0.3 + 0.15 * share
    return 8 * (caught * np.exp(-1.3 * important) + (1 - caught) * np.exp(-1.1 * ordinary))


def observe(field: CandidateField, number: int, error: float = 0.03) -> Observation:
    ratio = float(ratios(field)[number])
    return Observation(number, ratio, error * ratio, 1 - 0.05 * ratio, 0.05 * error * ratio)
