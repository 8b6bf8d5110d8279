"""``flexhyca simulate``: cycles, traffic and, on images, the accuracy of one network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..config.schema import DataflowName, Timing
from ..errors import FlexhycaError
from . import output
from .busy import busy
from .options import (
    DEFAULT_CONFIG,
    PLOT_SUFFIXES,
    BatchOption,
    ConfigOption,
    DataOption,
    ImagesOption,
    JsonOption,
    MeanOption,
    ModelOrFileArgument,
    PlacementOption,
    ProtectOption,
    SchemeOption,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    check_suffix,
    load_settings,
)
from .stuck_pes import (
    PeMapOption,
    PeMapOutOption,
    RepairOption,
    pe_map_of,
    stuck_pes_of,
    told_stuck_pes,
)

if TYPE_CHECKING:
    from ..api import Build
    from ..config import Config
    from ..isa.program import Program
    from ..simulator.run import Result

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca simulate digits --images 360\n"
    "  flexhyca simulate resnet20 --no-values --config hyca-32x32\n"
    "  flexhyca simulate resnet20 --weights w.npz --data images.npz --set dppu.size=64 --json -\n"
    "  flexhyca simulate vgg16 --placement clustered --set dppu.data_reuse=array\n"
    "  flexhyca simulate resnet50 --placement clustered --plot layers.png --layers layers.csv\n"
    "  flexhyca simulate resnet50 --trace out.json.gz --trace-layers 'conv1,layer1.*'\n"
    "  flexhyca simulate resnet20 --no-values --scheme tmr_alg --protect 'conv1,layer1.*'\n"
    "  flexhyca simulate topology.csv --timing scalesim --dataflow ws\n"
    "  flexhyca simulate compiled.fhx --trace out.json.gz\n"
    "  flexhyca simulate digits --config hyca-32x32 --set protection.s_th=0 --pe-map 50 --seed 1\n"
    "  flexhyca simulate digits --scheme tmr_crt2 --pe-map stuck.yaml\n"
)


def command(
    model: ModelOrFileArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    scheme: SchemeOption = None,
    protect: ProtectOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    images: ImagesOption = None,
    batch: BatchOption = 1,
    placement: PlacementOption = None,
    pe_map: PeMapOption = None,
    pe_map_out: PeMapOutOption = None,
    repair: RepairOption = None,
    dataflow: Annotated[
        DataflowName | None, typer.Option(help="Short for --set array.dataflow=...")
    ] = None,
    timing: Annotated[Timing | None, typer.Option(help="Short for --set timing=...")] = None,
    values: Annotated[
        Literal["fast", "machine", "registers"],
        typer.Option(
            help="fast: whole layers; machine: every byte through the modelled buffers; "
            "registers: that, with every register of the array stepped (slow)."
        ),
    ] = "fast",
    no_values: Annotated[
        bool, typer.Option("--no-values", help="Cycles and traffic only; they are the same.")
    ] = False,
    layers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write one row a layer: cycles, what bounds it, every engine's busy cycles and "
            "stalls, DRAM bytes by kind.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw, layer by layer, where the array's time goes and what DRAM carries "
            "(.png, .svg or .pdf).",
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write what every engine did when, for ui.perfetto.dev (.json, or .json.gz, less "
            "than a tenth of the size). 1 us of the trace is 1 cycle.",
        ),
    ] = None,
    trace_layers: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Trace the tiles of these layers, such as conv1,layer1.*; the others get one "
            "slice for each engine and state. Default: all layers, or none if that is too much.",
        ),
    ] = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Compile MODEL for an accelerator and run it on the cycle model.

    Cycles, stalls and DRAM traffic are those of one inference (--batch images). On labelled images
    the integers are computed too and the accuracy is compared with the float network's. Without
    images, and for a SCALE-Sim topology or a compiled program, only cycles and traffic are
    computed.

    With --pe-map the integers are those of a chip with stuck PEs (docs/faults.md). A DPPU
    recomputes what these would make wrong, which costs cycles and traffic; --no-repair shows what
    it is for.

    The column `bound` of the table names what takes most of the array's time for a layer: compute
    (its products), dram (operands are late), dppu (windows or results of the DPPU are late), vector
    (the vector unit is behind) or control (instructions are late); `share` is its part of the time.
    """
    from .. import api
    from ..report.layers import flat
    from ..report.plots import draw_layers
    from ..simulator.cycles.trace import check_traceable

    output.check_target(json, layers, files=[plot, trace, pe_map_out])
    check_suffix("--layers", layers, ".csv")
    check_suffix("--plot", plot, *PLOT_SUFFIXES)
    check_suffix("--trace", trace, ".json", ".json.gz")
    if trace_layers is not None and trace is None:
        raise typer.BadParameter(
            "says what --trace FILE draws: give both", param_hint="--trace-layers"
        )
    short = {"array.dataflow": dataflow, "timing": timing}
    changes = [*(set_ or ()), *(f"{key}={value}" for key, value in short.items() if value)]
    if api.is_program(model):
        used = {
            "--weights": weights,
            "--data": data,
            "--mean": mean,
            "--std": std,
            "--placement": placement,
            "--images": images,
            "--config": config != DEFAULT_CONFIG,
            "--scheme": scheme,
            "--protect": protect,
            "--set (or --dataflow, --timing)": changes,
            "--batch": batch != 1,
            "--pe-map": pe_map is not None,
            "--repair" if repair else "--no-repair": repair is not None,
            "--pe-map-out": pe_map_out,
        }
        refuse_options(model, used)
        built, no_values = api.open_program(model), True
        settings = built.program.config
        if trace is not None:
            check_traceable(settings)
    else:
        settings = load_settings(config, changes, scheme, protect)
        if trace is not None:
            check_traceable(settings)
        stuck = pe_map_of(pe_map, repair, pe_map_out, settings, seed)
        no_values = no_values or (data is None and not api.has_images(model))
        with busy() as say:
            built = api.build(
                model,
                settings,
                weights=weights,
                data=data,
                mean=mean,
                std=std,
                batch=batch,
                seed=seed,
                placement=placement,
                timing_only=no_values,
                pe_map=stuck,
                repair=repair,
                say=say,
            )
    output.warn(built.warnings)

    if trace is None:
        result = api.simulate(built.program, values="none")
    else:
        result = run_traced(built.program, trace, trace_layers)
    report = describe(built, settings, result, scheme)
    if layers is not None:
        rows = flat(report["layers"])
        output.write_text(layers, output.csv_text(list(rows[0]), rows))
    if plot is not None:
        title = f"{report['model']} on {report['config']}: {report['total_cycles']:,} cycles"
        output.write_file(plot, lambda path: draw_layers(path, title, report["layers"]))
    if not no_values:
        report |= run_values(built, images, values, seed)
    output.write_json(json, report)
    if json != output.STDOUT:
        show(report)


