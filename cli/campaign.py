"""``flexhyca campaign``: what is in a campaign's file, and its rows as a table."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FlexhycaError
from . import output
from .options import PLOT_SUFFIXES, JsonOption, check_suffix

if TYPE_CHECKING:
    from ..faults.campaign.estimates import Estimate
    from ..faults.campaign.experiment import Experiment
    from ..faults.campaign.run import Finished, Progress

app = typer.Typer(no_args_is_help=True, help="Show and export campaigns of faults.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A campaign's file.")]


@app.command(
    "show",
    epilog="\b\nExamples:\n"
    "  flexhyca campaign show faults.db\n"
    "  flexhyca campaign show faults.db --masking --plot masking.png\n",
)
def show_campaign(
    file: File,
    masking: Annotated[
        bool,
        typer.Option(
            "--masking",
            help="Also by layer and register: how many flips were masked by what, or got through.",
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw that as heat maps, one an outcome (.png, .svg or .pdf)."
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Print what was asked for, how much of it is done, and every rate with its interval.

    With --masking one row for each register while each layer ran: the share of every outcome in per
    cent with its interval, and a question mark where trials are too few.
    """
    from ..faults.campaign.store import Campaign
    from ..report.masking import breakdown, caption, table

    output.check_target(json, files=[plot], studies=[file])
    check_suffix("--plot", plot, *PLOT_SUFFIXES)
    with Campaign(file) as campaign:
        found = None
        if masking or plot is not None:
            found = breakdown(campaign.described, campaign.prefix(), str(file))
        done, goal = campaign.count(), campaign.goal
        tally = campaign.tally()
        estimates = tally.estimates()
        missing = sum(stop - start for start, stop in campaign.missing(goal.end))
        described = campaign.described
    if plot is not None:
        from ..report.heat import draw_masking

        assert found is not None
        draw = partial(draw_masking, title=file.name, found=found)
        output.write_file(plot, draw)
    output.write_json(
        json,
        {
            **described,
            "trials": {"wanted": goal.end, "missing": missing, "counted": tally.trials},
            "margin": goal.margin,
            "stopped": goal.stop is not None,
            "estimates": [
                {
                    "name": e.name,
                    "group": e.group,
                    **e.interval.to_dict(),
                    "text": str(e.interval),
                }
                for e in estimates
            ],
            **({"masking": found.to_dict()} if found is not None else {}),
        },
    )
    if json == output.STDOUT:
        return
    print(f"{file}: {described['kind']}, version of flexhyca {described['code']}")
    for name, value in _settings(described):
        print(f"  {name}: {value}")
    stopped = f" (stopped at margin {goal.margin:g})" if goal.stop is not None else ""
    print(f"{goal.end:,} trials wanted{stopped}, {missing:,} missing, {done:,} in the file")
    if missing:
        print(f"rates over the {tally.trials:,} trials before the first missing one:")
    _print(estimates)
    if masking:
        assert found is not None
        print(f"\n{caption(found)} (?)")
        output.print_table(*table(found))


@app.command("repair", epilog="\b\nExample:\n  flexhyca campaign repair faults.db --out saved.db\n")
def repair_campaign(
    file: File,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new file.")],
) -> None:
    """Save the trials of a damaged FILE that are as they were written; the rest is done again.

    FILE stays as it is. `inject` with --out and the new file goes on with it.
    """
    from ..faults.campaign.store import repair

    output.check_target(files=[out])
    if out.exists():
        raise FlexhycaError(f"{out}: is there already; give a new file")
    found = repair(file, out)
    print(f"{out}: {found.kept:,} trials saved of {found.wanted:,} that were wanted")
    if found.left_out:
        print(f"{found.left_out:,} rows are damaged or no trials, and left out")


