"""``flexhyca study``: read, draw, export and check what a search kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import FlexhycaError
from . import output
from .options import MOST_COUNT, PLOT_SUFFIXES, JsonOption, check_suffix

if TYPE_CHECKING:
    from ..dse.study import Study

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Read, draw, export and check the study of `flexhyca optimise`.",
    epilog="\b\nExamples:\n"
    "  flexhyca study show s.db\n"
    "  flexhyca study plot s.db front.png\n"
    "  flexhyca study export s.db evaluations.csv\n"
    "  flexhyca study export s.db optuna.db      # optuna-dashboard sqlite:///optuna.db\n"
    "  flexhyca study verify s.db --results 20\n",
)
FileArgument = Annotated[Path, typer.Argument(metavar="FILE.db", help="A study.")]


@contextmanager
def _opened(file: Path) -> Iterator[Study]:
    """The study, once all its rows are found to be as they were written."""
    from ..dse.study import Study

    with Study(file, None, what="a study of `flexhyca optimise`", option="file") as study:
        study.check()
        yield study


@app.command("show")
def show_study(file: FileArgument, json: JsonOption = None) -> None:
    """Say what the study is of, and what was evaluated in each of its searches."""
    from ..dse.history import evaluations, parameters, summary

    output.check_target(json)
    with _opened(file) as study:
        report = {**summary(study), "evaluations": evaluations(study)}
    output.write_json(json, report)
    if json == output.STDOUT:
        return
    for name, value in report["identity"].items():
        print(f"{name}: {value}")
    for problem, counts in report["problems"].items():
        print(f"\n{problem}: " + ", ".join(f"{count} {event}" for event, count in counts.items()))
        rows = [row for row in report["evaluations"] if row["problem"] == problem]
        rows.sort(key=lambda row: float(row["area_overhead"]))
        names = parameters(rows)
        fixed = [name for name in names if len({row[name] for row in rows}) == 1]
        if len(rows) > 1 and fixed:
            print("all with " + _label(rows[0], fixed))
            names = [name for name in names if name not in fixed]
        output.print_table(
            ("area", "cycles", "traffic", "accuracy", "of loss allowed", "patterns", "", "design"),
            [
                (
                    f"{row['area_overhead']:+.1%}",
                    f"{row['cycles_ratio']:.3f}",
                    f"{row['extra_traffic']:.1%}",
                    f"{row['accuracy']:.4f}",
                    f"{row['ratio']:.2f} +- {row['error']:.2f}",
                    row["patterns"],
                    "winner" if row["winner"] else row["verdict"] or "",
                    _label(row, names),
                )
                for row in rows
            ],
        )


def _label(row: Mapping[str, Any], names: Iterable[str]) -> str:
    return " ".join(f"{name.partition('.')[2]}={row[name]}" for name in names)


@app.command("plot")
def plot_study(
    file: FileArgument,
    picture: Annotated[Path, typer.Argument(metavar="FILE", help="A .png, .svg or .pdf.")],
) -> None:
    """Draw accuracy over area of everything that was evaluated (paper, Fig. 15)."""
    from ..dse.history import evaluations
    from ..report.search_plots import draw_search

    check_suffix("FILE", picture, *PLOT_SUFFIXES)
    output.check_target(files=[picture])
    with _opened(file) as study:
        rows = evaluations(study)
    if not rows:
        raise FlexhycaError(f"{file}: nothing was evaluated yet")
    output.write_file(picture, lambda path: draw_search(path, file.name, rows))


@app.command("export")
def export_study(
    file: FileArgument,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET", help="A .csv or .parquet, or a new .db for Optuna and its dashboard."
        ),
    ],
) -> None:
    """Write the evaluations as a table, or as a study of Optuna."""
    from ..dse.history import evaluations, to_optuna

    check_suffix("TARGET", target, ".csv", ".parquet", ".db")
    if target.suffix == ".db" and target.exists():
        raise FlexhycaError(f"{target}: is there already; give a new file")
    output.check_target(target)
    with _opened(file) as study:
        rows = evaluations(study)
        if not rows:
            raise FlexhycaError(f"{file}: nothing was evaluated yet")
        if target.suffix == ".db":
            output.write_file(target, lambda path: to_optuna(study, path))
        elif target.suffix == ".csv":
            output.write_text(target, output.csv_text(list(rows[0]), rows))
        else:
            import pandas as pd

            output.write_file(target, lambda path: pd.DataFrame(rows).to_parquet(path))
    print(f"{target}: {len(rows)} evaluations")


@app.command("verify")
def verify_study(
    file: FileArgument,
    results: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_COUNT,
            metavar="N",
            help="Results that are worked out again, at random.",
        ),
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Which ones.")] = 0,
) -> None:
    """Work out some of the study's results again; exit code 1 if one differs."""
    from .. import exploration
    from ..dse.history import differing_results
    from ..dse.request import SearchRequest

    with _opened(file) as study, study.reading("its request"):
        request = SearchRequest.from_dict(study.request)
    given = exploration.requested_images(request)
    checked, wrong = differing_results(file, request, given, results, seed)
    print(f"{file}: {checked} results worked out again, {len(wrong)} differ")
    for what in wrong:
        print(f"  {what}")
    if wrong:
        raise typer.Exit(1)
