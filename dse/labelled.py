"""What is protected: a model with images, split for their purposes, its results kept in a study."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..compiler.data import Dataset
from ..compiler.importance.ranking import Ranking, rank
from ..compiler.model import Model
from ..config import Config
from ..errors import FlexhycaError
from ..faults.ber.bench import one_thread
from ..faults.ber.options import BerOptions
from ..faults.campaign.lock import alone
from .evaluate import Workload, split_images
from .keys import key_of
from .results import Results, images_digest, model_digest, opened
from .study import Study
from .sweep import pack_ranking, unpack_ranking

_CALIBRATION = 256  # images
_FEWEST = 8  # of a purpose
_AHEAD = 16  # evaluations at once on a cluster


class LabelledModel(NamedTuple):
    """A model with labelled images. calibration : see `evaluate.split_images`."""

    model: Model
    data: Dataset
    calibration: Dataset | None


@dataclass(frozen=True)
class Kept:
    """Where results are kept, and who finds them out. study : None, in memory.

    reuse : studies whose results are taken. dask : a scheduler's address, instead of workers.
    """

    study: Path | None = None
    reuse: tuple[Path, ...] = ()
    workers: int = 1
    dask: str | None = None

    @property
    def at_once(self) -> int:
        """Evaluations that are worth beginning before the first of them is done."""
        return self.workers if self.dask is None else _AHEAD


@contextmanager
def working(
    subject: LabelledModel,
    base: Config,
    ber: BerOptions,
    seed: int,
    kept: Kept,
    identity: Mapping[str, str],
    request: Mapping[str, Any],
) -> Generator[Results, None, None]:
    """The results of a subject. identity : what the study is of besides; request : see `Study`.

    Raises FlexhycaError where the images are too few, have no labels, or belong to another study.
    """
    model, data, _ = subject
    if data.labels is None:
        raise FlexhycaError(f"data {data.name}: no labels, so there is no accuracy")
    own, searched, confirmed = split_images(data, subject.calibration, _CALIBRATION)
    if min(len(searched), len(confirmed)) < _FEWEST:
        raise FlexhycaError(
            f"data {data.name}: {len(data)} images leave {len(searched)} for the search and "
            f"{len(confirmed)} to confirm what it finds; give at least {5 * _FEWEST}"
        )
    parts = {"search": searched, "confirm": confirmed}
    with ExitStack() as stack:
        stack.enter_context(one_thread())  # short products: more threads wait for each other
        if kept.study is not None:
            stack.enter_context(alone(kept.study))
        common = {
            "model": f"{model.name} {model_digest(model)}",
            "calibration images": f"{len(own)}, {images_digest(own)}",
            **{
                f"{name} images": f"{len(part)}, {images_digest(part)}"
                for name, part in parts.items()
            },
            "machine": base.config_hash[:16],
            **{f"ber.{name}": str(value) for name, value in asdict(ber).items()},
        }
        study = stack.enter_context(Study(kept.study, {**common, **identity}, request))
        for other in kept.reuse:
            study.take_from(other)
        workload = Workload(model, own, parts, _ranking(study, model, own), base, ber, seed)
        yield stack.enter_context(opened(study, workload, kept.workers, kept.dask))


def _ranking(study: Study, model: Model, calibration: Dataset) -> Ranking:
    """Kept, because its last bits may depend on the machine that works it out."""
    own = {"model": model_digest(model), "images": images_digest(calibration)}
    key = key_of("ranking", own)
    content = study.find_bytes(key)
    if content is None:
        content = pack_ranking(rank(model, calibration.images, calibration.labels))
        study.add_bytes(key, content)
    return unpack_ranking(model.name, content)
