"""``flexhyca sites``: the registers of the array that can be hit while a network runs."""

from __future__ import annotations

from typing import Any

from . import output
from .busy import busy
from .options import DEFAULT_CONFIG, ConfigName, Data, Json, Mean, Model, Seed, Set, Std, Weights

EXAMPLES = (
    "\b\nExamples:\n"
    "  flexhyca sites digits\n"
    "  flexhyca sites resnet20 --weights w.npz --data images.npz --json sites.json\n"
)


def command(
    model: Model,
    config: ConfigName = DEFAULT_CONFIG,
    set_: Set = None,
    weights: Weights = None,
    data: Data = None,
    mean: Mean = None,
    std: Std = None,
    json: Json = None,
    seed: Seed = 0,
) -> None:
    """List the registers of the array with their bits and live cycles, layer by layer.

    A protected bit counts three times, once for each copy. `live` is the share of a register's
    cycles in which its PE holds an operand, product or sum that is still used; a flip at another
    time is masked as idle.
    """
    from .. import api
    from ..config import load_config
    from ..faults.exposure import exposure
    from ..simulator.tiles import Tiles

    output.check_target(json)
    settings = load_config(config, set_ or ())
    with busy() as say:
        built = api.build(
            model, settings, weights=weights, data=data, mean=mean, std=std, seed=seed, say=say
        )
    output.warn(built.warnings)
    rows: list[dict[str, Any]] = [row._asdict() for row in exposure(Tiles(built.program))]
    output.write_json(json, {"model": built.network.name, "config": settings.name, "rows": rows})
    if json != output.STDOUT:
        columns = ("layer", "register", "bits", "copies", "PEs", "tiles", "cycles", "live")
        output.table(
            columns,
            (
                (*(row[c] for c in ("layer", "register", "bits", "flip_flops", "pes", "tiles")),
                 row["cycles"], f"{row['live']:.1%}")
                for row in rows
            ),
        )  # fmt: skip
        print("\nbits: of the word; copies: flip-flops a PE; cycles: of all tiles of the layer")
