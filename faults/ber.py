"""Campaigns at a bit error rate: how accurate a network is when its stored bits are wrong.

A pattern is one set of wrong weights with the wrong neurons of some images. All cases (schemes at
rates) meet the same patterns, so that they can be compared pair by pair: trial = pattern x case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ..isa.layers import Network
from ..isa.program import load
from ..simulator.functional import Functional
from ..simulator.inputs import check_inputs
from ..simulator.upsets import Upsets
from .ber_machine import CODES, Group, Machine, draw_groups
from .ber_options import BerOptions, Case
from .experiment import ColumnType, Experiment, Quantity, Ratio, Row

#: What patterns are for; those of another purpose are others.
Purpose = Literal["study", "sensitivity", "rates"]


class BerFaults(Experiment):
    """Each trial infers some images with one pattern of wrong bits under one case.

    A row tells the images that are classified rightly with the faults (`correct`), without them by
    the same program (`golden_correct`), and without them by the first program (`acc0_correct`);
    `changed` counts predictions that differ from the fault-free ones, and the words are those that
    are wrong in spite of the protection (weights: as the array reads them).
    """

    columns: ClassVar[Mapping[str, ColumnType]] = {
        "scheme": "str",
        "ber": "float",
        "pattern": "int",
        "images": "int",
        "correct": "int",
        "golden_correct": "int",
        "acc0_correct": "int",
        "changed": "int",
        "neuron_words": "int",
        "weight_words": "int",
    }
    quantities: ClassVar[Sequence[Quantity]] = (
        Ratio("correct", "images", cluster="pattern", by=("scheme", "ber")),
    )
    locations: ClassVar[frozenset[str]] = frozenset({"programs", "images", "labels", "device"})

    def __init__(
        self,
        programs: Sequence[Path],
        cases: Sequence[Case],
        images: Path,
        labels: Path,
        seed: int,
        options: BerOptions | None = None,
        *,
        purpose: Purpose = "study",
        profile: Mapping[str, float] | None = None,
        device: str = "cpu",
    ) -> None:
        """programs : files of one network; acc0 is the first one's fault-free accuracy.

        images : npy, inputs, int8 (n, h, w, c). labels : npy, integers (n,). purpose : so that what
        was chosen on some patterns is judged on others. profile : layer -> rate of its bits
        relative to the case's ("input" is the image), 1 where it is not named. device : where torch
        computes; the results are the same.
        """
        self.programs, self.cases = [Path(p) for p in programs], list(cases)
        self.images_path, self.labels_path = Path(images), Path(labels)
        self.seed, self.options = seed, options or BerOptions()
        self.purpose, self.profile, self.device = purpose, dict(profile or {}), device

    def spec(self) -> dict[str, Any]:
        """See `Experiment.spec`."""
        return {
            "programs": [str(path) for path in self.programs],
            "images": str(self.images_path),
            "labels": str(self.labels_path),
            "device": self.device,
            "program_digests": [_digest(path) for path in self.programs],
            "images_digest": _digest(self.images_path),
            "labels_digest": _digest(self.labels_path),
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
            Path(spec["images"]),
            Path(spec["labels"]),
            spec["seed"],
            BerOptions(**spec["options"]),
            purpose=spec["purpose"],
            profile=spec["profile"],
            device=spec["device"],
        )

    def run(self, indices: Sequence[int]) -> list[Row]:
        """See `Experiment.run`. Trial i is pattern i // cases under case i % cases."""
        return [self._trial(index) for index in indices]

    @cached_property
    def _bench(self) -> Bench:
        return Bench(self)

    def _trial(self, index: int) -> Row:
        number, which = divmod(index, len(self.cases))
        case, bench = self.cases[which], self._bench
        row = dict.fromkeys(list(self.columns)[3:], 0)
        for group in bench.pattern(number):
            upsets = bench.machines[which].upsets(group)
            predicted = bench.predict(case.program, group.images, upsets)
            right, own = bench.labels[group.images], bench.golden[case.program][group.images]
            row["images"] += len(predicted)
            row["correct"] += int((predicted == right).sum())
            row["golden_correct"] += int((own == right).sum())
            row["acc0_correct"] += int((bench.golden[0][group.images] == right).sum())
            row["changed"] += int((predicted != own).sum())
            neurons = upsets.accumulators or upsets.before or upsets.after
            row["neuron_words"] += sum(len(marks.at) for marks in neurons.values())
            row["weight_words"] = sum(len(marks.at) for marks in upsets.weights.values())
        return {"index": index, "scheme": case.scheme, "ber": case.ber, "pattern": number, **row}


class Bench:
    """What the trials of a process share: machines, fault-free predictions, the last pattern.

    labels : int64 (images,). golden : of each program, the fault-free predictions.
    """

    def __init__(self, experiment: BerFaults) -> None:
        self._what = what = experiment
        self._inputs = np.load(what.images_path, allow_pickle=False)
        self.labels: NDArray[np.int64] = np.load(what.labels_path, allow_pickle=False)
        programs = [load(path) for path in what.programs]
        self._engines: list[Functional] = []
        self.golden: list[NDArray[np.int64]] = []
        for number, program in enumerate(programs):
            check_inputs(program, self._inputs)
            same = [i for i in range(number) if _same(programs[i].network, program.network)]
            if same:  # they differ in protection only
                self._engines.append(self._engines[same[0]])
                self.golden.append(self.golden[same[0]])
            else:
                self._engines.append(Functional(program.network, what.device))
                self.golden.append(self.predict(number, np.arange(len(self.labels))))
        self._network = programs[0].network
        self.machines = [
            Machine(programs[case.program], case, what.options, what.profile) for case in what.cases
        ]
        self._last: tuple[int, list[Group]] = (-1, [])

    def predict(
        self, program: int, images: NDArray[np.int64], upsets: Upsets | None = None
    ) -> NDArray[np.int64]:
        """Classes of the images with these numbers; of equal logits the first counts."""
        logits = self._engines[program].run(self._inputs[images], upsets=upsets)
        found: NDArray[np.int64] = np.argmax(logits.reshape(len(logits), -1), axis=1)
        return found

    def pattern(self, number: int) -> list[Group]:
        """The bits that may flip in a pattern; its cases come one after the other."""
        if self._last[0] != number:
            self._last = number, self._draw(number)
        return self._last[1]

    def _draw(self, number: int) -> list[Group]:
        what, total = self._what, len(self.labels)
        key = [what.seed, get_args(Purpose).index(what.purpose)]
        count = min(what.options.images_per_pattern, total)
        order = np.random.default_rng([*key, CODES["images"]]).permutation(total)
        images = order[np.arange(number * count, (number + 1) * count) % total]
        rate = max(case.ber for case in what.cases) * max([1.0, *what.profile.values()])
        return draw_groups(self._network, what.options, rate, [*key, number], images)


def _same(a: Network, b: Network) -> bool:
    return (
        a.layers == b.layers
        and a.arithmetic == b.arithmetic
        and all(np.array_equal(a.weights[i], b.weights[i]) for i in a.weights)
        and all(np.array_equal(a.biases[i], b.biases[i]) for i in a.biases)
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
