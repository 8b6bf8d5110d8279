"""What a faulty inference is called: by what it was masked, or how bad its output is."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

#: Worst first; a trial has the first that holds. "masked:<stage>" stands for the output unchanged.
OUTCOMES = {
    "crash": "the machine stops: it cannot execute an instruction",
    "hang": "the machine waits for ever: a token is never posted",
    "sdc5": "the fault-free prediction is not among the first five any more",
    "sdc1": "another prediction, the fault-free one still among the first five",
    "changed": "other logits, the same prediction",
}
#: Stages that stop a difference, in the order in which it meets them.
STAGES = {
    "tmr": "the other copies of the bit outvote it",
    "idle": "no sum would differ without copies either: nothing was stored there, or the bit did "
    "not matter",
    "dppu": "the DPPU's results replace all wrong sums",
    "truncation": "requantisation drops the difference",
    "activation": "the residual add or the clamp drops it",
    "downstream": "it dies out in later layers",
}


def outcome(
    golden: NDArray[np.int8],
    output: NDArray[np.int8],
    masked: str | None,
    failure: str | None = None,
) -> str:
    """Name of a trial's outcome. golden, output : logits; of equal ones the first counts.

    failure : `crash` or `hang` of a run without output.
    """
    if failure is not None:
        return failure
    if masked is not None:
        return f"masked:{masked}"
    before, after = (
        np.argsort(-x.reshape(-1).astype(int), kind="stable") for x in (golden, output)
    )
    if len(after) > 5 and before[0] not in after[:5]:
        return "sdc5"
    return "sdc1" if before[0] != after[0] else "changed"


def output_hash(output: NDArray[np.int8]) -> str:
    """A short hash of the final integers."""
    return hashlib.sha256(np.ascontiguousarray(output).tobytes()).hexdigest()[:16]
