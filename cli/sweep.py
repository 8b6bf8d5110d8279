"""``flexhyca sweep``: cycles and traffic over a grid of configurations."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ..errors import ConfigError, FlexhycaError
from . import output
from .options import (
    DEFAULT_CONFIG,
    PLOT_SUFFIXES,
    BatchOption,
    ConfigOption,
    DataOption,
    JsonOption,
    MeanOption,
    ModelOrTopologyArgument,
    PlacementOption,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    WorkersOption,
    check_suffix,
)

if TYPE_CHECKING:
    from ..dse.grid import Grid, GridPoint
    from ..dse.sweep import Sweep
    from ..shape_source import ShapeSource

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca sweep resnet50 --placement clustered --vary protection.s_th=0.02..0.4 \\\n"
    "      --vary dppu.data_reuse=array,hybrid,hybrid_sram,dram --csv out.csv --workers 4\n"
    "  flexhyca sweep digits --csv out.csv --plot out.png \\\n"
    "      --vary 'protection.s_th=0.05,0.1,0.2 dppu.size=52,104,208'\n"
)

_NOTES = 5  # notes about points that are left out
_TABLE = ("total_cycles", "cycles_over_base", "extra_tables", "extra_operands", "extra_total")


def command(
    model: ModelOrTopologyArgument,
    vary: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUES",
            help="A field of the configuration (or placement) and its values: a list (a,b,c), a "
            "range (0.02..0.4, in steps of 1, 2 or 5 x 10^k that give at most 21 values), or a "
            "range with a step (0.02..0.4:0.01). Repeat it for a grid; several KEY=VALUES in one "
            "--vary change together.",
        ),
    ],
    csv: Annotated[Path, typer.Option(metavar="FILE", help="Write one row a point as CSV.")],
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    batch: BatchOption = 1,
    placement: PlacementOption = None,
    workers: WorkersOption = 1,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Leave out points that are not possible.")
    ] = False,
    study: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where runs are kept; default: the CSV's name + .db."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw extra traffic and cycles (.png, .svg or .pdf)."),
    ] = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Cycles, stalls and DRAM traffic of MODEL on every configuration of a grid.

    Each point is compared with its own machine without DPPU and important neurons: extra traffic,
    split by its cause, over the bytes of the weights, and cycles. All points are checked before the
    first one runs. Runs are kept in a study beside the CSV: after an interruption the same command
    goes on, and a larger grid computes only what is new. Delete that file to start again.
    """
    from .. import api
    from ..compiler.frontends.topology import is_topology
    from ..dse.grid import PLACEMENT, expand, parse_axis
    from ..shape_source import ShapeSource

    study = study or csv.parent / f"{csv.name}.db"
    if str(csv) == output.STDOUT:
        raise typer.BadParameter(
            "must be a file of its own; runs are kept beside it", param_hint="--csv"
        )
    output.check_target(csv, json, files=[plot], studies=[study])
    placements = get_args(api.Placement)
    axes = [parse_axis(text, placements) for text in vary]
    if placement is not None and any(PLACEMENT in axis.keys for axis in axes):
        raise ConfigError("--placement and --vary placement: drop one of the two")
    default = placement or ("clustered" if is_topology(model) else "gradient")
    grid = expand(config, set_ or (), axes, default)
    _report_invalid(grid, skip_invalid)
    _check_plot(plot, grid.points)
    source = ShapeSource(model, weights, data, (mean, std), batch, seed, output.warn)
    result = _sweep(source, grid, study, workers, skip_invalid)
    rows = [{key: _plain(value) for key, value in row.items()} for row in result["points"]]
    output.write_text(csv, output.csv_text(list(rows[0]), rows))
    if plot is not None:
        output.write_file(plot, lambda path: _draw(path, result))
    output.write_json(json, result)
    if json != output.STDOUT:
        _show(result, csv)


