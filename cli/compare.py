"""``flexhyca compare``: protection schemes and designs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..faults.campaign.lock import check_free
from . import output
from .options import (
    DEFAULT_CONFIG,
    MOST_COUNT,
    PLOT_SUFFIXES,
    BatchOption,
    ConfigOption,
    DataOption,
    GoalsOption,
    ImagesOption,
    JsonOption,
    LimitOption,
    MeanOption,
    OwnRatesOption,
    PlacementOption,
    ProtectOption,
    RatesOption,
    ReuseOption,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    WorkersOption,
    check_suffix,
    limits_of,
    rate_pair,
    refuse_beside,
    refuse_beside_rates,
    split_names,
)

if TYPE_CHECKING:
    from ..dse.compare import CompareRequest

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca compare\n"
    "  flexhyca compare digits --protect conv2,conv3 --csv all.csv --plot all.png\n"
    "  flexhyca compare digits --schemes tmr_crt1_q,tmr_crt1_qc,tmr_cl --design best.yaml\n"
    "  flexhyca compare resnet20 --weights w.npz --data images.npz --scenario both \\\n"
    "      --protect 'conv1,layer1.*' --workers 2 --study c.db --reuse s.db\n"
    "  flexhyca compare resnet50 --no-accuracy --placement clustered --protect 'layer3.*'\n"
)
_CAUSES = ("tables", "operands", "instructions", "other")
_NAMED = 6  # protected layers that are named in the table's head
#: Options that say what accuracy is asked for, which --no-accuracy leaves none of.
_OF_ACCURACY = ("scenario", "ber", "goal", "own_rates", "patterns", "images", "study", "reuse")


def command(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A model (see `flexhyca models`), an ONNX file (.onnx) or a SCALE-Sim topology "
            "file (.csv); without it the schemes are listed.",
        ),
    ] = None,
    schemes: Annotated[
        str, typer.Option(metavar="LIST|all", help="Only these, such as tmr_arch,tmr_cl.")
    ] = "all",
    design: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A configuration as a row of its own, such as what `optimise --out best.yaml` "
            "wrote; the row is called as the file; repeatable.",
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    protect: ProtectOption = None,
    scenario: Annotated[
        str,
        typer.Option(
            help="Rates and goals: I or II (0.97 of acc0 at 1e-4, 0.95 at 2e-4), both; I', II' or "
            "own: the same goals at the network's own rates, which cost it 10 to 40 points without "
            "protection.",
        ),
    ] = "own",
    ber: RatesOption = None,
    goal: GoalsOption = None,
    own_rates: OwnRatesOption = None,
    limit: LimitOption = None,
    patterns: Annotated[
        int,
        typer.Option(
            min=1, max=MOST_COUNT, metavar="N", help="Patterns of wrong bits at each rate; tens."
        ),
    ] = 200,
    no_accuracy: Annotated[
        bool, typer.Option("--no-accuracy", help="Compare time, traffic and area alone.")
    ] = False,
    weights: WeightsOption = None,
    data: DataOption = None,
    images: ImagesOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    batch: BatchOption = 1,
    placement: PlacementOption = None,
    workers: WorkersOption = 1,
    study: Annotated[
        Path | None,
        typer.Option(metavar="FILE.db", help="Keep what is evaluated, and go on from there."),
    ] = None,
    reuse: ReuseOption = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write one row a machine.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw accuracy over area, cycles and extra traffic (.png, .svg or .pdf).",
        ),
    ] = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Compare protection schemes and designs: accuracy under faults, time, traffic, area, verdicts.

    All run on the machine of the configuration; a scheme replaces its protection, and tmr_cl is
    that protection. They meet the same wrong bits, on images that no search has seen; intervals are
    over patterns, for these images. Cycles, traffic and area are relative to base.
    """
    if model is None:
        _list_schemes(json)
        return
    check_suffix("--csv", csv, ".csv")
    check_suffix("--plot", plot, *PLOT_SUFFIXES)
    output.check_target(csv, json, files=[plot], studies=[study] if study else [])
    if study is not None:
        check_free(study)
    if no_accuracy:
        refuse_beside(context, _OF_ACCURACY, "there is no accuracy with --no-accuracy")
    refuse_beside_rates(context)
    request = _request(dict(context.params))
    report = _compared(request, study, reuse or [], workers, not no_accuracy)
    _write(report, csv, plot, json)


def _list_schemes(json: str | None) -> None:
    from ..config.schemes import SCHEMES

    schemes = SCHEMES.values()
    output.write_json(json, {s.name: {"paper": s.paper, "meaning": s.meaning} for s in schemes})
    if json != output.STDOUT:
        rows = ((s.name, s.paper, s.meaning) for s in schemes)
        output.print_table(("scheme", "paper", "meaning"), rows)


def _request(given: Mapping[str, Any]) -> CompareRequest:
    from ..config.schemes import SCHEMES
    from ..dse.compare import CompareRequest
    from ..dse.request import SearchRequest
    from ..dse.search.evaluation import Options

    every = given["schemes"] == "all"
    search = SearchRequest(
        model=given["model"],
        config=given["config"],
        changes=tuple(given["set_"] or ()),
        scenario=given["scenario"],
        bers=tuple(given["ber"] or ()),
        goals=tuple(given["goal"] or ()),
        rates=rate_pair(given["own_rates"]),
        limits=limits_of(given["limit"]),
        options=Options(patterns=given["patterns"], seed=given["seed"]),
        weights=given["weights"] and str(given["weights"]),
        data=given["data"] and str(given["data"]),
        images=given["images"],
        mean=given["mean"],
        std=given["std"],
    )
    return CompareRequest(
        search,
        tuple(SCHEMES if every else split_names(given["schemes"])),
        tuple(given["design"] or ()),
        tuple(split_names(given["protect"])),
        given["placement"],
        given["batch"],
    )


