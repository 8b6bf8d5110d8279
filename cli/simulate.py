"""``flexhyca simulate``: cycles, traffic and, on images, the accuracy of one network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import output
from .options import (
    Batch,
    ConfigName,
    Data,
    Images,
    Json,
    Mean,
    ModelOrTopology,
    Placement,
    Seed,
    Set,
    Std,
    Weights,
)

if TYPE_CHECKING:
    from ..api import Build
    from ..config import Config
    from ..simulator.run import Result

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca simulate digits --images 360\n"
    "  flexhyca simulate resnet20 --no-values --config hyca-32x32\n"
    "  flexhyca simulate resnet20 --weights w.npz --data images.npz --set dppu.size=64 --json -\n"
    "  flexhyca simulate vgg16 --placement clustered --set dppu.data_reuse=array\n"
    "  flexhyca simulate topology.csv --timing scalesim --dataflow ws\n"
)


def command(
    model: ModelOrTopology,
    config: ConfigName = "flexhyca-32x32",
    set_: Set = None,
    weights: Weights = None,
    data: Data = None,
    mean: Mean = None,
    std: Std = None,
    images: Images = None,
    batch: Batch = 1,
    placement: Placement = None,
    dataflow: Annotated[
        Literal["os", "ws", "is"] | None, typer.Option(help="Short for --set array.dataflow=...")
    ] = None,
    timing: Annotated[
        Literal["native", "scalesim"] | None, typer.Option(help="Short for --set timing=...")
    ] = None,
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
    json: Json = None,
    seed: Seed = 0,
) -> None:
    """Compile MODEL for an accelerator and run it on the cycle model.

    Cycles, stalls and DRAM traffic are those of one inference (--batch images). On labelled images
    the integers are computed too and the accuracy is compared with the float network's. Without
    images, and for a SCALE-Sim topology file, only cycles and traffic are computed.
    """
    from .. import api
    from ..config import load_config

    output.check_target(json)
    short = {"array.dataflow": dataflow, "timing": timing}
    changes = [*(set_ or ()), *(f"{key}={value}" for key, value in short.items() if value)]
    settings = load_config(config, changes)
    no_values = no_values or (data is None and not api.has_images(model))
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
    )
    output.warn(built.warnings)

    report = describe(built, settings, api.simulate(built.program, values="none"))
    if not no_values:
        report |= run_values(built, images, values)
    output.write_json(json, report)
    if json != output.STDOUT:
        show(report)


def describe(built: Build, config: Config, result: Result) -> dict[str, Any]:
    """The result as plain JSON values."""
    return {
        "model": built.network.name,
        "config": config.name,
        "config_hash": config.config_hash,
        "batch": built.program.batch,
        "total_cycles": result.cycles,
        "macs": result.macs,
        "macs_by_unit": result.macs_by_unit,
        "utilization": result.utilization,
        "important_neurons": result.important_neurons,
        "placement": built.placement,
        "simulate_seconds": result.seconds,
        **{f"{step}_seconds": seconds for step, seconds in built.seconds.items()},
        "dram_bytes": result.dram,
        "busy": result.busy,
        "stalls": result.stalls,
        "layers": result.layers.to_dict("records"),
    }


def run_values(
    built: Build, images: int | None, values: Literal["fast", "machine", "registers"]
) -> dict[str, Any]:
    """Compute the integers of the first `images` images; their accuracy where labels are known."""
    from .. import api

    assert built.model is not None
    assert built.data is not None
    data = built.data[:images]
    with output.progress("images", len(data)) as step:
        inputs = api.quantize_images(built.model, built.network, data.images)
        logits = api.run_images(built.program, inputs, values=values, step=step)
    if data.labels is None:
        return {}
    return {
        "accuracy": {
            "float": api.float_accuracy(built.model, data),
            "int8": api.accuracy(logits, data.labels),
            "images": len(data),
        }
    }


def show(report: dict[str, Any]) -> None:
    """Print the report for people."""
    traffic = sum(report["dram_bytes"].values())
    measured = report["placement"] in (None, "gradient")
    place = "" if measured else f" ({report['placement']})"
    print(f"{report['model']} on {report['config']} ({report['config_hash'][:12]})")
    print(
        f"  {report['total_cycles']:,} cycles, {report['macs']:,} MACs, "
        f"utilization {report['utilization']:.1%}, {traffic:,} DRAM bytes, "
        f"{report['important_neurons']:,} important neurons{place}"
    )
    if "accuracy" in report:
        accuracy = report["accuracy"]
        print(
            f"  accuracy on {accuracy['images']} images: int8 {accuracy['int8']:.2%}, "
            f"float {accuracy['float']:.2%}"
        )
    print(
        f"  quantised in {report['quantize_seconds']:.2f} s, "
        f"neurons ranked in {report['importance_seconds']:.2f} s, "
        f"compiled in {report['compile_seconds']:.2f} s, "
        f"simulated in {report['simulate_seconds']:.2f} s\n"
    )
    columns = ("name", "op", "tiles", "cycles", "macs", "utilization")
    output.table(
        (*columns, "DRAM bytes"),
        (
            (*(layer[column] for column in columns), sum(layer["dram_bytes"].values()))
            for layer in report["layers"]
        ),
    )
    print()
    output.table(("DRAM traffic", "bytes"), report["dram_bytes"].items())
    print()
    output.table(
        ("engine", "state", "cycles", "share"),
        (
            (engine, state, cycles, f"{cycles / report['total_cycles']:.1%}")
            for engine, busy in report["busy"].items()
            for state, cycles in {"busy": busy, **report["stalls"][engine]}.items()
            if cycles
        ),
    )
