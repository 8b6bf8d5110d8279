"""The programs of one network under several configurations, as files for a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import Config
from ...errors import FlexhycaError
from .. import output
from .request import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...compiler.importance.ranking import Ranking
    from ...isa.program import Program
    from ...network.layers import Network


class Kit:
    """MODEL with its labelled images, quantised and ranked once for all schemes that need it."""

    def __init__(self, request: Request, folder: Path) -> None:
        from ... import api

        self._seed, self._folder = request.seed, folder
        self.model = api.load_model(
            request.model,
            request.weights,
            seed=request.seed,
            mean=request.mean,
            std=request.std,
        )
        output.warn(self.model.warnings)
        if request.data is None and not api.has_images(request.model):
            raise FlexhycaError(
                f"{request.model}: faults need images; give an npz with --data FILE"
            )
        self._data = api.load_data(self.model, request.data)
        self._chosen = self._data[: request.images]
        if self._chosen.labels is None:
            raise FlexhycaError(
                f"data {self._data.name}: no labels, so there is no accuracy; "
                "give an npz with images and labels"
            )
        self._networks: dict[tuple[Any, int], Network] = {}
        self._ranking: Ranking | None = None
        self._known: dict[str, int] = {}
        self.first: Program  # of `number` 0; the others are in their files only
        self.paths: list[Path] = []
        self.images: list[Path] = []
        self.labels = self._kept("labels.npy", self._chosen.labels)

    @property
    def count(self) -> int:
        """Images."""
        return len(self._chosen)

    def number(self, config: Config) -> int:
        """The program of a configuration: its place in `paths` and `images`."""
        from ... import api
        from ...isa.program_file import save

        if config.config_hash not in self._known:
            key = config.arithmetic, config.protection.q_scale
            if key not in self._networks:
                self._networks[key] = api.quantize(self.model, config, self._data, seed=self._seed)
            network, important = self._networks[key], None
            if config.protection.s_th > 0:
                if self._ranking is None:
                    self._ranking = api.rank_neurons(self.model, self._data, seed=self._seed)
                important = api.select_important(self._ranking, network, config)
            number = self._known[config.config_hash] = len(self.paths)
            program = api.compile(network, config, important)
            if not number:
                self.first = program
            self.paths.append(self._folder / f"{number}.fhx")
            save(program, self.paths[-1])
            inputs = api.quantize_images(self.model, network, self._chosen.images)
            self.images.append(self._kept(f"{number}.npy", inputs))
        return self._known[config.config_hash]

    def _kept(self, name: str, array: NDArray[np.generic]) -> Path:
        import numpy as np

        np.save(self._folder / name, array, allow_pickle=False)
        return self._folder / name
