"""Candidates that need no evaluation, as another's says enough about them.

Paper, III-E: where some protected bits are too few, fewer of them are too few as well.  That holds
for accuracy alone: which candidate protects every bit that another does is declared with the space
(`CandidateField.stronger`); cycles and traffic rise and fall with the same parameters.

An evaluation is noisy, so only a clear one counts: `sigmas` standard errors beyond the limit.  At 2
about one candidate in 44 that lies exactly on its limit is taken for one that misses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .candidates import CandidateField, Observation

#: Standard errors beyond which an evaluation is clear.
SIGMAS = 2.0


def pruned(
    field: CandidateField, history: Sequence[Observation], sigmas: float = SIGMAS
) -> dict[int, int]:
    """Candidates that miss as they protect no bit more than one that clearly misses.

    Returns : number -> number of the observation that says so (the clearest of them).  What was
    evaluated itself is not among them.
    """
    margins = {seen: seen.ratio - sigmas * seen.error - 1 for seen in history}
    clear = sorted((seen for seen in history if margins[seen] > 0), key=lambda s: -margins[s])
    found: dict[int, int] = {}
    for seen in clear:
        for number in np.flatnonzero(field.stronger[:, seen.number]):
            found.setdefault(int(number), seen.number)
    return _unseen(found, history)


def dearer(
    field: CandidateField, history: Sequence[Observation], sigmas: float = SIGMAS
) -> dict[int, int]:
    """Candidates that are not cheaper than one that clearly keeps to the limit.

    They are out where area is the objective (Equation 2), and there alone.  Returns : number ->
    number of the observation that says so (the cheapest of them), without what was evaluated.
    """
    clear = [seen.number for seen in history if seen.ratio + sigmas * seen.error <= 1]
    if not clear:
        return {}
    best = min(clear, key=lambda number: (field.candidates[number].area, number))
    area = field.candidates[best].area
    return _unseen({c.number: best for c in field.candidates if c.area >= area}, history)


def _unseen(found: dict[int, int], history: Sequence[Observation]) -> dict[int, int]:
    seen = {observation.number for observation in history}
    return {number: why for number, why in found.items() if number not in seen}
