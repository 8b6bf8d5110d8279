"""``flexhyca optimise``: the cheapest design of a space that keeps its goals."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FlexhycaError
from ..faults.campaign.lock import check_free
from . import output
from .options import (
    DEFAULT_CONFIG,
    MOST_COUNT,
    PLOT_SUFFIXES,
    ConfigOption,
    DaskOption,
    DataOption,
    GoalsOption,
    ImagesOption,
    JsonOption,
    LimitOption,
    MeanOption,
    OwnRatesOption,
    RatesOption,
    ReuseOption,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    check_suffix,
    check_workers,
    is_given,
    limits_of,
    rate_pair,
    refuse_beside,
    refuse_beside_rates,
    split_names,
)

if TYPE_CHECKING:
    from ..dse.request import Events, Found, SearchRequest

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca optimise digits\n"
    '  flexhyca optimise digits --space table1 --scenario "II\'" --out best.yaml\n'
    "  flexhyca optimise resnet20 --weights w.npz --data images.npz --space paper \\\n"
    "      --scenario both --budget 40 --workers 2 --study s.db --out best.yaml\n"
    "  flexhyca optimise --resume s.db\n"
    "  flexhyca optimise digits --ber 1e-3,2e-3 --goal 0.99,0.97 --limit traffic=0.2\n"
    "  flexhyca optimise digits --front accuracy,area --plot front.png\n"
)


def command(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="A model (see `flexhyca models`) or an ONNX file (.onnx)."
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    images: ImagesOption = None,
    space: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="What may be chosen: paper (Table I and Dot_size 52), table1 (its grid alone), "
            "full (paper, and machines without a DPPU), or a YAML file of parameters, scenarios "
            "and limits.",
        ),
    ] = "full",
    scenario: Annotated[
        str,
        typer.Option(
            help="Goals: I or II (0.97 of acc0 at 1e-4, 0.95 at 2e-4), both (each, then one "
            "design for both); I', II' or own: the same goals at the network's own rates, which "
            "cost it 10 to 40 points without protection; or a scenario of the --space file.",
        ),
    ] = "own",
    ber: RatesOption = None,
    goal: GoalsOption = None,
    own_rates: OwnRatesOption = None,
    limit: LimitOption = None,
    optimiser: Annotated[
        str, typer.Option(help="Who chooses what to evaluate next; see --list-optimisers.")
    ] = "gpyopt",
    list_optimisers: Annotated[
        bool, typer.Option("--list-optimisers", help="Say what there is, and exit.")
    ] = False,
    list_parameters: Annotated[
        bool,
        typer.Option("--list-parameters", help="Say which fields a space may have, and exit."),
    ] = False,
    budget: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_COUNT,
            metavar="N",
            help="Evaluations of accuracy in a search, at most.",
        ),
    ] = 40,
    patterns: Annotated[
        int,
        typer.Option(
            min=10,
            max=MOST_COUNT,
            metavar="N",
            help="Patterns of wrong bits of an evaluation, at most; tens.",
        ),
    ] = 60,
    no_prune: Annotated[
        bool,
        typer.Option(
            "--no-prune",
            help="Evaluate also what protects less than something that misses, or is dearer than "
            "something that seems to do; not what is dearer than a confirmed design.",
        ),
    ] = False,
    these_images: Annotated[
        bool,
        typer.Option(
            "--these-images",
            help="Confirm for the images of the confirmation alone. Otherwise for such images in "
            "general, of which they are a sample: that takes many images.",
        ),
    ] = False,
    front: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="A Pareto set instead of one design: accuracy,area and perhaps cycles,traffic.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            metavar="N",
            help="Processes. With several, which designs are evaluated depends on which answers "
            "come first, and so may the winner; what is known of each does not.",
        ),
    ] = 1,
    dask: DaskOption = None,
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.db",
            help="Keep everything that is evaluated, and go on where a run before stopped.",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FILE.db", help="Go on with a study as it was asked for."),
    ] = None,
    reuse: ReuseOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="Write the winner as a configuration for `flexhyca simulate --config`, with its "
            "evidence in comments.",
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write one row an evaluation.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw accuracy over area of all that was evaluated (Fig. 15)."
        ),
    ] = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Find the cheapest design of a space that keeps accuracy under faults, time and traffic.

    Area, cycles and traffic of every design are worked out first. The optimiser then evaluates
    designs on patterns of wrong bits, and the cheapest that seems to do is confirmed on patterns
    and images that the search never saw, or the next one is.
    """
    if list_optimisers or list_parameters:
        _list_optimisers() if list_optimisers else _list_parameters()
        return
    check_suffix("--out", out, ".yaml", ".yml")
    refuse_beside_rates(context)
    if front:
        refuse_beside(context, ("out",), "a Pareto set (--front) has no winner")
        refuse_beside(context, ("optimiser",), "a Pareto set (--front) has its own")
    check_suffix("--csv", csv, ".csv")
    check_suffix("--plot", plot, *PLOT_SUFFIXES)
    if resume is not None:
        refuse_beside(context, _ASKED, "--resume takes it from the study")
        request, study = _resumed(resume, budget if is_given(context, "budget") else None), resume
    elif model is None:
        raise FlexhycaError("give a MODEL, such as digits, or --resume FILE.db")
    else:
        request = _request(dict(context.params))
    output.check_target(out, csv, json, files=[plot], studies=[study] if study else [])
    if study is not None:
        check_free(study)
    found = _run(request, study, workers, dask, reuse or [])
    _write(found, out, csv, plot, json, shlex.join(["flexhyca", *sys.argv[1:]]))


