"""``flexhyca compile``: a network to a program file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .busy import busy
from .options import (
    DEFAULT_CONFIG,
    BatchOption,
    ConfigOption,
    DataOption,
    JsonOption,
    MappingOption,
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
from .stuck_pes import (
    PeMapOption,
    PeMapOutOption,
    RepairOption,
    pe_map_of,
    stuck_pes_of,
    told_stuck_pes,
)

if TYPE_CHECKING:
    from ..compiler.mapping.explain import LayerChoice

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca compile digits -o digits.fhx\n"
    "  flexhyca compile resnet50 --explain\n"
    "  flexhyca compile resnet20 --weights w.npz --data images.npz --batch 4 -o resnet20.fhx\n"
)


def command(
    model: ModelOrTopologyArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Program file; may be left out with --explain."
        ),
    ] = None,
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
    mapping: MappingOption = None,
    pe_map: PeMapOption = None,
    pe_map_out: PeMapOutOption = None,
    repair: RepairOption = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Print each layer's mapping beside the next best one and the least possible.",
        ),
    ] = False,
    json: JsonOption = None,
    seed: SeedOption = 0,
) -> None:
    """Compile MODEL for an accelerator into a program file.

    The program carries weights, position tables of the important neurons, the layer table and the
    configuration: everything that a simulation needs. With --pe-map it is for a chip with stuck
    PEs, which it says, and its position tables name what the DPPU recomputes because of them, too.

    With --explain: cycles of each layer by itself, bytes that it moves, and those of the next best
    mapping; then the bytes of the mapping that moves fewest, of every operand and result once, the
    cycles that no mapping can beat, the largest blocks of inputs and weights in the buffers, and
    whether the result stays on chip (buffers.activation_bytes). Bytes are those of DRAM. Operands
    and tables of the DPPU are not among them, and cycles are those beside the DPPU only where it is
    clearly slower than the array; `flexhyca simulate` has all.
    """
    from .. import api
    from ..config.mappings import load_mappings

    if out is None and not explain:
        raise typer.BadParameter(
            "name the program file, or ask for --explain", param_hint="'--output' / '-o'"
        )
    output.check_target(json, files=[out, pe_map_out])
    settings = load_settings(config, set_ or (), scheme, protect)
    mappings = load_mappings(mapping) if mapping is not None else None
    stuck = pe_map_of(pe_map, repair, pe_map_out, settings, seed)
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
            mappings=mappings,
            pe_map=stuck,
            repair=repair,
            say=say,
        )
    output.warn(built.warnings)
    program = built.program
    if out is not None:
        output.write_program(program, out)
    summary: dict[str, object] = {
        "model": model,
        "config": settings.name,
        "config_hash": settings.config_hash,
        "scheme": scheme,
        "file": None if out is None else str(out),
        "bytes": None if out is None else out.stat().st_size,
        "instructions": len(program.text),
        "layers": len(program.layer_names),
        "batch": program.batch,
        "macs": sum(built.network.macs(i) for i in range(len(built.network.layers))) * batch,
        "important_neurons": sum(int(mask.sum()) for mask in built.important.values()),
        **stuck_pes_of(program),
        **{f"{step}_seconds": seconds for step, seconds in built.seconds.items()},
    }
    if explain:
        if not settings.runs_engines:
            output.warn([f"timing {settings.timing} knows no mappings: cycles are the engines'"])
        chosen = api.explain_mappings(
            built.network,
            settings,
            built.important,
            batch,
            mappings,
            pe_map=stuck,
            repair=repair,
        )
        summary["mappings"] = [_row(choice) for choice in chosen]
        size = settings.buffers.activation_bytes
        if size:
            names = [program.tensor_names[i] for i in program.kept]
            summary["on_chip"] = {"tensors": names, "bytes": program.kept_bytes, "of": size}
        if json != output.STDOUT:
            output.print_table(_COLUMNS, [_cells(choice) for choice in chosen])
            if size:
                print(
                    f"\n{len(names)} of {len(chosen) - 1} tensors between layers stay on chip, in "
                    f"{program.kept_bytes:,} of {size:,} bytes"
                )
    output.write_json(json, summary)
    if json != output.STDOUT and out is not None:
        print(
            f"{out}: {summary['instructions']:,} instructions for {summary['layers']} layers, "
            f"{out.stat().st_size:,} bytes, {summary['important_neurons']:,} important neurons"
        )
        if stuck:
            print(f"{out}: for a chip with {told_stuck_pes(summary)}")


_COLUMNS = (
    *("layer", "cycles", "bytes", "next: cycles", "bytes"),
    *("least bytes", "once each", "bound", "input block", "weights", "result", "mapping"),
)


def _cells(choice: LayerChoice) -> list[object]:
    after = choice.runner_up
    return [
        choice.name,
        "-" if choice.cycles is None else int(choice.cycles),
        choice.traffic,
        "-" if after is None else int(after.cycles),
        "-" if after is None else int(after.traffic),
        choice.least,
        choice.compulsory,
        choice.bound,
        choice.blocks.inputs,
        choice.blocks.weights,
        "on chip" if choice.on_chip.output else "DRAM",
        choice.op if choice.mapping is None else choice.mapping,
    ]


def _row(choice: LayerChoice) -> dict[str, object]:
    row: dict[str, object] = choice._asdict()
    row["blocks"] = choice.blocks._asdict()
    row["on_chip"] = choice.on_chip._asdict()
    if choice.mapping is not None:
        row["mapping"] = choice.mapping._asdict()
    if choice.runner_up is not None:
        row["runner_up"] = {
            **choice.runner_up._asdict(),
            "mapping": choice.runner_up.mapping._asdict(),
        }
    return row
