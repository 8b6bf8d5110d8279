"""The programs of one network under several configurations, as files for a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.compile_network import compile_network
from ...compiler.data import Dataset, quantise_input
from ...compiler.importance.ranking import Ranking, important_neurons, rank
from ...compiler.model import Model
from ...compiler.quantise.quantiser import quantise_model
from ...config import Config
from ...errors import FlexhycaError
from ...isa.program import Program
from ...isa.program_file import save
from ...network.layers import Network


class ProgramSet:
    """A model with labelled images, quantised and ranked once for all schemes that need it.

    paths, inputs : files of the programs, and of the images as each of them takes them. labels :
    the images' classes, a file.
    """

    def __init__(self, model: Model, data: Dataset, calibration: Dataset, folder: Path) -> None:
        """data : images that are inferred, with labels. calibration : what to quantise and rank on.

        Raises FlexhycaError where there are no labels.
        """
        if data.labels is None:
            raise FlexhycaError(
                f"data {data.name}: no labels, so there is no accuracy; "
                "give an npz with images and labels"
            )
        self.model, self._data, self._calibration = model, data, calibration
        self._folder = folder
        self._networks: dict[tuple[Any, int], Network] = {}
        self._ranking: Ranking | None = None
        self._known: dict[str, int] = {}
        self.first: Program  # of `number` 0; the others are in their files only
        self.paths: list[Path] = []
        self.inputs: list[Path] = []
        self.labels = self._kept("labels.npy", data.labels)

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self._data)

    def number(self, config: Config) -> int:
        """The program of a configuration: its place in `paths` and `inputs`."""
        if config.config_hash not in self._known:
            network = self._quantised(config)
            important = None
            if config.protection.s_th > 0:
                if self._ranking is None:
                    self._ranking = rank(
                        self.model, self._calibration.images, self._calibration.labels
                    )
                important = important_neurons(self._ranking, network, config)
            number = self._known[config.config_hash] = len(self.paths)
            program = compile_network(network, config, important)
            if not number:
                self.first = program
            self.paths.append(self._folder / f"{number}.fhx")
            save(program, self.paths[-1])
            scale, bits = network.tensors[network.input].scale, network.arithmetic.act_bits
            inputs = quantise_input(self._data.images, self.model, scale, bits)
            self.inputs.append(self._kept(f"{number}.npy", inputs))
        return self._known[config.config_hash]

    def _quantised(self, config: Config) -> Network:
        key = config.arithmetic, config.protection.q_scale
        if key not in self._networks:
            self._networks[key] = quantise_model(
                self.model,
                self._calibration.images,
                arithmetic=config.arithmetic,
                q_scale=config.protection.q_scale,
            )
        return self._networks[key]

    def _kept(self, name: str, array: NDArray[np.generic]) -> Path:
        np.save(self._folder / name, array, allow_pickle=False)
        return self._folder / name