#: Options that --resume takes its values of from the study.
_ASKED = (
    *("model", "config", "set_", "weights", "data", "mean", "std", "images", "space", "scenario"),
    *("ber", "goal", "own_rates", "limit", "optimiser", "patterns", "no_prune", "front"),
    *("these_images", "seed"),
    "study",
)


def _list_optimisers() -> None:
    from ..dse.search.optimisers import OPTIMISERS

    output.print_table(("optimiser", "what it does"), [(n, o.what) for n, o in OPTIMISERS.items()])


def _list_parameters() -> None:
    from ..dse.space import PARAMETERS

    sides = {1: "rises", 0: "", -1: "falls"}
    output.print_table(
        ("field", "in the paper", "with it accuracy", "and area"),
        [
            (row.name, row.paper, sides[row.accuracy], sides[row.area])
            for row in PARAMETERS.values()
        ],
    )


def _resumed(path: Path, budget: int | None) -> SearchRequest:
    from ..dse.request import SearchRequest
    from ..dse.study import Study

    what = "a study of `flexhyca optimise`"
    with Study(path, None, what=what, option="--resume") as study, study.reading("its request"):
        request = SearchRequest.from_dict(study.request)
    if budget is None:
        return request
    return replace(request, options=replace(request.options, budget=budget))


def _request(given: dict[str, Any]) -> SearchRequest:
    from ..dse.request import SearchRequest
    from ..dse.search.evaluation import Options

    weights, data = (
        given[name] and str(Path(given[name]).absolute()) for name in ("weights", "data")
    )
    return SearchRequest(
        model=_absolute(given["model"]),
        config=_absolute(given["config"]),
        space=_absolute(given["space"]),
        weights=weights,
        data=data,
        changes=tuple(given["set_"] or ()),
        scenario=given["scenario"],
        bers=tuple(given["ber"] or ()),
        goals=tuple(given["goal"] or ()),
        rates=rate_pair(given["own_rates"]),
        limits=limits_of(given["limit"]),
        options=Options(
            optimiser=given["optimiser"],
            budget=given["budget"],
            patterns=given["patterns"],
            prune=not given["no_prune"],
            these_images=given["these_images"],
            seed=given["seed"],
            front=tuple(split_names(given["front"])),
        ),
        images=given["images"],
        mean=given["mean"],
        std=given["std"],
    )


def _absolute(name: str) -> str:
    """A file by its full path, so that the study can be resumed from elsewhere."""
    return str(Path(name).absolute()) if Path(name).is_file() else name


def _run(
    request: SearchRequest, study: Path | None, workers: int, dask: str | None, reuse: list[Path]
) -> Found:
    from .. import exploration
    from ..dse.labelled import Kept
    from ..dse.request import run_search

    check_workers("optimise", workers, dask)
    try:
        subject = exploration.requested_images(request)
        output.warn(subject.model.warnings)
        with _progress() as events:
            return run_search(request, subject, Kept(study, tuple(reuse), workers, dask), events)
    except KeyboardInterrupt:
        kept = f"what is evaluated is kept in {study}; " if study else ""
        more = f"flexhyca optimise --resume {study} goes on" if study else "give --study to keep it"
        output.note(f"interrupted: {kept}{more}")
        raise typer.Exit(130) from None


@contextmanager
def _progress() -> Iterator[Events]:
    """One line on a terminal: what is evaluated, the best so far, time; nothing elsewhere."""
    from ..dse.request import Events

    if not sys.stderr.isatty():
        yield Events()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("calibrating", total=None)

        class Shown(Events):
            name = ""

            def stage(self, what: str, done: int, total: int) -> None:
                bar.update(task, description=f"{what}: {done:,} of {total:,}")

            def problem(self, name: str, number: int, total: int) -> None:
                self.name = f"{number}/{total} {name}"

            def searched(self, done: int, what: str) -> None:
                bar.update(task, description=f"{self.name}: {done} evaluations, {what}")

        yield Shown()


def _write(
    found: Found,
    out: Path | None,
    csv: Path | None,
    plot: Path | None,
    json: str | None,
    line: str,
) -> None:
    from ..report.search import evaluation_rows, report, winner_yaml

    result = report(found)
    best = result["best"]
    if out is not None and best is not None:
        output.write_text(out, winner_yaml(found, line))
    if csv is not None:
        rows = evaluation_rows(result)
        output.write_text(csv, output.csv_text(list(rows[0]), rows))
    if plot is not None:
        from ..report.search_plots import draw_search

        title = f"{result['model']}, space {result['space']}"
        output.write_file(plot, lambda path: draw_search(path, title, evaluation_rows(result)))
    output.write_json(json, result)
    if json != output.STDOUT:
        _show(result)
    if not found.request.options.front and best is None:
        raise FlexhycaError(_nothing(found))


