"""``flexhyca compile``: a network to a program file."""

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .busy import busy
from .options import (
    DEFAULT_CONFIG,
    BatchOption,
    ConfigOption,
    DataOption,
    JsonOption,
    MeanOption,
    ModelOrTopologyArgument,
    PlacementOption,
    ProtectOption,
    SchemeOption,
    SeedOption,
    SetOption,
    StdOption,
    WeightsOption,
    load_settings,
)

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca compile digits -o digits.fhx\n"
    "  flexhyca compile resnet20 --weights w.npz --data images.npz --batch 4 -o resnet20.fhx\n"
)


def command(
    model: ModelOrTopologyArgument,
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Program file.")],
    config: ConfigOption = DEFAULT_CONFIG,
    set_: SetOption = None,
    scheme: SchemeOption = None,
    protect: ProtectOption = None,
    weights: WeightsOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    batch: BatchOption = 1,
    placement: PlacementOption = None,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Compile MODEL for an accelerator into a program file.

    The program carries weights, position tables of the important neurons, the layer table and the
    configuration: everything that a simulation needs.
    """
    from .. import api

    output.check_target(out, json)
    settings = load_settings(config, set_ or (), scheme, protect)
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
            say=say,
        )
    output.warn(built.warnings)
    program = built.program
    output.write_program(program, out)
    summary = {
        "model": model,
        "config": settings.name,
        "config_hash": settings.config_hash,
        "scheme": scheme,
        "file": str(out),
        "bytes": out.stat().st_size,
        "instructions": len(program.text),
        "layers": len(program.layer_names),
        "batch": program.batch,
        "macs": sum(built.network.macs(i) for i in range(len(built.network.layers))) * batch,
        "important_neurons": sum(int(mask.sum()) for mask in built.important.values()),
        **{f"{step}_seconds": seconds for step, seconds in built.seconds.items()},
    }
    output.write_json(json, summary)
    if json != output.STDOUT:
        print(
            f"{out}: {summary['instructions']:,} instructions for {summary['layers']} layers, "
            f"{summary['bytes']:,} bytes, {summary['important_neurons']:,} important neurons"
        )
