"""What a user asked `flexhyca inject` for, and the parts that all fault models need for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import Config, load_config
from ...errors import FlexhycaError
from .. import output
from ..busy import busy
from ..options import load_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...api import Build


def names(text: str | None, option: str) -> tuple[str, ...]:
    """What stands between the commas of an option; () where it is not given."""
    found = tuple(part.strip() for part in (text or "").split(",")) if text is not None else ()
    if not all(found):
        raise FlexhycaError(f"inject: --{option} {text!r} has an empty name between its commas")
    return found


@dataclass(frozen=True)
class Request:
    """The options that all fault models share; `own` holds those of one model, by name.

    out : the campaign's file. kept : it is the user's, and not one for this run only.
    """

    model: str
    config: str
    set_: Sequence[str]
    weights: Path | None
    data: Path | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    images: int | str | None
    trials: int | None
    out: Path | None
    workers: int
    dask: str | None
    margin: float | None
    json: str | None
    seed: int
    own: Mapping[str, Any]
    kept: bool = True

    @property
    def settings(self) -> Config:
        """The configuration."""
        return load_config(self.config, self.set_)

    @property
    def protected(self) -> Config:
        """The configuration under the one scheme of --scheme, for models that run one program."""
        schemes, protect = self.own["scheme"], self.own["protect"]
        if schemes is not None and len(schemes) > 1:
            raise FlexhycaError(
                f"inject: {len(schemes)} schemes are given; only --faults ber compares several"
            )
        return load_settings(
            self.config,
            self.set_,
            schemes[0] if schemes else None,
            ",".join(protect) if protect else None,
        )

    @property
    def file(self) -> Path:
        """The campaign's file."""
        assert self.out is not None
        return self.out

    @property
    def name(self) -> str | None:
        """The campaign's file in a report, if it is still there to be read."""
        return str(self.out) if self.kept else None

    def build(self) -> tuple[Build, NDArray[np.int8]]:
        """The compiled network and its quantised images (n, h, w, c)."""
        from ... import api

        with busy() as say:
            built = api.build(
                self.model,
                self.protected,
                weights=self.weights,
                data=self.data,
                mean=self.mean,
                std=self.std,
                seed=self.seed,
                say=say,
            )
        output.warn(built.warnings)
        if built.model is None or built.data is None:
            raise FlexhycaError(f"{self.model}: faults need images; give an npz with --data FILE")
        chosen = built.data.chosen(self.images)
        return built, api.quantise_images(built.model, built.network, chosen.images)
