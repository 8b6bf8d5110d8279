"""Campaigns at a bit error rate: how accurate a network is when its stored bits are wrong.

A pattern is one set of wrong weights with the wrong neurons of some images. All cases (schemes at
rates) meet the same patterns, so that they can be compared pair by pair: trial = pattern x case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ...isa.program_file import content_digest, load
from ...simulator.inputs import checked_inputs
from ..campaign.experiment import (
    ColumnType,
    Experiment,
    Loss,
    PairedDifference,
    Quantity,
    Ratio,
    TrialRow,
    array_digest,
)
from .bench import COUNTS, Bench, one_thread
from .machine import pattern_images
from .options import BerOptions, Case
from .protection import ProtectedNetwork
from .results import packed

#: What patterns are for; those of another purpose are others.
Purpose = Literal["study", "sensitivity", "rates"]


class BerFaults(Experiment):
    """Each trial infers some images with one pattern of wrong bits under one case.

    A row tells the images that are classified rightly with the faults (`correct`), without them by
    the same program (`golden_correct`), and without them by the first program (`acc0_correct`);
    `changed` counts predictions that differ from the fault-free ones, and the words are those that
    are wrong in spite of the protection (weights: as the array reads them). `right` and
    `acc0_right` say which images these are (`results.packed`).
    """

    columns: ClassVar[Mapping[str, ColumnType]] = {
        "scheme": "str",
        "ber": "float",
        "pattern": "int",
        **dict.fromkeys(COUNTS, "int"),
        "right": "str",
        "acc0_right": "str",
    }
    locations: ClassVar[frozenset[str]] = frozenset(
        {"programs", "images", "labels", "device", "scales"}
    )

    def __init__(
        self,
        programs: Sequence[Path],
        cases: Sequence[Case],
        images: Sequence[Path],
        labels: Path,
        seed: int,
        options: BerOptions | None = None,
        *,
        purpose: Purpose = "study",
        profile: Mapping[str, float] | None = None,
        device: str = "cpu",
    ) -> None:
        """programs : files of one network; acc0 is the first one's fault-free accuracy.

        images : of each program, npy, its inputs, int8 (n, h, w, c): the same pictures. labels :
        npy, integers (n,). purpose : so that what was chosen on some patterns is judged on others.
        profile : "neurons/LAYER", "weights/LAYER" or "input" -> rate of these bits relative to the
        case's, 1 where it is not named. device : where torch computes; the results are the same.
        """
        self.programs, self.cases = [Path(p) for p in programs], list(cases)
        self.images, self.labels = [Path(p) for p in images], Path(labels)
        self.seed, self.options = seed, options or BerOptions()
        self.purpose, self.profile, self.device = purpose, dict(profile or {}), device

    @property
    def quantities(self) -> Sequence[Quantity]:
        """All intervals over patterns that a study shows, so that a margin is of all of them."""
        of: dict[str, Any] = {"cluster": "pattern", "by": ("scheme", "ber")}
        return (
            Ratio("correct", "images", **of),
            Loss("acc0_correct", "correct", "images", **of),
            Ratio("changed", "images", **of),
            PairedDifference(
                *("correct", "images"),
                **of,
                between="scheme",
                with_first_only=self.purpose == "sensitivity",
            ),
        )

    @property
    def together(self) -> int:
        """All cases of a pattern."""
        return len(self.cases)

    def spec(self) -> dict[str, Any]:
        """See `Experiment.spec`."""
        programs = [load(path) for path in self.programs]
        return {
            "programs": [str(path) for path in self.programs],
            "images": [str(path) for path in self.images],
            "labels": str(self.labels),
            "device": self.device,
            "network": programs[0].name,
            "configs": {
                str(i): program.config.model_dump(mode="json") for i, program in enumerate(programs)
            },
            "program_digests": [content_digest(program) for program in programs],
            "scales": [[scale.hex() for scale in program.scales] for program in programs],
            "images_digests": [array_digest(path) for path in self.images],
            "labels_digest": array_digest(self.labels),
            "seed": self.seed,
            "purpose": self.purpose,
            "options": asdict(self.options),
            "profile": self.profile,
            "cases": {
                f"{i:02} {case.scheme} {case.ber:g}": case.to_dict()
                for i, case in enumerate(self.cases)
            },
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """See `Experiment.from_spec`."""
        return cls(
            [Path(path) for path in spec["programs"]],
            [Case.from_dict(case) for case in spec["cases"].values()],
            [Path(path) for path in spec["images"]],
            Path(spec["labels"]),
            spec["seed"],
            BerOptions(**spec["options"]),
            purpose=spec["purpose"],
            profile=spec["profile"],
            device=spec["device"],
        )

    def run(self, indices: Sequence[int]) -> list[TrialRow]:
        """See `Experiment.run`. Trial i is pattern i // cases under case i % cases."""
        with one_thread():
            return [self._trial(index) for index in indices]

    @cached_property
    def bench(self) -> Bench:
        """The heavy state, built when it is first used."""
        return Bench(
            [_subject(*paths) for paths in zip(self.programs, self.images, strict=True)],
            np.load(self.labels, allow_pickle=False),
            self.options,
            self.key,
            self.profile,
            self.device,
        )

    @property
    def key(self) -> list[int]:
        """Of the patterns' random numbers."""
        return [self.seed, get_args(Purpose).index(self.purpose)]

    def pattern_images(self, patterns: int) -> NDArray[np.int64]:
        """Numbers of the images of the first `patterns` patterns: (patterns, images a pattern)."""
        total = len(np.load(self.labels, mmap_mode="r", allow_pickle=False))
        return pattern_images(self.key, total, self.options, range(patterns))

    def _trial(self, index: int) -> TrialRow:
        number, which = divmod(index, len(self.cases))
        highest, case = max(case.ber for case in self.cases), self.cases[which]
        counts, right = self.bench.answered(case, number, highest)
        return {
            "index": index,
            "scheme": case.scheme,
            "ber": case.ber,
            "pattern": number,
            **counts,
            "right": packed(right),
            "acc0_right": packed(self.bench.right_without_faults(number)),
        }


def _subject(program: Path, images: Path) -> tuple[ProtectedNetwork, NDArray[np.int8]]:
    read, inputs = load(program), np.load(images, allow_pickle=False)
    inputs = checked_inputs(read, inputs)
    return ProtectedNetwork.compiled(read), inputs