def _settings(described: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What determines the trials, in short: parts that have a name, or are many, by their names."""
    from ..faults.campaign.experiment import flat_fields

    for name, value in described["spec"].items():
        if name in described.get("locations", ()):
            continue
        if isinstance(value, Mapping) and "name" in value:
            yield name, value["name"]
        elif isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values()):
            yield name, ", ".join(str(inner.get("name", key)) for key, inner in value.items())
        else:
            yield from flat_fields(value, name)


def _print(estimates: list[Estimate]) -> None:
    width = max((len(e.label) for e in estimates), default=0)
    for e in estimates:
        print(f"  {e.label.ljust(width)}  {e.interval}")


@app.command(
    "export",
    epilog="\b\nExamples:\n"
    "  flexhyca campaign export faults.db --csv faults.csv\n"
    "  flexhyca campaign export faults.db --parquet faults.parquet\n",
)
def export_command(
    file: File,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a CSV file.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Parquet file.")
    ] = None,
) -> None:
    """Write one row a trial, sorted by index: the same bytes however the campaign was run."""
    from ..faults.campaign.export import write_csv, write_parquet
    from ..faults.campaign.store import Campaign

    if (csv is None) == (parquet is None):
        raise FlexhycaError("campaign export: give either --csv or --parquet")
    target, write = (csv, write_csv) if csv is not None else (parquet, write_parquet)
    assert target is not None
    output.check_target(csv, files=[parquet], studies=[file])
    with Campaign(file) as campaign:
        counts: list[int] = []
        if str(target) == output.STDOUT:
            with tempfile.TemporaryDirectory() as folder:
                counts.append(write(campaign, path := Path(folder, "trials.csv")))
                output.write_text(output.STDOUT, path.read_text(encoding="utf-8"))
        else:
            output.write_file(target, lambda path: counts.append(write(campaign, path)))
        wanted, done, asked = campaign.goal.end, campaign.count(), campaign.goal.trials
    if done > asked:
        output.note(
            f"{file}: has {done:,} trials; the table is of the {asked:,} that were asked for last"
        )
    if counts[0] < wanted:
        output.warn(
            [
                f"{file}: the campaign is not finished; the table has the {counts[0]:,} of "
                f"{wanted:,} trials before the first missing one"
            ]
        )
    if str(target) != output.STDOUT:
        print(f"{target}: {counts[0]:,} trials")


def drive(
    experiment: Experiment,
    path: Path,
    trials: int,
    workers: int = 1,
    dask: str | None = None,
    margin: float | None = None,
    kept: bool = True,
) -> Finished:
    """Run a campaign for a command: progress on a terminal, one line in the end, Ctrl-C is 130.

    kept : the file outlives the command, so that it is named.
    """
    from ..faults.campaign.run import Interrupted, run_campaign

    try:
        with _progress(trials) as show:
            finished = run_campaign(experiment, path, trials, workers, dask, margin, show)
    except Interrupted as interrupted:
        end = "interrupted: nothing is kept; give --out FILE.db to go on where a campaign stopped"
        output.note(str(interrupted) if kept else end)
        raise typer.Exit(130) from None
    stopped = " (stopped at the margin)" if finished.stopped else ""
    if kept:
        done = f"{path}: {finished.trials:,} trials{stopped}, {finished.computed:,} in this run"
    else:
        done = f"{finished.trials:,} trials{stopped}"
    output.note(done)
    if margin is not None and not finished.stopped:
        widest = max(finished.estimates, key=lambda e: e.interval.margin, default=None)
        if widest is not None and widest.interval.margin > margin:
            output.note(
                f"the margin {margin:g} is not reached: {widest.label} is +- "
                f"{widest.interval.margin:.2g}; give more --trials"
            )
    return finished


@contextmanager
def _progress(trials: int) -> Iterator[Callable[[Progress], object] | None]:
    """A bar with rate, time left and the first interval; on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=trials)
        yield lambda progress: bar.update(
            task, completed=progress.done, description=progress_text(progress)
        )


def progress_text(progress: Progress) -> str:
    """Rate, time left, and the first interval."""
    rate = progress.rate
    minutes, seconds = divmod(round(min(progress.seconds_left, 359_999)), 60)
    parts = [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s", f"{minutes}:{seconds:02d} left"]
    if progress.estimates:
        first = progress.estimates[0]
        parts.append(f"{first.label} {first.interval}")
    return ", ".join(parts)
