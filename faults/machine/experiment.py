"""Campaigns of random faults in what the machine stores: registers, buffers, what controls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from ...errors import FlexhycaError, InternalError
from ...isa.program import Program
from ...isa.program_file import content_digest, load
from ...network.arrays import I8, I64
from ...network.difference import Golden
from ...simulator.inject.fault_run import End, FaultRun, run_reference
from ...simulator.inject.sites import END, FLIP, Site
from ...simulator.text.spans import Spans
from ...tables import complete
from ..campaign.experiment import (
    Change,
    ColumnType,
    Experiment,
    Quantity,
    Share,
    TrialRow,
    array_digest,
)
from ..models import FAULT_MODELS, MACHINE_MODELS, machine_model
from .long_lists import named
from .outcomes import outcome, output_hash
from .population import Population, stuck_site

Execution = Literal["delta", "reference"]
_DRAWS = 100  # for each fault of a trial, until all are different
_KEPT_BYTES = 512 << 20  # of fault-free runs, in each worker


class MachineFaults(Experiment):
    """Each trial hits `flips` random bits during the inference of one image.

    What is drawn stands in `faults.models`, by the name of the model; each bit in proportion to its
    exposure. A trial has no fault twice: its faults are drawn without replacement.
    """

    columns: ClassVar[Mapping[str, ColumnType]] = {
        "image": "int",
        "unit": "str",
        "layer": "str",
        "tile": "int",
        "cycle": "int",
        "row": "int",
        "col": "int",
        "register": "str",
        "bit": "int",
        "copy": "int",
        "outcome": "str",
        "golden_correct": "int",
        "correct": "int",
        "output_hash": "str",
        "sites": "str",
    }
    quantities: Sequence[Quantity] = (
        Share(
            "outcome",
            good=("masked", "changed"),
            classes=("masked", "changed", "sdc1", "sdc5", "hang", "crash"),
            within={"sdc5": "sdc1"},
        ),
        Change("correct", "golden_correct"),
    )
    locations: ClassVar[frozenset[str]] = frozenset({"program", "images", "labels", "scales"})

    def __init__(
        self,
        program: Path,
        images: Path,
        seed: int,
        flips: int = 1,
        execution: Execution = "delta",
        model: str = "register",
        live: bool = False,
        window: int = 0,
        labels: Path | None = None,
    ) -> None:
        """program : a program file of batch 1. images : npy, its inputs, int8 (n, h, w, c).

        labels : npy, integers (n,); without them no accuracy is counted. execution : `delta`
        (exact corrections) or `reference` (every register stepped, slow; then compared with them).
        live : draw only where something stands that is still used; `Population.live_share` says how
        much of the exposure that is. window : cycles for which a bit is `stuck`, 0 for ever.
        """
        self.program_path, self.images_path = Path(program), Path(images)
        self.seed, self.flips, self.execution = seed, flips, execution
        self.model, self.live, self.window = model, live, window
        self.labels_path = None if labels is None else Path(labels)
        self._golden: dict[int, Golden] = {}
        self._kept = 0  # bytes of these

    def spec(self) -> dict[str, Any]:
        """See `Experiment.spec`."""
        return {
            "program": str(self.program_path),
            "images": str(self.images_path),
            "network": self._program.name,
            "config": self._program.config.model_dump(mode="json"),
            "program_digest": content_digest(self._program),
            "scales": [scale.hex() for scale in self._program.scales],
            "images_digest": array_digest(self.images_path),
            "labels": self.labels_path and str(self.labels_path),
            "labels_digest": self.labels_path and array_digest(self.labels_path),
            "seed": self.seed,
            "flips": self.flips,
            "execution": self.execution,
            "faults": self.model,
            "live": self.live,
            "window": self.window,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """See `Experiment.from_spec`."""
        own = ("seed", "flips", "execution", "faults", "live", "window", "labels")
        return cls(Path(spec["program"]), Path(spec["images"]), *(spec[name] for name in own))

    def run(self, indices: Sequence[int]) -> list[TrialRow]:
        """See `Experiment.run`."""
        trials: dict[int, list[tuple[int, list[Site]]]] = {}  # by image
        for index in indices:
            image, sites = self._draw(index)
            trials.setdefault(image, []).append((index, sites))
        rows: dict[int, TrialRow] = {}
        for image, golden in self._fault_free(list(trials)):
            self._run.use(golden)
            for index, sites in trials[image]:
                rows[index] = self._trial(index, image, sites)
        return [rows[index] for index in indices]

    def _draw(self, index: int) -> tuple[int, list[Site]]:
        """Image and sites of a trial."""
        rng = np.random.default_rng([self.seed, index])
        image = int(rng.integers(len(self._images)))
        return image, self._sites(rng)

    def _sites(self, rng: np.random.Generator) -> list[Site]:
        """Different faults: one bit that flips twice in one cycle would be right again."""
        found: dict[Site, Site] = {}
        for _ in range(_DRAWS * self.flips):
            site = self._site(rng)
            found.setdefault(replace(site, stuck=FLIP, until=END), site)
            if len(found) == self.flips:
                return list(found.values())
        raise FlexhycaError(
            f"{self._program.name}: flips is {self.flips:,}, and {_DRAWS * self.flips:,} draws of "
            f"fault model {self.model!r} gave {len(found):,} different bits and cycles; give fewer"
        )

    def _fault_free(self, images: Sequence[int]) -> Iterator[tuple[int, Golden]]:
        """Fault-free runs of some images, in any order; they are kept where there is room."""
        missing = []
        for image in images:
            if image in self._golden:
                yield image, self._golden[image]
            else:
                missing.append(image)
        computed = self._run.fault_free(self._images[missing])
        for image, golden in zip(missing, computed, strict=True):
            if self._kept + golden.nbytes <= _KEPT_BYTES:
                self._golden[image] = golden
                self._kept += golden.nbytes
            yield image, golden

    def _trial(self, index: int, image: int, sites: list[Site]) -> TrialRow:
        run = self._run
        result = run.run(sites)
        end: End = result
        if self.execution == "reference":  # it does not know where a difference ended
            end = run_reference(run.program, self._images[image], sites)
            if end.failure != result.failure or (end.output != result.output).any():
                raise InternalError(
                    f"trial {index}, image {image}, {named(sites)}: the stepped machine and the "
                    "corrections differ; please report this line"
                )
        name = outcome(run.golden, end.output, result.masked, end.failure)
        first = sites[0]
        return {
            "index": index,
            "image": image,
            **{name: getattr(first, name) for name in list(self.columns)[1:10]},
            "outcome": name,
            **self._correct(image, run.golden, None if end.failure else end.output),
            "output_hash": None if end.failure else output_hash(end.output),
            "sites": "; ".join(map(str, sites)),
        }

    def _correct(self, image: int, golden: I8, output: I8 | None) -> dict[str, int | None]:
        """Whether the classes are right: 1 or 0; None without labels. output : if there is one."""
        if self._labels is None:
            return {"golden_correct": None, "correct": None}
        right = int(self._labels[image])
        before, after = (x is not None and int(np.argmax(x)) == right for x in (golden, output))
        return {"golden_correct": int(before), "correct": int(after)}

    def _site(self, rng: np.random.Generator) -> Site:
        site = self._population.draw(rng)
        make = _FAULTS[machine_model(self.model).fault]
        return make(site, rng, self._run.spans, self.window)

    @property
    def live_share(self) -> float:
        """Share of all bit-cycles in which a fault hits something that is still used."""
        return self._population.live_share

    @cached_property
    def _program(self) -> Program:
        return load(self.program_path)

    @cached_property
    def _images(self) -> I8:
        images: I8 = np.load(self.images_path, allow_pickle=False)
        return images

    @cached_property
    def _labels(self) -> I64 | None:
        return None if self.labels_path is None else np.load(self.labels_path, allow_pickle=False)

    @cached_property
    def _population(self) -> Population:
        return Population(self._run.spans, self.model, self.live)

    @cached_property
    def _run(self) -> FaultRun:
        return FaultRun(self._program, self._images[0])


#: What becomes of a site that was drawn, by the fault of the model.
_FAULTS: dict[str, Callable[[Site, np.random.Generator, Spans, int], Site]] = {
    "flip": lambda site, rng, spans, window: site,
    "stuck": stuck_site,
}
complete(
    "Fault in faults/models.py, of the models of a machine",
    {FAULT_MODELS[name].fault for name in MACHINE_MODELS},
    _FAULTS,
    "faults/machine/experiment.py: _FAULTS",
)
