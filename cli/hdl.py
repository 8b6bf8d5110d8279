"""``flexhyca hdl``: emit Verilog, and check the hardware against the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..config.fields import numeric_limits
from ..errors import FlexhycaError
from . import output
from .options import DEFAULT_CONFIG, ConfigOption, JsonOption, SeedOption, SetOption

_ROWS, _COLS = (tuple(map(int, numeric_limits(f"array.{side}") or ())) for side in ("rows", "cols"))

app = typer.Typer(
    no_args_is_help=True, help="Verilog of the processing element, the DPPU and the array."
)


@app.command(
    "emit",
    epilog="\b\nExamples:\n"
    "  flexhyca hdl emit pe -o rtl/\n"
    "  flexhyca hdl emit pe --set protection.q_scale=4 --multiplier array -o rtl/\n"
    "  flexhyca hdl emit array --rows 4 --cols 4 --flips -o rtl/\n",
)
def emit_command(
    what: Annotated[
        Literal["pe", "dppu", "array"],
        typer.Argument(
            help="pe: a protected PE, cell by cell; dppu: one group of the DPPU; array: the "
            "array as the simulator steps it."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write.")],
    rows: Annotated[
        int | None, typer.Option(min=_ROWS[0], max=_ROWS[1], help="Rows of the array.")
    ] = None,
    cols: Annotated[
        int | None, typer.Option(min=_COLS[0], max=_COLS[1], help="Columns of the array.")
    ] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Give the array an input that flips stored bits.")
    ] = False,
    multiplier: Annotated[
        Literal["wallace", "array"], typer.Option(help="The multiplier of a PE.")
    ] = "wallace",
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
) -> None:
    """Write Verilog with its ports documented; the configuration says what is protected."""
    from ..config import load_config
    from ..hdl.netlist.design import PeProtection
    from ..hdl.netlist.pe import Datapath
    from ..hdl.rtl import emit

    settings = load_config(config, set_ or ())
    target = out / f"{what}.v"
    output.check_folder(out, target)
    a, p, d = settings.arithmetic, settings.protection, settings.dppu
    datapath = Datapath(a.act_bits, a.weight_bits, a.acc_bits, multiplier)
    if what == "pe":
        text = emit.emit_pe(datapath, PeProtection(p.nb_th, p.q_scale, p.pe_policy, a.overflow))
    elif what == "dppu":
        if not d.size:
            raise FlexhycaError("hdl emit dppu: the configuration has no DPPU (dppu.size is 0)")
        from ..hdl.area.machine import resident_neurons

        first = p.q_scale + a.act_bits - p.ib_th
        text = emit.emit_dppu(datapath, d.width, resident_neurons(settings), first)
    else:
        size = rows or settings.array.rows, cols or settings.array.cols
        text = emit.emit_array(datapath, *size, flips)
    output.make_folder(out)
    output.write_text(target, text)
    output.note(f"{target}: {len(text.splitlines())} lines")


@app.command("check", epilog="\b\nExample:\n  flexhyca hdl check --json check.json\n")
def check_hardware(
    vectors: Annotated[
        int, typer.Option(min=64, max=10_000_000, metavar="N", help="Random sums of each circuit.")
    ] = 100_000,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Simulate, prove and compare: netlists, copies, areas, emitted files.

    Every product and random sums on the cell lists, proofs that protected and plain circuits agree
    (and that wrong ones do not), every stuck cell, areas against Yosys, linters on what is emitted.
    Takes some minutes; exit code 1 if a check fails.
    """
    from ..hdl.check import run_checks

    output.check_target(json)
    results = []
    for result in run_checks(seed, vectors):
        results.append(result)
        word = {True: "pass", False: "FAIL", None: "skip"}[result.passed]
        if json != output.STDOUT:
            print(f"{word}  {result.check}: {result.found}", flush=True)
    failed = [result.check for result in results if result.passed is False]
    output.write_json(json, {"seed": seed, "checks": [result._asdict() for result in results]})
    if json != output.STDOUT:
        print(f"{len(results)} checks, {len(failed)} failed")
    if failed:
        raise typer.Exit(1)
