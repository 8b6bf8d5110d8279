"""A small experiment for the engine's tests: a trial is drawn from (seed, index) alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flexhyca.errors import FlexhycaError
from flexhyca.faults.campaign.experiment import (
    Experiment,
    Ratio,
    Share,
    TrialRow,
)

LAYERS = ("conv1", "conv2")
BY_WHAT = ("idle", "tmr", "downstream")


class Drawn(Experiment):
    """Outcomes with known rates; can be slow, and can kill the process in which it runs.

    rate : share of trials that are no "masked". sleep_s : of each trial. fatal : (trial, times,
    folder): this trial kills its process that often; a file in the folder counts.
    """

    columns = {  # noqa: RUF012
        "layer": "str",
        "bit": "int",
        "outcome": "str",
        "deviation": "float",
        "images": "int",
        "correct": "int",
    }
    quantities = (
        Share("outcome", ("masked",), ("masked", "sdc1", "crash")),
        Ratio("correct", "images"),
    )
    locations = frozenset({"folder"})
    code = ()  # sources of the package may be edited while the tests run

    def __init__(
        self,
        seed: int = 1,
        rate: float = 0.2,
        sleep_s: float = 0.0,
        fatal: tuple[int, int] = (-1, 0),
        folder: str = "",
    ) -> None:
        self.seed, self.rate, self.sleep_s = seed, rate, sleep_s
        self.fatal, self.folder = fatal, folder
        self.built = False

    def spec(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "model": {"rate": self.rate},
            "sleep_s": self.sleep_s,
            "fatal": list(self.fatal),
            "folder": self.folder,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Drawn:
        first, times = spec["fatal"]
        rate = spec["model"]["rate"]
        return cls(spec["seed"], rate, spec["sleep_s"], (first, times), spec["folder"])

    def run(self, indices: Sequence[int]) -> list[TrialRow]:
        return [self.trial(index) for index in indices]

    def trial(self, index: int) -> TrialRow:
        self._perhaps_die(index)
        time.sleep(self.sleep_s)
        rng = np.random.default_rng([self.seed, index])
        failed = rng.random() < self.rate
        correct: int | None = int(rng.binomial(20, 0.5 if failed else 0.95))
        outcome = f"masked:{BY_WHAT[rng.integers(3)]}"
        if failed:
            outcome = "crash" if rng.random() < 0.1 else "sdc1"
            correct = None if outcome == "crash" else correct
        deviation = float("nan") if outcome == "crash" else float(rng.standard_normal())
        return {
            "index": index,
            "layer": LAYERS[index % 2],
            "bit": int(rng.integers(24)),
            "outcome": outcome,
            "deviation": None if outcome.startswith("masked") else deviation,
            "images": 20,
            "correct": correct,
        }

    def _perhaps_die(self, index: int) -> None:
        if index != self.fatal[0]:
            return
        if self.fatal[1] == 0:
            raise FlexhycaError(f"trial {index} cannot be done")
        deaths = len(list(Path(self.folder).glob("death-*")))
        if deaths < self.fatal[1]:
            (Path(self.folder) / f"death-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Wrong(Drawn):
    """Rows that break the contract: `how` is in the spec's folder."""

    def trial(self, index: int) -> TrialRow:
        row = super().trial(index)
        if self.folder == "type":
            return {**row, "bit": 1.5}
        if self.folder == "column":
            return {**row, "time": 1}
        return {**row, "index": index + 1}
