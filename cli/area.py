"""``flexhyca area``: what protection costs in chip area."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from ..config.schema import Overflow, PePolicy
from ..errors import FlexhycaError, InternalError
from ..files import reading
from ..tables import complete
from . import output
from .options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    ProtectOption,
    SchemeOption,
    SetOption,
    WorkersOption,
    load_settings,
)

app = typer.Typer(
    no_args_is_help=True,
    help="Chip area of a processing element, of a machine, and the table of both, in gate "
    "equivalents (GE: a NAND2 is 1).",
)

MultiplierKind = Annotated[
    Literal["wallace", "array"], typer.Option(help="The multiplier of a PE.")
]

#: The policies of a configuration, and one that no machine has, to compare with.
AreaPolicy = Literal["none", "direct", "configurable", "full"]
complete(
    "protection.pe_policy in config/schema.py",
    get_args(PePolicy),
    [policy for policy in get_args(AreaPolicy) if policy != "full"],
    "cli/area.py: AreaPolicy",
)


@app.command(
    "pe",
    epilog="\b\nExamples:\n"
    "  flexhyca area pe --q-scale 7 --protect 1\n"
    "  flexhyca area pe --multiplier array --q-scale 4 --protect 2 --pe-policy direct --json -\n"
    "  flexhyca area pe --q-scale 7 --protect 1 --liberty mypdk.lib\n",
)
def pe_command(
    multiplier: MultiplierKind = "wallace",
    q_scale: Annotated[int, typer.Option(min=0, max=30, help="Lowest legal truncation bit.")] = 7,
    protect: Annotated[int, typer.Option(min=0, max=8, help="Protected top bits.")] = 1,
    pe_policy: Annotated[
        AreaPolicy,
        typer.Option(
            help="none; direct: every column that a layer may select is tripled; configurable: "
            "spare columns are routed to those that it does select; full: all of the PE is tripled."
        ),
    ] = "configurable",
    overflow: Annotated[Overflow, typer.Option(help="The rule of requantisation.")] = "slice",
    act_bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of an activation.")] = 8,
    weight_bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a weight.")] = 8,
    acc_bits: Annotated[int, typer.Option(min=16, max=32, help="Bits of an accumulator.")] = 24,
    liberty: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A Liberty file of your own: the circuit is mapped to it, areas are in its unit.",
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Area of one protected processing element, by part, with delay and fan-out.

    Relative figures are to the same PE without protection.
    """
    from ..hdl.area.pe_area import Point
    from ..hdl.area.table import lookup

    output.check_target(json)
    if q_scale > acc_bits - act_bits:
        raise FlexhycaError(
            f"--q-scale {q_scale} exceeds acc_bits - act_bits = {acc_bits - act_bits}, the highest "
            "truncation bit"
        )
    point = Point(
        multiplier, pe_policy, overflow, protect, q_scale, act_bits, weight_bits, acc_bits
    )
    row, plain = lookup(point), lookup(_plain(point))
    report: dict[str, Any] = {
        "multiplier": multiplier,
        "pe_policy": pe_policy,
        "overflow": overflow,
        "protect": protect,
        "q_scale": q_scale,
        "relative": round(row.area_ge / plain.area_ge, 4),
        **row._asdict(),
    }
    if liberty is not None:
        report["liberty"] = _mapped(point, liberty)
    output.write_json(json, report)
    if json == output.STDOUT:
        return
    rows = [*row.parts.items(), ("total", row.area_ge)]
    before = {**plain.parts, "total": plain.area_ge}
    output.print_table(
        ("part", "GE", "unprotected"),
        ((name, f"{area:.1f}", f"{before.get(name, 0.0):.1f}") for name, area in rows),
    )
    print(f"\nrelative {report['relative']:.3f}, depth {row.depth} unit delays (unprotected "
          f"{plain.depth}), largest fan-out {row.fanout}")  # fmt: skip
    if liberty is not None:
        own = report["liberty"]
        print(f"in {liberty}: {own['area']:.1f}, relative {own['relative']:.3f}")


@app.command(
    "array",
    epilog="\b\nExamples:\n"
    "  flexhyca area array\n"
    "  flexhyca area array --config flexhyca-32x32 --set dppu.size=104 --json -\n"
    "  flexhyca area array --scheme tmr_crt2\n",
)
def array_command(
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    scheme: SchemeOption = None,
    protect: ProtectOption = None,
    multiplier: MultiplierKind = "wallace",
    json: JsonOption = None,
) -> None:
    """Area of a machine in three scopes, each relative to the unprotected 2-D array.

    The computing array is what the paper counts: PEs, the DPPU's arithmetic, voters.
    """
    from ..config.schemes import SCHEMES
    from ..hdl.area.machine import machine_area

    output.check_target(json)
    if protect is None and scheme in SCHEMES and SCHEMES[scheme].redundant:
        protect = "*"  # which layers does not matter to the area
    settings = load_settings(config, set_ or (), scheme, protect)
    area = machine_area(settings, multiplier)
    output.write_json(
        json,
        {
            "config": settings.name,
            "parts": area.parts,
            "scopes": [scope._asdict() for scope in area.scopes],
        },
    )
    if json == output.STDOUT:
        return
    output.print_table(("part", "GE"), ((name, round(ge)) for name, ge in area.parts.items()))
    print()
    output.print_table(
        ("scope", "GE", "relative"),
        ((s.name, round(s.area_ge), f"{s.relative:.4f}") for s in area.scopes),
    )


