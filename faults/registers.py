"""Campaigns of transient faults in the registers of the array."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ..isa.program import load
from ..isa.protection import bits_of_layer
from ..simulator.fault_run import FaultRun, run_reference
from ..simulator.sites import Site
from ..simulator.tiles import Tile, Tiles
from ..simulator.timing import os_tile_cycles
from .experiment import ColumnType, Experiment, Quantity, Row, Share
from .outcomes import outcome, output_hash

Execution = Literal["delta", "reference"]
_RUNS = 64  # fault-free runs that are kept


class Sampler:
    """Draws sites with the probability of their exposure: every flip-flop in every cycle of a tile.

    Copies of protected bits count, each for itself.
    """

    def __init__(self, tiles: Tiles) -> None:
        self.tiles, config = tiles, tiles.program.config
        self.array = config.array
        self.flat: list[Tile] = [tile for own in tiles.of.values() for tile in own]
        shifts = {index: tiles.network.layers[index].shift for index in tiles.of}
        self.bits = {index: bits_of_layer(config, shift) for index, shift in shifts.items()}
        self.cycles = [
            os_tile_cycles(tiles.depth(t), self.array.rows, self.array.cols) for t in self.flat
        ]
        exposed = [c * len(self.bits[t.layer]) for c, t in zip(self.cycles, self.flat, strict=True)]
        self.ends = np.cumsum(exposed)

    def draw(self, rng: np.random.Generator) -> Site:
        """One site."""
        index = int(np.searchsorted(self.ends, rng.integers(self.ends[-1]), side="right"))
        tile = self.flat[index]
        register, bit, copy = self.bits[tile.layer][rng.integers(len(self.bits[tile.layer]))]
        return Site(
            layer=self.tiles.network.layers[tile.layer].name,
            tile=tile.number,
            cycle=int(rng.integers(self.cycles[index])),
            row=int(rng.integers(self.array.rows)),
            col=int(rng.integers(self.array.cols)),
            register=register,
            bit=bit,
            copy=copy,
        )


class RegisterFaults(Experiment):
    """Each trial flips `flips` bits of the array during the inference of one image."""

    columns: ClassVar[Mapping[str, ColumnType]] = {
        "image": "int",
        "layer": "str",
        "tile": "int",
        "cycle": "int",
        "row": "int",
        "col": "int",
        "register": "str",
        "bit": "int",
        "copy": "int",
        "outcome": "str",
        "output_hash": "str",
        "sites": "str",
    }
    quantities: ClassVar[Sequence[Quantity]] = (
        Share("outcome", good=("masked", "changed"), classes=("masked", "changed", "sdc1", "sdc5")),
    )
    locations: ClassVar[frozenset[str]] = frozenset({"program", "images"})

    def __init__(
        self,
        program: Path,
        images: Path,
        seed: int,
        flips: int = 1,
        execution: Execution = "delta",
    ) -> None:
        """program : a program file of batch 1. images : npy, its inputs, int8 (n, h, w, c).

        execution : `delta` (exact corrections) or `reference` (every register stepped; slow).
        """
        self.program_path, self.images_path = Path(program), Path(images)
        self.seed, self.flips, self.execution = seed, flips, execution

    def spec(self) -> dict[str, Any]:
        """See `Experiment.spec`."""
        return {
            "program": str(self.program_path),
            "images": str(self.images_path),
            "program_digest": _digest(self.program_path),
            "images_digest": _digest(self.images_path),
            "seed": self.seed,
            "flips": self.flips,
            "execution": self.execution,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """See `Experiment.from_spec`."""
        paths = Path(spec["program"]), Path(spec["images"])
        return cls(*paths, spec["seed"], spec["flips"], spec["execution"])

    def run(self, indices: Sequence[int]) -> list[Row]:
        """See `Experiment.run`."""
        return [self._trial(index) for index in indices]

    def _trial(self, index: int) -> Row:
        rng = np.random.default_rng([self.seed, index])
        image = int(rng.integers(len(self._images)))
        sites = [self._sampler.draw(rng) for _ in range(self.flips)]
        run = self._run(image)
        if self.execution == "delta":
            result = run.run(sites)
            output, name = result.output, outcome(run.golden, result.output, result.masked)
        else:  # it knows the output, not where a difference ended
            output = run_reference(run.program, self._images[image], sites)
            same = (output == run.golden).all()
            name = outcome(run.golden, output, "somewhere" if same else None)
        first = sites[0]
        return {
            "index": index,
            "image": image,
            **{name: getattr(first, name) for name in list(self.columns)[1:9]},
            "outcome": name,
            "output_hash": output_hash(output),
            "sites": "; ".join(map(str, sites)),
        }

    @cached_property
    def _program(self) -> Any:
        return load(self.program_path)

    @cached_property
    def _images(self) -> NDArray[np.int8]:
        images: NDArray[np.int8] = np.load(self.images_path, allow_pickle=False)
        return images

    @cached_property
    def _sampler(self) -> Sampler:
        return Sampler(Tiles(self._program))

    @cached_property
    def _run(self) -> Any:
        return lru_cache(_RUNS)(lambda image: FaultRun(self._program, self._images[image]))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
