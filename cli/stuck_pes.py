"""Stuck PEs of a chip: options that several commands have, and what they say of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import output
from .options import check_suffix

if TYPE_CHECKING:
    from ..config import Config
    from ..isa.pe_map import PeMap
    from ..isa.program import Program

PeMapOption = Annotated[
    str | None,
    typer.Option(
        "--pe-map",
        metavar="FILE|N",
        help="Stuck PEs of the chip, which every inference meets: a YAML list such as - {row: 3, "
        "col: 4} (a dead PE) or - {row: 3, col: 5, reg: acc, bit: 20, stuck: 1}; or N to draw so "
        "many PEs with a random stuck bit each (by --seed).",
    ),
]
PeMapOutOption = Annotated[
    Path | None,
    typer.Option(
        "--pe-map-out", metavar="FILE.yaml", help="Write the map, so that --pe-map reads it again."
    ),
]
RepairOption = Annotated[
    bool | None,
    typer.Option(
        "--repair/--no-repair",
        help="Whether the DPPU recomputes in every tile what stuck PEs make wrong, beside the "
        "important neurons. Default: where the machine has a DPPU.",
    ),
]


def pe_map_of(
    given: str | None, repair: bool | None, out: Path | None, config: Config, seed: int
) -> PeMap:
    """The map of --pe-map, written to --pe-map-out if that is given, too."""
    from ..isa.pe_map import as_text, given_pe_map

    if given is None:
        for option, beside in (("--repair", repair), ("--pe-map-out", out)):
            if beside is not None:
                raise typer.BadParameter("is of stuck PEs: give --pe-map", param_hint=option)
        return ()
    check_suffix("--pe-map-out", out, ".yaml", ".yml")
    found = given_pe_map(given, config, seed)
    if out is not None:
        output.write_text(out, as_text(found))
    return found


def stuck_pes_of(program: Program) -> dict[str, Any]:
    """What a report says of the chip's stuck PEs, and of the neurons recomputed for them."""
    from ..isa.pe_map import plain, stuck_pes
    from ..simulator.inject.repair import repaired_neurons

    return {
        "stuck_pes": stuck_pes(program.pe_map),
        "repaired": program.repaired,
        "repaired_neurons": repaired_neurons(program),
        "pe_map": plain(program.pe_map),
    }


def told_stuck_pes(report: dict[str, Any]) -> str:
    """The same in words."""
    pes, repaired = report["stuck_pes"], "not repaired"
    if report["repaired"]:
        repaired = f"repaired by the DPPU, which recomputes {report['repaired_neurons']:,} neurons"
    return f"{pes:,} stuck PE{'s' * (pes != 1)}, {repaired}"