def _sweep(
    source: ShapeSource, grid: Grid, path: Path, workers: int, skip_invalid: bool
) -> dict[str, Any]:
    """Run what the study lacks, and gather the rows of all points."""
    from ..dse.study import Study
    from ..dse.sweep import Sweep

    with Study(
        path, source.identity, what="a study of `flexhyca sweep`", option="--csv or --study"
    ) as study:
        sweep = Sweep(
            source.subject,
            grid.points,
            study,
            source.names(point.placement for point in grid.points),
            source.seed,
            source.rank,
        )
        try:
            _run(sweep, path, workers, skip_invalid)
        except KeyboardInterrupt:
            output.note(
                f"interrupted: {sweep.kept} of {len(sweep.jobs)} runs are kept in {path}; "
                "run the same command again to go on"
            )
            raise typer.Exit(130) from None
        problems = [(i, sweep.problem(i)) for i in range(len(grid.points))]
        skipped = [*grid.invalid, *((grid.points[i].label, why) for i, why in problems if why)]
        left_out = skipped[len(grid.invalid) :]
        if len(left_out) == len(grid.points):
            label, why = left_out[0]
            raise FlexhycaError(f"no point of the grid is possible; the first, {label}: {why}")
        _note_left_out(left_out)
        points = [sweep.row(i) for i, why in problems if why is None]
    first = grid.points[0].config
    return {
        "model": source.network.name,
        "config": first.name,
        "batch": source.batch,
        "weight_bytes": source.subject.weight_bytes,
        "varied": list(grid.points[0].varied),
        "points": points,
        "skipped": [{"point": label, "error": why} for label, why in skipped],
    }


def _run(sweep: Sweep, path: Path, workers: int, skip_invalid: bool) -> None:
    """Do the missing runs; without `skip_invalid` the first that is not possible ends it."""
    if not skip_invalid:
        _refuse_impossible(sweep)
    missing = sweep.missing
    if missing and sweep.costs:
        output.note(
            f"{path}: {len(sweep.costs)} of {len(sweep.jobs)} runs are there, {len(missing)} to do"
        )
    if missing:
        with (
            output.progress("runs", len(missing)) as step,
            closing(sweep.run(workers)) as runs,
        ):
            for cost in runs:
                step(1)
                if "error" in cost and not skip_invalid:
                    _refuse_impossible(sweep)


def _refuse_impossible(sweep: Sweep) -> None:
    """Raise for the first point that is known to be impossible."""
    for index, point in enumerate(sweep.points):
        why = sweep.problem(index)
        if why is not None:
            raise FlexhycaError(
                f"grid point {point.label}: {why}; --skip-invalid leaves such points out"
            )


def _report_invalid(grid: Grid, skip_invalid: bool) -> None:
    """Before anything runs: an error that names the first impossible point, or notes."""
    if not grid.invalid:
        return
    if skip_invalid:
        _note_left_out(grid.invalid)
        return
    label, why = grid.invalid[0]
    count = len(grid.invalid)
    raise ConfigError(
        f"grid point {label}: {why} ({count} of {len(grid.points) + count} points are not "
        "possible; --skip-invalid leaves them out)"
    )


def _note_left_out(points: list[tuple[str, str]]) -> None:
    for label, why in points[:_NOTES]:
        output.note(f"left out {label}: {why}")
    if len(points) > _NOTES:
        output.note(f"left out {len(points) - _NOTES} more points")


def _check_plot(path: Path | None, points: list[GridPoint]) -> None:
    if path is None:
        return
    check_suffix("--plot", path, *PLOT_SUFFIXES)
    if _axis([point.varied for point in points]) is None:
        raise ConfigError("--plot needs a number to draw against; no --vary has one")


def _axis(points: list[dict[str, Any]]) -> str | None:
    """The varied number with the most values."""
    values = {
        key: {point[key] for point in points}
        for key, value in points[0].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return max(values, key=lambda key: len(values[key]), default=None)


def _plain(value: object) -> object:
    """true and false as a configuration has them."""
    return str(value).lower() if isinstance(value, bool) else value


def _draw(path: Path, result: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    points, varied = result["points"], result["varied"]
    x = _axis([{key: point[key] for key in varied} for point in points])
    assert x is not None  # _check_plot
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        name = " ".join(str(_plain(point[key])) for key in varied if key != x)
        lines.setdefault(name, []).append(point)
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2),
        ("extra_total", "cycles_over_base"),
        ("extra DRAM traffic / weight bytes", "cycles / cycles of the unprotected machine"),
        strict=True,
    ):
        for name, line in lines.items():
            ordered = sorted(line, key=lambda point: point[x])
            axes.plot([p[x] for p in ordered], [p[column] for p in ordered], ".-", label=name)
        axes.set_xlabel(x)
        axes.set_title(title)
        axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend()
    figure.suptitle(f"{result['model']} on {result['config']}")
    figure.savefig(path, dpi=150)


def _show(result: dict[str, Any], csv: Path) -> None:
    columns = (*result["varied"], *_TABLE)
    print(f"{result['model']} on {result['config']}, {result['weight_bytes']:,} bytes of weights")
    output.print_table(
        columns, ([_plain(point[column]) for column in columns] for point in result["points"])
    )
    print(f"{csv}: {len(result['points'])} points")