_BUDGET = ", or a larger --budget"


def _nothing(found: Found) -> str:
    """Why no design is confirmed, and what comes nearest."""
    outcome = found.best
    closest = outcome.confirmation.closest if outcome.confirmation else None
    if closest is None:
        seen = min(outcome.searched, key=lambda own: own.observation.ratio)
        return (
            f"{outcome.problem.name}: no design is accurate enough; the best of "
            f"{len(outcome.searched)} that were evaluated loses {seen.observation.ratio:.2f} times "
            "what is allowed; take a larger space or a lower goal" + _BUDGET * (outcome.cut > 0)
        )
    worst = min(closest.judgements, key=lambda own: own.margin.estimate - own.needed)
    takes = "a larger space or a lower goal" + _BUDGET * (outcome.cut > 0)
    if worst.limited_by == "images":
        many = f"about {worst.enough:,}" if worst.enough else "far more"
        here = len(found.workload.images["confirm"])
        takes = (
            f"{many} images to confirm ({here} here; --these-images asks of them alone), {takes}"
        )
    return (
        f"{outcome.problem.name}: no design is confirmed; the nearest has a margin of "
        f"{worst.margin} over its goal of {worst.goal:g} acc0 ({worst.verdict}); it takes {takes}"
    )


def _show(result: dict[str, Any]) -> None:
    designs = result["designs"]
    print(
        f"{result['model']} on {result['machine']}, space {result['space']}: {designs['all']:,} "
        f"designs, {designs['within limits']:,} within the limits on cycles and traffic"
    )
    for policy, own in designs["by s_policy"].items():
        print(
            f"  s_policy {policy}: {own['within limits']:,} of {own['designs']:,} within them, "
            f"the least extra traffic is {own['least traffic']:.1%}"
        )
    for why, count in designs["not built"].items():
        print(f"  {count:,} cannot be built: {why}")
    for problem in result["problems"]:
        print(f"\n{problem['name']}: {problem['evaluations']} evaluations")
        own = [row for row in result["evaluations"] if row["problem"] == problem["name"]]
        _show_problem(problem, own)


def _show_problem(problem: dict[str, Any], evaluations: list[dict[str, Any]]) -> None:
    for number, one in enumerate(problem["confirmations"], 1):
        print(f"  judged as number {number}: area {one['area_overhead']:+.1%}")
        print(f"    {_label(one['parameters'])}")
        print(f"    {'; '.join(map(_judged, one['goals']))}; {one['patterns']:,} patterns")
    if problem["front"] is not None:
        _show_front(problem, evaluations)
    best, over = problem["best"], problem["passed over"]
    if best is not None:
        scopes = ", ".join(f"{value:+.1%} {name}" for name, value in best["areas"].items())
        print(
            f"  winner: {scopes}; cycles {best['cycles_ratio']:.3f}, extra traffic "
            f"{best['extra_traffic']:.1%}"
        )
    if over:
        print(
            f"  {len(over)} not judged that seem to keep the goals in the search, of "
            f"{min(over):+.1%} to {max(over):+.1%}; more images let more be judged, and "
            "--these-images asks of them alone"
        )
    if problem["not examined"]:
        print(
            f"  the budget ended the search; {problem['not examined']:,} of "
            f"{problem['candidates']:,} candidates were not examined; --budget takes more"
        )


def _label(parameters: dict[str, Any]) -> str:
    return " ".join(f"{name.partition('.')[2]}={value}" for name, value in parameters.items())


#: Of what a judgement has too few -> what to say of it.
_LIMITED = {
    "images": " (probably too few images)",
    "patterns": " (more patterns may tell)",
    None: " (more would hardly help)",
}


def _judged(goal: dict[str, Any]) -> str:
    margin = [f"{100 * goal['margin'][name]:+.2f}" for name in ("estimate", "low", "high")]
    why = _LIMITED[goal["limited_by"]] if goal["verdict"] == "open" else ""
    return f"{goal['verdict']} with {margin[0]} [{margin[1]}, {margin[2]}] points{why}"


def _show_front(problem: dict[str, Any], evaluations: list[dict[str, Any]]) -> None:
    front = problem["front"]
    print(
        f"  {len(front['evaluations'])} designs that no other beats in "
        f"{', '.join(front['objectives'])}; hypervolume {front['hypervolume'][-1]:.4g}, half of "
        f"the budget before {front['hypervolume'][len(evaluations) // 2]:.4g}\n"
    )
    chosen = sorted(
        (evaluations[i] for i in front["evaluations"]), key=lambda r: r["area_overhead"]
    )
    output.print_table(
        ("area", "accuracy", "cycles", "traffic", "design"),
        [
            (
                f"{row['area_overhead']:+.1%}",
                f"{row['accuracy']:.4f} +- {row['accuracy_error']:.4f}",
                f"{row['cycles_ratio']:.3f}",
                f"{row['extra_traffic']:.1%}",
                _label(row["parameters"]),
            )
            for row in chosen
        ],
    )
