"""Campaigns of random faults in what the machine stores: registers, buffers, what controls it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from ...errors import FlexhycaError, InternalError
from ...isa.program import Program
from ...isa.program_file import content_digest, load
from ...network.arrays import I8, I64
from ...network.difference import Golden
from ...simulator.inject.fault_run import End, FaultRun, run_reference
from ...simulator.inject.sites import END, FLIP, Site, parse_site
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
from .part import EVERYTHING, NothingToHitError, Part
from .physical import Hardware, StuckBit
from .population import Population, stuck_site

Execution = Literal["delta", "reference"]
_DRAWS = 100  # for each fault of a trial, until all are different
_KEPT_BYTES = 512 << 20  # of fault-free runs, in each worker


class Drawn(NamedTuple):
    """What some trials meet. kind : of state that the faults are in. images : of these trials."""

    number: int
    images: list[int]
    kind: str
    faults: list[StuckBit]


class MachineFaults(Experiment):
    """Each trial hits `flips` random bits during the inference of an image.

    What is drawn stands in `faults.models`, by the name of the model. Flips, and bits that are
    stuck for a while, are drawn in proportion to their exposure; bits that are stuck for ever each
    once, however much is scheduled on them. A trial has no fault twice: its faults are drawn
    without replacement. Of a model that hits registers and memories alike each is drawn every other
    time, because memories have far more bits; what is said of both together is weighted.
    """

    columns: ClassVar[Mapping[str, ColumnType]] = {
        "fault": "int",
        "image": "int",
        "kind": "str",
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
        *,
        part: Part = EVERYTHING,
        images_per_fault: int = 1,
        beside: Sequence[str] = (),
    ) -> None:
        """program : a program file of batch 1. images : npy, its inputs, int8 (n, h, w, c).

        labels : npy, integers (n,); without them no accuracy is counted. execution : `delta`
        (exact corrections) or `reference` (every register stepped, slow; then compared with them).
        live : draw only where something stands that is still used; `live_share` says how much of
        the exposure that is. window : cycles for which a bit is `stuck`, 0 for ever. part : what is
        drawn from. images_per_fault : images that meet the faults of a draw, at most all there are;
        these are then the clusters. beside : sites that are wrong in every trial.
        """
        self.program_path, self.images_path = Path(program), Path(images)
        self.seed, self.flips, self.execution = seed, flips, execution
        self.model, self.live, self.window = model, live, window
        self.labels_path = None if labels is None else Path(labels)
        self.part, self.beside = part, tuple(beside)
        self.images_per_fault = min(images_per_fault, self._image_count)
        self._golden: dict[int, Golden] = {}
        self._kept = 0  # bytes of these

    @property
    def together(self) -> int:
        """See `Experiment.together`: the images of a fault."""
        return self.images_per_fault

    @property
    def quantities(self) -> Sequence[Quantity]:
        """Outcomes and accuracy; of registers and memories apart, and of both, weighted."""
        cluster = "fault" if self.images_per_fault > 1 else ""
        kinds = self._kinds
        by = ("kind",) if len(kinds) > 1 else ()
        of: dict[str, Any] = {
            "good": ("masked", "changed"),
            "classes": ("masked", "changed", "sdc1", "sdc5", "hang", "crash"),
            "within": {"sdc5": "sdc1"},
            "cluster": cluster,
        }
        found: list[Quantity] = [
            Share("outcome", **of, by=by),
            Change("correct", "golden_correct", by, cluster),
        ]
        if by:
            total = sum(kinds.values())
            weights = {name: size / total for name, size in kinds.items()}
            found.append(Share("outcome", **of, strata=("kind",), weights=weights))
        return found

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
            "part": self.part.to_dict(),
            "images_per_fault": self.images_per_fault,
            "beside": list(self.beside),
            **self._sizes,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """See `Experiment.from_spec`."""
        own = ("seed", "flips", "execution", "faults", "live", "window", "labels")
        return cls(
            Path(spec["program"]),
            Path(spec["images"]),
            *(spec[name] for name in own),
            part=Part.from_dict(spec["part"]),
            images_per_fault=spec["images_per_fault"],
            beside=spec["beside"],
        )

    def run(self, indices: Sequence[int]) -> list[TrialRow]:
        """See `Experiment.run`. Trial i is image i % images_per_fault of fault i // that."""
        trials: dict[int, list[tuple[int, Drawn]]] = {}  # by image
        drawn: dict[int, Drawn] = {}
        for index in indices:
            number, which = divmod(index, self.images_per_fault)
            if number not in drawn:
                drawn[number] = self._draw(number)
            trials.setdefault(drawn[number].images[which], []).append((index, drawn[number]))
        rows: dict[int, TrialRow] = {}
        for image, golden in self._fault_free(list(trials)):
            self._run.use(golden)
            for index, fault in trials[image]:
                rows[index] = self._trial(index, image, fault)
        return [rows[index] for index in indices]

    def _draw(self, number: int) -> Drawn:
        """Images and faults of a draw."""
        rng = np.random.default_rng([self.seed, number])
        if self.images_per_fault == 1:
            images = [int(rng.integers(self._image_count))]
        else:
            images = rng.permutation(self._image_count)[: self.images_per_fault].tolist()
        kinds = list(self._kinds)
        kind = kinds[number % len(kinds)]
        return Drawn(number, images, kind, self._faults(kind, rng))

    def _faults(self, kind: str, rng: np.random.Generator) -> list[StuckBit]:
        """Different faults: one bit that flips twice in one cycle would be right again."""
        found: dict[Site, StuckBit] = {}
        beside = {_bit_and_cycle(site) for site in self._beside}
        for _ in range(_DRAWS * self.flips):
            fault = self._fault(kind, rng)
            where = _bit_and_cycle(fault.site)
            if where not in beside:
                found.setdefault(where, fault)
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

    def _trial(self, index: int, image: int, drawn: Drawn) -> TrialRow:
        run = self._run
        sites = [site for fault in drawn.faults for site in fault.sites] + self._beside
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
        first = drawn.faults[0].site
        return {
            "index": index,
            "fault": drawn.number,
            "image": image,
            "kind": drawn.kind,
            **{name: getattr(first, name) for name in list(self.columns)[3:12]},
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

    def _fault(self, kind: str, rng: np.random.Generator) -> StuckBit:
        """One of a kind of state; a flip is a fault at one site."""
        if self.permanent:
            return self._hardware[kind].draw(rng)
        site = self._populations[kind].draw(rng)
        site = _FAULTS[machine_model(self.model).fault](site, rng, self._spans, self.window)
        return StuckBit(site, (site,))

    @property
    def permanent(self) -> bool:
        """Whether bits are stuck for ever."""
        return machine_model(self.model).fault == "stuck" and not self.window

    @property
    def live_share(self) -> float:
        """Share of what could be drawn from in which a fault hits something that is still used.

        Of all bit-cycles, or of all bits that can be stuck for ever.
        """
        if self.permanent:
            own = self._hardware.values()
            return sum(one.bits_of(live=True) for one in own) / sum(
                one.bits_of(live=False) for one in own
            )
        found = self._populations.values()
        return sum(one.live_exposure for one in found) / sum(one.exposure for one in found)

    @property
    def drawn_from(self) -> str:
        """What is drawn from, and how much of all that the fault model can hit, in words.

        Bits that are stuck in some layers are no share: each layer runs on nearly all of them.
        """
        sizes = self._sizes
        unit = "bits" if self.permanent else "bits x cycles"
        each = ", ".join(f"{name} {size:,}" for name, size in sizes["kinds"].items())
        own = sum(sizes["kinds"].values())
        used = " in use" if self.live else ""
        if self.permanent and self.part.layers:
            share = "stuck while these layers run, which is no share of what is stuck for ever"
        else:
            share = f"{own / sizes['of']:.4%} of all that can be hit"
        return f"{own:,} {unit}{used} ({each}), {share}"

    @cached_property
    def _sizes(self) -> dict[str, Any]:
        """kinds : bits, or bits x cycles, that are drawn from, by kind. of : of the whole model."""
        whole = self._kinds if self.part.whole else self._drawable(EVERYTHING)
        return {"kinds": self._kinds, "of": sum(whole.values())}

    @cached_property
    def _kinds(self) -> dict[str, int]:
        """Kinds of state that are drawn from, each with its bits or bits x cycles."""
        return self._drawable(self.part)

    def _drawable(self, part: Part) -> dict[str, int]:
        own = part == self.part
        if self.permanent:
            hardware = self._hardware if own else self._hardware_of(part)
            return {kind: one.bits for kind, one in hardware.items()}
        populations = self._populations if own else self._populations_of(part)
        return {
            kind: round(one.live_exposure) if self.live else one.exposure
            for kind, one in populations.items()
        }

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
    def _beside(self) -> list[Site]:
        return [parse_site(text) for text in self.beside]

    @cached_property
    def _image_count(self) -> int:
        return len(np.load(self.images_path, mmap_mode="r", allow_pickle=False))

    @cached_property
    def _populations(self) -> dict[str, Population]:
        """By kind of state, those that have something to draw."""
        return self._populations_of(self.part)

    def _populations_of(self, part: Part) -> dict[str, Population]:
        part.check(self._spans, self.model)
        found = self._some_populations(part)
        if not found:
            raise self._nothing(part, self._some_populations)
        return found

    def _some_populations(self, part: Part) -> dict[str, Population]:
        found = {}
        for kind in machine_model(self.model).hits:
            with suppress(NothingToHitError):
                found[kind] = Population(self._spans, self.model, self.live, part, [kind])
        return found

    def _nothing(
        self, part: Part, draws: Callable[[Part], Mapping[str, object]]
    ) -> NothingToHitError:
        """The error, which tells what has made the part empty."""
        wide = [option for option, wider in part.wider() if draws(wider)]
        return NothingToHitError(self._spans.program.name, self.model, part, wide)

    @cached_property
    def _hardware(self) -> dict[str, Hardware]:
        """The same of bits that are stuck for ever."""
        return self._hardware_of(self.part)

    def _hardware_of(self, part: Part) -> dict[str, Hardware]:
        part.check(self._spans, self.model, permanent=True)
        found = self._some_hardware(part)
        if not found:
            raise self._nothing(part, self._some_hardware)
        return found

    def _some_hardware(self, part: Part) -> dict[str, Hardware]:
        each = {
            kind: Hardware(self._spans, kind, part, self.live)
            for kind in machine_model(self.model).hits
        }
        return {kind: own for kind, own in each.items() if own.bits}

    @cached_property
    def _spans(self) -> Spans:
        return Spans(self._program)

    @cached_property
    def _run(self) -> FaultRun:
        return FaultRun(self._program, self._images[0])


def _bit_and_cycle(site: Site) -> Site:
    """A site without what happens there."""
    return replace(site, stuck=FLIP, until=END)


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