@app.command(
    "table",
    epilog="\b\nExamples:\n"
    "  flexhyca area table --csv area.csv\n"
    "  flexhyca area table --ranking\n"
    "  flexhyca area table --rebuild --workers 2\n",
)
def table_command(
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write the table to a file.")
    ] = None,
    ranking: Annotated[
        bool,
        typer.Option(
            "--ranking", help="Only count pairs of rows whose order depends on the measure."
        ),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Work all rows out again (half an hour; goes on where it was stopped).",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Where --rebuild writes; default: the package's. What is done is kept beside "
            "it, .partial, but not beside a device.",
        ),
    ] = None,
    workers: WorkersOption = 1,
) -> None:
    """Show the shipped area table, or make it again."""
    from dataclasses import asdict

    from ..hdl.area import table as area_table

    if not rebuild and (out is not None or workers > 1):
        raise FlexhycaError("area table: --out and --workers go with --rebuild")
    if rebuild and (ranking or csv is not None):
        raise FlexhycaError("area table: --rebuild writes the table only; drop --csv, --ranking")
    output.check_target(csv)
    if rebuild:
        target = out or area_table.SHIPPED
        output.check_target(files=[target], into_package=out is None)
        with output.progress("rows", len(area_table.points())) as step:
            seen = 0

            def moved(done: int, _: int) -> None:
                nonlocal seen
                for _ in range(done - seen):
                    step(1)
                seen = done

            area_table.rebuild(target, workers, moved)
        output.note(f"{len(area_table.points())} rows written to {target}")
        return
    if ranking:
        from ..hdl.area.ranking import Swaps, swaps

        counts = [row._asdict() for row in swaps(area_table.shipped())]
        if csv is not None:
            output.write_text(csv, output.csv_text(Swaps._fields, counts))
        else:
            output.print_table(Swaps._fields, (list(row.values()) for row in counts))
        return
    rows: list[dict[str, Any]] = [
        {**asdict(point), **{k: v for k, v in row._asdict().items() if k != "parts"}}
        for point, row in area_table.shipped().items()
    ]
    columns = list(rows[0])
    if csv is not None:
        output.write_text(csv, output.csv_text(columns, rows))
        return
    output.print_table(columns, ([row[c] for c in columns] for row in rows))


@app.command(
    "figures",
    epilog="\b\nExample:\n  flexhyca area figures --out figures/\n",
)
def figures_command(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write CSV and PNG files.")],
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    multiplier: MultiplierKind = "wallace",
    json: JsonOption = None,
) -> None:
    """The paper's Fig. 14 (protected bits) and Fig. 12 (size of the DPPU), as tables and pictures.

    Also every sensible reading of its "reduced by an average of 71.4 %".
    """
    from ..config import load_config
    from ..report import area_figures

    settings = load_config(config, set_ or ())
    pictures = (out / f"fig{n}.{kind}" for n in (12, 14) for kind in ("csv", "png"))
    output.check_folder(out, *pictures)
    output.check_target(json)
    bars, rows = area_figures.fig14(multiplier), area_figures.fig12(settings, multiplier)
    readings = list(area_figures.readings(multiplier))
    output.make_folder(out)
    output.write_text(
        out / "fig14.csv", output.csv_text(bars[0]._fields, [bar._asdict() for bar in bars])
    )
    output.write_text(out / "fig12.csv", output.csv_text(list(rows[0]), rows))
    output.write_file(out / "fig14.png", lambda path: area_figures.plot_fig14(bars, path))
    output.write_file(out / "fig12.png", lambda path: area_figures.plot_fig12(rows, path))
    report = {
        "fig14": [bar._asdict() for bar in bars],
        "fig12": rows,
        "readings": [reading._asdict() for reading in readings],
    }
    output.write_json(json, report)
    if json == output.STDOUT:
        return
    output.print_table(area_figures.Bar._fields, bars)
    print()
    output.print_table(("reading of 71.4 %", "reduction"), ((r, f"{x:.1%}") for r, x in readings))


def _plain(point: Any) -> Any:
    from dataclasses import replace

    return replace(point, policy="none", protect=0)


def _mapped(point: Any, liberty: Path) -> dict[str, float]:
    """The circuit in a library of the user's, and relative to the unprotected one in it."""
    from ..hdl.netlist.design import protected
    from ..hdl.netlist.pe import pe
    from ..hdl.rtl import yosys

    try:
        text = reading(liberty).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FlexhycaError(f"{liberty}: cannot be read: {error}") from None
    circuits = [
        protected(pe(p.datapath), p.datapath, p.protection).netlist for p in (point, _plain(point))
    ]
    try:
        areas = [yosys.optimised(circuit, liberty_text=text).area_ge for circuit in circuits]
    except InternalError as error:
        raise FlexhycaError(f"{liberty}: the circuit cannot be mapped to it: {error}") from None
    return {"area": areas[0], "relative": round(areas[0] / areas[1], 4)}
