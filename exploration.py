"""Explorations in one call each: the cheapest design of a space, schemes side by side, bits.

`api` is the flow of one machine; here many machines are tried, and what comes back are tables.  The
commands call these functions, or what is in `dse` for progress and resuming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import api
from .config import Config
from .errors import ConfigError, ModelError
from .given.arguments import Amount, Batch, Seed, Workers, checked_arguments

if TYPE_CHECKING:
    import pandas as pd

    from .dse.bits import BitChoice, TriedBits
    from .dse.compare import CompareRequest, PhaseProgress, SideBySide
    from .dse.labelled import Kept, LabelledModel
    from .dse.request import SearchRequest

__all__ = [
    "CompareResult",
    "SearchResult",
    "bits",
    "compare",
    "compared",
    "labelled_images",
    "optimise",
    "requested_images",
]


@checked_arguments
def labelled_images(
    name: str,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    images: int | str | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: Seed = 0,
) -> LabelledModel:
    """A model, the images that are inferred, and those of its own that it is calibrated on, if any.

    images : a part of them, see `Dataset.chosen`. Raises ModelError where there are no images.
    """
    from .dse.labelled import LabelledModel

    model = api.load_model(name, weights, seed=seed, mean=mean, std=std)
    if data is None and not api.has_images(name):
        raise ModelError(f"{name}: faults need images; give an npz with --data FILE")
    found = api.load_data(model, data).chosen(images)
    own = api.calibration_data(model) if api.has_images(name) and data is None else None
    return LabelledModel(model, found, own)


def requested_images(request: SearchRequest) -> LabelledModel:
    """The model and the images that a search asks for."""
    return labelled_images(
        request.model,
        request.weights,
        request.data,
        request.images,
        mean=request.mean,
        std=request.std,
        seed=request.options.seed,
    )


@checked_arguments
def bits(
    model: str,
    config: str | Path = "flexhyca-32x32",
    *,
    changes: Sequence[str] = (),
    weights: str | Path | None = None,
    data: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    images: int | str | None = None,
    ber: float = 1e-4,
    goal: float = 0.97,
    patterns: Amount = 100,
    prune: bool = True,
    workers: Workers = 1,
    dask: str | None = None,
    study: str | Path | None = None,
    seed: Seed = 0,
    say: Callable[[TriedBits], object] = lambda tried: None,
) -> BitChoice:
    """The cheapest ib_th and nb_th with an accuracy above goal x acc0 (paper, Algorithm 2).

    changes : of the configuration, "key.path=value". patterns : of wrong bits, for each pair.
    say : told of each pair that was evaluated. Raises ConfigError where a value is impossible.
    """
    from .config import load_config
    from .config.search import goal_of
    from .dse.bits import choose_bits, pairs_of
    from .dse.evaluate import BLOCK
    from .dse.labelled import working
    from .faults.ber.options import BerOptions

    wanted = goal_of(ber, goal)
    if patterns % BLOCK:
        raise ConfigError(f"patterns {patterns}: give a multiple of {BLOCK}")
    base = load_config(config, changes)
    pairs = pairs_of(base, base.arithmetic.act_bits)
    given = labelled_images(model, weights, data, images, mean=mean, std=std, seed=seed)
    kept = _kept(study, (), workers, dask)
    with working(given, base, BerOptions(), seed, kept, {"search": "bits"}, {}) as results:
        return choose_bits(base, wanted, pairs, results, patterns, prune, say)


def _kept(
    study: str | Path | None,
    reuse: Sequence[str | Path],
    workers: int,
    dask: str | None = None,
) -> Kept:
    from .dse.labelled import Kept

    return Kept(None if study is None else Path(study), tuple(map(Path, reuse)), workers, dask)


@dataclass(frozen=True)
class SearchResult:
    """What a search found. report : everything, as `flexhyca optimise --json` has it.

    evaluations : a row each. config : the winner's machine; None where none is confirmed.
    """

    report: Mapping[str, Any]
    evaluations: pd.DataFrame
    config: Config | None


@checked_arguments
def optimise(
    model: str,
    config: str | Path = "flexhyca-32x32",
    *,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    images: int | str | None = None,
    space: str | Path = "full",
    scenario: str = "own",
    bers: Sequence[float] = (),
    goals: Sequence[float] = (),
    limits: Mapping[str, float | str | None] | None = None,
    optimiser: str = "gpyopt",
    budget: Amount = 40,
    patterns: Amount = 60,
    front: Sequence[str] = (),
    these_images: bool = False,
    workers: Workers = 1,
    study: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
    seed: Seed = 0,
) -> SearchResult:
    """The cheapest design of a space that keeps accuracy, time and traffic (paper, Equation 2).

    The options are those of `flexhyca optimise`, which its help explains. Raises ConfigError where
    no design keeps to the limits or a value is impossible.
    """
    import pandas as pd

    from .dse.request import SearchRequest, run_search
    from .dse.search.evaluation import Options
    from .report.search import evaluation_rows, report

    own = Options(
        optimiser=optimiser,
        budget=budget,
        patterns=patterns,
        front=tuple(front),
        these_images=these_images,
        seed=seed,
    )
    request = SearchRequest(
        model,
        str(config),
        space=str(space),
        scenario=scenario,
        bers=tuple(bers),
        goals=tuple(goals),
        limits=dict(limits or {}),
        options=own,
        weights=None if weights is None else str(weights),
        data=None if data is None else str(data),
        images=images,
    )
    found = run_search(request, requested_images(request), _kept(study, reuse, workers))
    result, winner = report(found), found.best.winner
    frame = pd.DataFrame(evaluation_rows(result))
    return SearchResult(result, frame, winner.point.config if winner else None)


def compared(
    request: CompareRequest,
    kept: Kept,
    accuracy: bool = True,
    progress: PhaseProgress | None = None,
    note: Callable[[str], object] = lambda message: None,
) -> SideBySide:
    """Machines side by side; of a network without images, or a topology, time and area alone.

    note : told what the user should read. Raises FlexhycaError where something that is asked for
    is impossible, before anything is computed.
    """
    from .compiler.shapes import shapes_of
    from .config import Arithmetic
    from .dse.compare import check_layers, plan_of, side_by_side, silent
    from .dse.labelled import working
    from .dse.sweep import Subject
    from .shape_source import ShapeSource

    asked, seed, progress = request.search, request.search.options.seed, progress or silent
    plan = plan_of(request, accuracy)

    def warn(messages: Iterable[str]) -> None:
        for message in messages:
            note(f"warning: {message}")

    if accuracy and (why := _no_accuracy(asked)):
        note(f"{asked.model}: {why}: only time, traffic and area are compared")
        accuracy = False
    if not accuracy:
        weights, data = (name and Path(name) for name in (asked.weights, asked.data))
        norm = asked.mean, asked.std
        source = ShapeSource(
            asked.model, weights or None, data or None, norm, request.batch, seed, warn
        )
        check_layers(plan, source.subject)
        place = request.placement or ("gradient" if source.model is not None else "clustered")
        ranking = partial(source.rank, place)
        return side_by_side(plan, source.subject, ranking, place, kept.workers, progress=progress)
    if request.placement not in (None, "gradient"):
        raise ConfigError(
            f"placement {request.placement}: accuracy is that of important neurons by gradient; "
            "leave it out, or give --no-accuracy"
        )
    given = requested_images(asked)
    warn(given.model.warnings)
    subject = Subject.of(shapes_of(given.model, Arithmetic()), request.batch)
    check_layers(plan, subject)
    own = {"search": "compare"}
    with working(given, plan.settings, asked.ber, seed, kept, own, {}) as results:
        return side_by_side(
            plan,
            subject,
            lambda: results.workload.ranking,
            "gradient",
            kept.workers,
            results,
            progress,
        )


def _no_accuracy(asked: SearchRequest) -> str:
    """Why a model has no accuracy; empty if it has one."""
    from .compiler.frontends.topology import is_topology

    if is_topology(asked.model):
        return "a topology has no values"
    if asked.data is None and not api.has_images(asked.model):
        return "there are no images (give an npz with --data FILE)"
    return ""


@dataclass(frozen=True)
class CompareResult:
    """Machines side by side. report : everything, as `flexhyca compare --json` has it.

    rows : one a machine, flat, as its CSV has them.
    """

    report: Mapping[str, Any]
    rows: pd.DataFrame


@checked_arguments
def compare(
    model: str,
    config: str | Path = "flexhyca-32x32",
    *,
    changes: Sequence[str] = (),
    schemes: Sequence[str] | None = None,
    designs: Sequence[str | Path] = (),
    protect: Sequence[str] = (),
    accuracy: bool = True,
    scenario: str = "own",
    bers: Sequence[float] = (),
    goals: Sequence[float] = (),
    rates: tuple[float, float] | None = None,
    limits: Mapping[str, float | str | None] | None = None,
    patterns: Amount = 200,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    images: int | str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch: Batch = 1,
    placement: api.Placement | None = None,
    workers: Workers = 1,
    study: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
    seed: Seed = 0,
    progress: PhaseProgress | None = None,
    note: Callable[[str], object] = lambda message: None,
) -> CompareResult:
    """Protection schemes (all of them, unless they are named) and designs side by side.

    The options are those of `flexhyca compare`, which its help explains. designs : configurations
    by name or file. note : told what you should read. Raises FlexhycaError where a value is
    impossible; a scheme that is impossible on this machine is a row with a reason.
    """
    import pandas as pd

    from .config.schemes import SCHEMES
    from .dse.compare import CompareRequest
    from .dse.request import SearchRequest
    from .dse.search.evaluation import Options
    from .report.compare import comparison_report, comparison_rows

    search = SearchRequest(
        model,
        str(config),
        tuple(changes),
        scenario=scenario,
        bers=tuple(bers),
        goals=tuple(goals),
        rates=rates,
        limits=dict(limits or {}),
        options=Options(patterns=patterns, seed=seed),
        weights=None if weights is None else str(weights),
        data=None if data is None else str(data),
        images=images,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )
    request = CompareRequest(
        search,
        tuple(SCHEMES if schemes is None else schemes),
        tuple(map(str, designs)),
        tuple(protect),
        placement,
        batch,
    )
    kept = _kept(study, reuse, workers)
    result = comparison_report(compared(request, kept, accuracy, progress, note))
    return CompareResult(result, pd.DataFrame(comparison_rows(result)))
