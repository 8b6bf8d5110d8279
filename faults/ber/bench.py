"""Networks under bit errors, in memory: what a pattern of wrong bits makes of some images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...network.functional import Functional
from ...network.layers import Network
from ...network.upsets import Upsets
from .machine import ImageGroup, ProtectedMachine, draw_groups, pattern_images
from .options import BerOptions, Case
from .protection import ProtectedNetwork

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: on busy cores more are many times slower, as its layers are short."""
    with _libraries().limit(limits=1):
        yield


@cache
def _libraries() -> ThreadpoolController:
    """Found once: to look for them takes as long as a short layer."""
    import torch  # noqa: F401  only libraries that are loaded can be limited
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class Answer(NamedTuple):
    """What a group of images met, and the classes that came out, int64 (images,)."""

    group: ImageGroup
    upsets: Upsets
    predicted: NDArray[np.int64]


class Runner:
    """A network with images. inputs : int8 (n, h, w, c). golden : their classes without faults."""

    def __init__(self, network: Network, inputs: NDArray[np.int8], device: str = "cpu") -> None:
        self.network, self.inputs = network, inputs
        self._engine = Functional(network, device)
        self.golden = classes(self._engine.run(inputs))

    def answers(self, machine: ProtectedMachine, groups: Sequence[ImageGroup]) -> Iterator[Answer]:
        """Each group under the bits that `machine` leaves wrong."""
        for group in groups:
            upsets = machine.upsets(group)
            logits = self._engine.run(self.inputs[group.images], upsets=upsets)
            yield Answer(group, upsets, classes(logits))

    def same(self, network: Network, inputs: NDArray[np.int8]) -> bool:
        """Whether it would answer for these, too: configurations may differ in protection only."""
        a, b = self.network, network
        return (
            a.layers == b.layers
            and a.arithmetic == b.arithmetic
            and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)
            and all(np.array_equal(a.biases[k], b.biases[k]) for k in a.biases)
            and np.array_equal(self.inputs, inputs)
        )


def classes(logits: NDArray[np.int8]) -> NDArray[np.int64]:
    """The class of each image; of equal logits the first counts."""
    found: NDArray[np.int64] = np.argmax(logits.reshape(len(logits), -1), axis=1)
    return found


class Bench:
    """What the trials of a process share: machines, fault-free predictions, the last pattern.

    Large networks fit because subjects that differ in protection only have one network.
    labels : int64 (images,).
    """

    def __init__(
        self,
        subjects: Sequence[tuple[ProtectedNetwork, NDArray[np.int8]]],
        labels: NDArray[np.int64],
        options: BerOptions,
        key: Sequence[int],
        profile: Mapping[str, float],
        device: str,
    ) -> None:
        """subjects : with the images as each takes them. key : seed and purpose of the patterns."""
        self._options, self._key, self._profile = options, list(key), profile
        self._subjects = [subject for subject, _ in subjects]
        self.labels = labels
        self._runners: list[Runner] = []  # one a subject
        for subject, inputs in subjects:
            same = [r for r in self._runners if r.same(subject.network, inputs)]
            self._runners += same[:1] or [Runner(subject.network, inputs, device)]
        self._machines: dict[Case, ProtectedMachine] = {}
        self._last: tuple[tuple[int, float], list[ImageGroup]] = ((-1, 0.0), [])

    def trial(self, case: Case, number: int, highest: float) -> dict[str, int]:
        """Counts of pattern `number` under a case.

        highest : a rate that is not below the case's, for all cases that are tried on the pattern;
        what is drawn once is then used again.
        """
        return self.answered(case, number, highest)[0]

    def answered(
        self, case: Case, number: int, highest: float
    ) -> tuple[dict[str, int], NDArray[np.bool_]]:
        """The same, and which of the pattern's `images` were classified rightly, in their order."""
        if case not in self._machines:
            subject = self._subjects[case.program]
            self._machines[case] = ProtectedMachine(subject, case, self._options, self._profile)
        runner, acc0 = self._runners[case.program], self._runners[0].golden
        if self._last[0] != (number, highest):
            self._last = (number, highest), self._draw(number, highest)
        row, correct = dict.fromkeys(COUNTS, 0), []
        for group, upsets, predicted in runner.answers(self._machines[case], self._last[1]):
            right, own = self.labels[group.images], runner.golden[group.images]
            row["images"] += len(predicted)
            correct.append(predicted == right)
            row["correct"] += int(correct[-1].sum())
            row["golden_correct"] += int((own == right).sum())
            row["acc0_correct"] += int((acc0[group.images] == right).sum())
            row["changed"] += int((predicted != own).sum())
            neurons = upsets.accumulators or upsets.before or upsets.after
            row["neuron_words"] += sum(len(marks.at) for marks in neurons.values())
            row["weight_words"] = sum(len(marks.at) for marks in upsets.weights.values())
        return row, np.concatenate(correct)

    def right_without_faults(self, number: int) -> NDArray[np.bool_]:
        """Which of a pattern's images the first program classifies rightly."""
        images = self.images(number)
        found: NDArray[np.bool_] = self._runners[0].golden[images] == self.labels[images]
        return found

    def images(self, number: int) -> NDArray[np.int64]:
        """Numbers of a pattern's images."""
        found: NDArray[np.int64]
        (found,) = pattern_images(self._key, len(self.labels), self._options, [number])
        return found

    def _draw(self, number: int, highest: float) -> list[ImageGroup]:
        rate = min(1.0, highest * max([1.0, *self._profile.values()]))
        network = self._runners[0].network
        return draw_groups(network, self._options, rate, [*self._key, number], self.images(number))


#: What a trial counts.
COUNTS = (
    *("images", "correct", "golden_correct", "acc0_correct", "changed"),
    *("neuron_words", "weight_words"),
)