def refuse_options(program: str, used: dict[str, Any]) -> None:
    """A program file is compiled already: what was given for compiling cannot take effect."""
    for options, value in used.items():
        if value:
            raise FlexhycaError(
                f"{program}: {options} cannot change a compiled program; leave it out, or simulate "
                "the model itself"
            )


def run_traced(program: Program, path: Path, patterns: str | None) -> Result:
    """Run the cycle model with a recorder, and write the trace."""
    from .. import api
    from ..network.names import match_layers
    from ..report import trace
    from ..simulator.cycles.trace import Recorder

    count = len(program.layer_names)
    detail = None
    if patterns is not None:
        detail = match_layers(patterns.split(","), program.layer_names)
    recorder = Recorder()
    with output.progress("tiles", tiles(program)) as step:
        result = api.simulate(
            program, values="none", recorder=recorder, progress=lambda cycle, layer: step(1)
        )
    if detail is None:
        detail = trace.default_detail(recorder, count)
        if not detail:
            output.note(
                f"{path}: one slice for each engine, layer and state, because its "
                f"{trace.slice_count(recorder):,} slices are more than {trace.MOST_SLICES:,}; see "
                "the tiles of some layers with --trace-layers LIST"
            )
    compress = path.suffix == ".gz"
    output.write_file(
        path, lambda file: trace.write_trace(file, result, recorder, detail, compress)
    )
    return result


def tiles(program: Program) -> int:
    """Tiles that the program stores."""
    from ..isa.instructions import BY_NAME

    return int((program.columns["op"] == BY_NAME["STORE"].opcode).sum())


def describe(
    built: Build, config: Config, result: Result, scheme: str | None = None
) -> dict[str, Any]:
    """The result as plain JSON values. scheme : the one that was asked for."""
    stuck = stuck_pes_of(built.program)
    return {
        "model": built.network.name,
        "config": config.name,
        "config_hash": config.config_hash,
        "scheme": scheme,
        "batch": built.program.batch,
        "total_cycles": result.cycles,
        **clocked(result),
        "macs": result.macs,
        "macs_by_unit": result.macs_by_unit,
        "utilization": result.utilization,
        "important_neurons": result.important_neurons - stuck["repaired_neurons"],
        "hardened_cols": config.protection.hardened_cols,
        **stuck,
        "placement": built.placement,
        "simulate_seconds": result.seconds,
        **{f"{step}_seconds": seconds for step, seconds in built.seconds.items()},
        "dram_bytes": result.dram,
        "activation_bytes": result.activations,
        "busy": result.busy,
        "stalls": result.stalls,
        "layers": result.layers.to_dict("records"),
    }


