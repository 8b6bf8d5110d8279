"""The network of an exploration that only times: its shapes and the rankings of its neurons."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from . import api
from .errors import ModelError
from .files import reading

if TYPE_CHECKING:
    from .compiler.importance.ranking import Ranking
    from .compiler.model import Model
    from .dse.sweep import Subject


class ShapeSource:
    """MODEL with its weights and data: its shapes, its identity in a study, its rankings."""

    def __init__(
        self,
        name: str,
        weights: Path | None,
        data: Path | None,
        norm: tuple[Sequence[float] | None, Sequence[float] | None],
        batch: int,
        seed: int,
        warn: Callable[[Iterable[str]], object],
    ) -> None:
        """norm : mean and std. warn : told what the user should read."""
        from .compiler.frontends.topology import is_topology, network_of, read_topology
        from .compiler.model import is_onnx
        from .compiler.networks import NETWORKS
        from .compiler.shapes import shapes_of
        from .config import Arithmetic
        from .dse.keys import CODE
        from .dse.sweep import Subject
        from .sources import code_digest

        self.batch, self.seed, self._warn = batch, seed, warn
        self.model = self.data = None
        if is_topology(name):
            if not all(v is None for v in (weights, data, *norm)):
                raise ModelError(
                    f"topology {name}: shapes only; leave out weights, data, mean and std"
                )
            self.network = network_of(read_topology(name), Path(name).stem, Arithmetic())
            origin = "none"
        else:
            self.model = api.load_model(name, weights, seed=seed, mean=norm[0], std=norm[1])
            if data is not None or api.has_images(name):
                self.data = api.load_data(self.model, data)
            self.network = shapes_of(self.model, Arithmetic())
            if is_onnx(name):
                origin = _weights_digest(self.model)
            else:
                path = weights or NETWORKS[name].weights_path
                origin = "random" if path is None else _digest(reading(path).read_bytes())
            if norm != (None, None):
                origin += f" mean {self.model.mean} std {self.model.std}"
        self.subject: Subject = Subject.of(self.network, batch)
        #: What all runs of a study have in common.
        self.identity = {
            "model": self.network.name,
            "layers": self.subject.digest[:12],
            "weights": origin,
            "batch": str(batch),
            "version of flexhyca": code_digest(*CODE["timing"])[:12],
        }

    def names(self, placements: Iterable[str]) -> dict[str, str]:
        """Placements and their names in a study, which tell measured ones apart."""
        names = {placement: placement for placement in placements}
        if self.model is not None and "gradient" in names:
            data = api.calibration_data(self.model, self.data, seed=self.seed)
            labels = b"" if data.labels is None else data.labels.tobytes()
            names["gradient"] += f" on data {_digest(data.images.tobytes() + labels)}"
        return names

    def rank(self, placement: str) -> Ranking:
        """The ranking of a placement, and what is to be said about it."""
        if self.model is None or placement != "gradient":
            named = cast("api.Placement", placement)
            return api.place_neurons(self.network, named, seed=self.seed)
        self._warn(self.model.warnings)
        if self.data is None:
            self._warn(
                [
                    f"{self.model.name}: no images given, so important neurons are ranked on noise "
                    "and mean nothing; give --data FILE, or --placement clustered"
                ]
            )
        return api.rank_neurons(self.model, self.data, seed=self.seed)


def _weights_digest(model: Model) -> str:
    """Of all numbers in the model's layers: an ONNX file may keep them in other files."""
    digest = hashlib.sha256()
    for node in model.graph.nodes:
        for title, array in sorted(node.params.items()):
            digest.update(f"{node.name} {title} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:12]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
