"""Campaigns at a bit error rate: how accurate a network is when its stored bits are wrong.

A pattern is one set of wrong weights with the wrong neurons of some images. All cases (schemes at
rates) meet the same patterns, so that they can be compared pair by pair: trial = pattern x case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ...isa.program_file import load
from ...network.functional import Functional
from ...network.layers import Network
from ...simulator.inputs import check_inputs
from ..campaign.experiment import (
    ColumnType,
    Experiment,
    Quantity,
    Ratio,
    TrialRow,
)
from .machine import (
    CODES,
    ImageGroup,
    ProtectedMachine,
    draw_groups,
)
from .options import BerOptions, Case

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

    def spec(self) -> dict[str, Any]:
        """See `Experiment.spec`."""
        return {
            "programs": [str(path) for path in self.programs],
            "images": [str(path) for path in self.images],
            "labels": str(self.labels),
            "device": self.device,
            "network": load(self.programs[0]).name,
            "configs": {
                str(i): load(path).config.model_dump(mode="json")
                for i, path in enumerate(self.programs)
            },
            "program_digests": [_digest(path) for path in self.programs],
            "images_digests": [_digest(path) for path in self.images],
            "labels_digest": _digest(self.labels),
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
            self.programs,
            self.images,
            self.labels,
            self.options,
            [self.seed, get_args(Purpose).index(self.purpose)],
            self.profile,
            self.device,
        )

    def _trial(self, index: int) -> TrialRow:
        number, which = divmod(index, len(self.cases))
        highest = max(case.ber for case in self.cases)
        return {"index": index, **self.bench.trial(self.cases[which], number, highest)}


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: on busy cores more are many times slower, as its layers are short."""
    import torch  # noqa: F401  only libraries that are loaded can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


class _Runner(NamedTuple):
    """A network with its images. golden : its fault-free predictions of all of them."""

    network: Network
    inputs: NDArray[np.int8]
    engine: Functional
    golden: NDArray[np.int64]


class Bench:
    """What the trials of a process share: machines, fault-free predictions, the last pattern.

    Large networks fit because programs that differ in protection only have one network.
    labels : int64 (images,).
    """

    def __init__(
        self,
        programs: Sequence[Path],
        images: Sequence[Path],
        labels: Path,
        options: BerOptions,
        key: Sequence[int],
        profile: Mapping[str, float],
        device: str,
    ) -> None:
        """key : seed and purpose of the patterns; the rest as for `BerFaults`."""
        self._options, self._key, self._profile = options, list(key), profile
        self._paths = programs
        self.labels: NDArray[np.int64] = np.load(labels, allow_pickle=False)
        self._runners: list[_Runner] = []  # one a program
        for path, own in zip(programs, images, strict=True):
            program, inputs = load(path), np.load(own, allow_pickle=False)
            check_inputs(program, inputs)
            network = program.network
            same = [r for r in self._runners if _same(r, network, inputs)]
            if not same:
                engine = Functional(network, device)
                same = [_Runner(network, inputs, engine, _classes(engine.run(inputs)))]
            self._runners.append(same[0])
        self._machines: dict[Case, ProtectedMachine] = {}
        self._last: tuple[tuple[int, float], list[ImageGroup]] = ((-1, 0.0), [])

    def trial(self, case: Case, number: int, highest: float) -> TrialRow:
        """Pattern `number` under a case: a row without its index.

        highest : a rate that is not below the case's, for all cases that are tried on the pattern;
        what is drawn once is then used again.
        """
        if case not in self._machines:
            program = load(self._paths[case.program])
            self._machines[case] = ProtectedMachine(program, case, self._options, self._profile)
        runner, acc0 = self._runners[case.program], self._runners[0].golden
        if self._last[0] != (number, highest):
            self._last = (number, highest), self._draw(number, highest)
        row = dict.fromkeys(list(BerFaults.columns)[3:], 0)
        for group in self._last[1]:
            upsets = self._machines[case].upsets(group)
            logits = runner.engine.run(runner.inputs[group.images], upsets=upsets)
            predicted = _classes(logits)
            right, own = self.labels[group.images], runner.golden[group.images]
            row["images"] += len(predicted)
            row["correct"] += int((predicted == right).sum())
            row["golden_correct"] += int((own == right).sum())
            row["acc0_correct"] += int((acc0[group.images] == right).sum())
            row["changed"] += int((predicted != own).sum())
            neurons = upsets.accumulators or upsets.before or upsets.after
            row["neuron_words"] += sum(len(marks.at) for marks in neurons.values())
            row["weight_words"] = sum(len(marks.at) for marks in upsets.weights.values())
        return {"scheme": case.scheme, "ber": case.ber, "pattern": number, **row}

    def images(self, number: int) -> NDArray[np.int64]:
        """Numbers of a pattern's images: all of them in turn, in an order that is shuffled once."""
        total = len(self.labels)
        count = min(self._options.images_per_pattern, total)
        order = np.random.default_rng([*self._key, CODES["images"]]).permutation(total)
        return order[np.arange(number * count, (number + 1) * count) % total]

    def _draw(self, number: int, highest: float) -> list[ImageGroup]:
        rate = min(1.0, highest * max([1.0, *self._profile.values()]))
        network = self._runners[0].network
        return draw_groups(network, self._options, rate, [*self._key, number], self.images(number))


def _same(runner: _Runner, network: Network, inputs: NDArray[np.int8]) -> bool:
    a, b = runner.network, network
    return (
        a.layers == b.layers
        and a.arithmetic == b.arithmetic
        and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)
        and all(np.array_equal(a.biases[k], b.biases[k]) for k in a.biases)
        and np.array_equal(runner.inputs, inputs)
    )


def _classes(logits: NDArray[np.int8]) -> NDArray[np.int64]:
    """The class of each image; of equal logits the first counts."""
    found: NDArray[np.int64] = np.argmax(logits.reshape(len(logits), -1), axis=1)
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
