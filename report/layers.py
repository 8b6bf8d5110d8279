"""One flat row a layer, for spreadsheets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..isa.instructions import Engine, Kind
from ..simulator.cycles.stalls import BUSY, STALLS

#: Columns that come first; then `ENGINE.busy`, `ENGINE.STALL`, `bytes.KIND` and
#: `activation_bytes`.
CSV_COLUMNS: dict[str, str] = {
    "name": "of the layer",
    "op": "what it does: conv (also linear), maxpool, avgpool, add, copy",
    "tiles": "tiles stored",
    "cycles": "from the last store of the layer before it to its own last store",
    "macs": "products of the 2-D array",
    "utilization": "macs / (PEs x cycles); above 1 where the array began in the layer before",
    "bound": "what bounds it",
    "bound_share": "the share of time that this takes, 0 to 1",
}


def engine_columns() -> list[tuple[str, str]]:
    """(engine, state) in the order of the columns."""
    return [(e.name.lower(), state) for e in Engine for state in (BUSY, *STALLS[e])]


def flat(layers: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Rows of `Result.layers` without nesting: column -> value, in the order of the columns."""
    kinds = [kind.name.lower() for kind in Kind]
    return [
        {column: layer[column] for column in CSV_COLUMNS}
        | {
            f"{engine}.{state}": (
                layer["busy"][engine] if state == BUSY else layer["stalls"][engine][state]
            )
            for engine, state in engine_columns()
        }
        | {f"bytes.{kind}": layer["dram_bytes"][kind] for kind in kinds}
        | {"activation_bytes": sum(layer["activation_bytes"].values())}
        for layer in layers
    ]


def shorten(text: str, most: int) -> str:
    """The end of `text`, which tells names apart, behind an ellipsis."""
    return text if len(text) <= most else "…" + text[1 - most :]