def clocked(result: Result) -> dict[str, Any]:
    """What the clock makes of a run, under the names of `RealTime`; nothing without a clock."""
    time = result.real_time
    if time is None:
        return {}
    return {"clock_mhz": result.program.config.clock_mhz, "real_time": time._asdict()}


def run_values(
    built: Build,
    images: int | str | None,
    values: Literal["fast", "machine", "registers"],
    seed: int,
) -> dict[str, Any]:
    """The integers of `images` (see `Dataset.chosen`); their accuracy where labels are known."""
    from .. import api

    assert built.model is not None
    assert built.data is not None
    data = built.data.chosen(images)
    inputs = api.quantise_images(built.model, built.network, data.images)
    if values == "fast":
        with output.progress("images", len(data)) as step:
            logits = api.run_images(built.program, inputs, step=step)
    else:
        runs = -(-len(data) // built.program.batch)
        with output.progress("tiles", runs * tiles(built.program)) as step:
            logits = api.run_images(
                built.program, inputs, values=values, progress=lambda cycle, layer: step(1)
            )
    if data.labels is None:
        return {}
    shares = {
        "float": api.float_accuracy(built.model, data),
        "int8": api.accuracy_of(logits, data.labels),
    }
    if built.program.pe_map:
        shares["fault_free"] = api.int8_accuracy(built.model, built.network, data)
    found = {
        name: output.accuracy_interval(share, len(data), seed) for name, share in shares.items()
    }
    bounds = {f"{name}_interval": [i.low, i.high] for name, i in found.items()}
    return {"accuracy": {**shares, **bounds, "images": len(data), "seed": seed}}


def show(report: dict[str, Any]) -> None:
    """Print the report for people."""
    from ..report.layers import shorten

    traffic, kept = (sum(report[name].values()) for name in ("dram_bytes", "activation_bytes"))
    on_chip = f"{kept:,} bytes on chip, " if kept else ""
    measured = report["placement"] in (None, "gradient")
    place = "" if measured else f" ({report['placement']})"
    scheme = f", scheme {report['scheme']}" if report["scheme"] else ""
    print(f"{report['model']} on {report['config']} ({report['config_hash'][:12]}){scheme}")
    print(
        f"  {report['total_cycles']:,} cycles, {report['macs']:,} MACs, "
        f"utilization {report['utilization']:.1%}, {traffic:,} DRAM bytes, {on_chip}"
        f"{report['important_neurons']:,} important neurons{place}"
    )
    if columns := report["hardened_cols"]:
        print(f"  channels with many important neurons in {columns} hardened columns")
    if report["stuck_pes"]:
        print(f"  {told_stuck_pes(report)}")
    if "real_time" in report:
        time = report["real_time"]
        print(
            f"  at {report['clock_mhz']} MHz {1e3 * time['seconds']:,.3g} ms, "
            f"{time['images_per_second']:,.4g} images a second, "
            f"{time['dram_gigabytes_per_second']:,.3g} GB/s from and to DRAM"
        )
    if "accuracy" in report:
        accuracy = report["accuracy"]
        images, seed = accuracy["images"], accuracy["seed"]
        names = {"int8": "int8", "fault_free": "without stuck PEs", "float": "float"}
        shown = ", ".join(
            f"{words} {output.accuracy_interval(accuracy[name], images, seed).brief}"
            for name, words in names.items()
            if name in accuracy
        )
        print(f"  accuracy on {images} images: {shown} (95 %, seed {seed})")
    steps = {"quantize": "quantised", "importance": "neurons ranked", "compile": "compiled",
             "simulate": "simulated"}  # fmt: skip
    times = {done: report.get(f"{step}_seconds") for step, done in steps.items()}
    taken = [f"{done} in {time:.2f} s" for done, time in times.items() if time is not None]
    print(f"  {', '.join(taken)}\n")
    output.print_table(
        (
            *("name", "op", "tiles", "cycles", "macs", "util.", "DRAM bytes"),
            *(["on chip"] if kept else []),
            *("bound", "share"),
        ),
        (
            (
                shorten(layer["name"], 36),
                *(layer[column] for column in ("op", "tiles", "cycles", "macs")),
                f"{layer['utilization']:.1%}",
                sum(layer["dram_bytes"].values()),
                *([sum(layer["activation_bytes"].values())] if kept else []),
                layer["bound"],
                f"{layer['bound_share']:.0%}",
            )
            for layer in report["layers"]
        ),
    )
    print()
    output.print_table(("DRAM traffic", "bytes"), report["dram_bytes"].items())
    print()
    output.print_table(
        ("engine", "state", "cycles", "share"),
        (
            (engine, state, cycles, f"{cycles / report['total_cycles']:.1%}")
            for engine, busy in report["busy"].items()
            for state, cycles in {"busy": busy, **report["stalls"][engine]}.items()
            if cycles
        ),
    )