def _compared(
    request: CompareRequest, study: Path | None, reuse: Sequence[Path], workers: int, accuracy: bool
) -> dict[str, Any]:
    from .. import exploration
    from ..dse.labelled import Kept
    from ..report.compare import comparison_report

    kept = Kept(study, tuple(reuse), workers)
    try:
        found = exploration.compared(request, kept, accuracy, output.progress, output.note)
    except KeyboardInterrupt:
        what = f"what is evaluated is kept in {study}" if study else "give --study to keep it"
        output.note(f"interrupted: {what}")
        raise typer.Exit(130) from None
    return comparison_report(found)


def _write(report: dict[str, Any], csv: Path | None, plot: Path | None, json: str | None) -> None:
    from ..report.compare import comparison_rows

    if csv is not None:
        rows = comparison_rows(report)
        output.write_text(csv, output.csv_text(list(rows[0]), rows))
    if plot is not None:
        from ..report.compare_plots import draw_comparison

        title = f"{report['model']} on {report['machine']}"
        if report["protected_layers"]:
            title += f"; computed three times: {report['protected_macs']:.0%} of the products"
        output.write_file(plot, lambda path: draw_comparison(path, title, report))
    output.write_json(json, report)
    if json != output.STDOUT:
        _show(report)


def _show(report: dict[str, Any]) -> None:
    _show_head(report)
    rows = [row for row in report["rows"] if row["reason"] is None]
    _show_costs(rows, report["limits"])
    _show_traffic(rows, report["limits"])
    for number in range(len(rows[0]["rates"])):
        _show_rate(rows, number)
    impossible = [row for row in report["rows"] if row["reason"] is not None]
    if impossible:
        print()
    for row in impossible:
        print(f"{row['name']} is not possible: {row['reason']}")


def _show_head(report: dict[str, Any]) -> None:
    print(f"{report['model']} on {report['machine']}, {report['weight_bytes']:,} bytes of weights")
    protected = report["protected_layers"]
    if protected:
        names = ", ".join(protected[:_NAMED])
        more = f" and {len(protected) - _NAMED} more" if len(protected) > _NAMED else ""
        print(f"  computed three times: {report['protected_macs']:.1%} of the products, in")
        print(f"    {names}{more}")
    if report["placement"]:
        print(f"  important neurons by {report['placement']}")
    if report["rates"]:
        own = ", ".join(f"{name} = {rate:g}" for name, rate in report["rates"].items())
        print(f"  own rates: {own}")
    if report["acc0"] is not None:
        print(
            f"  acc0 is {report['acc0']:.2%} of {report['images']:,} images that no search has "
            f"seen;\n  {report['patterns']:,} patterns of {report['images_per_pattern']} of them a "
            "rate, 95 % intervals over patterns, for these images"
        )


def _show_costs(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, Any]) -> None:
    what = limits["perf"]
    print("\narea beyond that of base, cycles, and time (cycles x depth of the PE) over base")
    output.print_table(
        ("scheme", "area", "+ files", "+ buffers", "cycles", "/ base", "time", *_asked(limits,
         "cycles", what), "verdict"),
        (
            (
                row["name"],
                f"{row['area_overhead']:.1%}",
                f"{row['area_with_register_files']:.1%}",
                f"{row['area_with_buffers']:.1%}",
                row["total_cycles"],
                f"{row['cycles_over_base']:.3f}",
                f"{row['time_over_base']:.3f}",
                *_left(row, "cycles", "{:.3f}"),
                row["verdict"],
            )
            for row in rows
        ),
    )  # fmt: skip


def _show_traffic(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, Any]) -> None:
    print("\nDRAM traffic, and what is beyond that of base over the bytes of the weights")
    output.print_table(
        ("scheme", "DRAM bytes", "extra", *_CAUSES, *_asked(limits, "traffic", "traffic")),
        (
            (
                row["name"],
                row["dram_total"],
                *(f"{row[f'extra_{part}']:.1%}" for part in ("total", *_CAUSES)),
                *_left(row, "traffic", "{:.1%}"),
            )
            for row in rows
        ),
    )


def _asked(limits: Mapping[str, Any], name: str, what: str) -> tuple[str, ...]:
    """The column of a limit, if there is one."""
    return () if limits[name] is None else (f"{what} <= {limits[name]:g}",)


def _left(row: Mapping[str, Any], name: str, form: str) -> tuple[str, ...]:
    judged = row["limits"].get(name)
    if judged is None:
        return ()
    return (f"{judged['verdict']} by {form.format(abs(judged['room']))}",)


def _show_rate(rows: Sequence[Mapping[str, Any]], number: int) -> None:
    from ..report.compare import interval_of

    def brief(values: Mapping[str, Any] | None) -> str:
        if values is None:
            return ""
        interval = interval_of(values)
        return interval.brief if interval.margin else "equal"

    first = rows[0]["rates"][number]
    print(
        f"\naccuracy at bit error rate {first['ber']:g}, goal {100 * first['goal']:g} % of acc0; "
        "points lost,\nand differences on the same patterns"
    )
    output.print_table(
        ("scheme", "of acc0, %", "lost", "- tmr_cl", "- row before", "goal"),
        (
            (
                row["name"],
                brief(own["accuracy"]).replace(" %", ""),
                f"{100 * own['loss']['estimate'] + 0.0:.2f}",
                brief(own["minus_tmr_cl"]),
                brief(own["minus_before"]),
                own["verdict"],
            )
            for row in rows
            for own in [row["rates"][number]]
        ),
    )
